"""Making a driver in a thread: imports and first connections take their time, and may hang.

Concurrency: one trio task waits; a thread whose result nobody waits for closes what it made.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import trio

from providers.remote.driver import Driver, open_driver


class Opening:
    """A driver that is being made."""

    def __init__(self, url: str, storage: Mapping[str, object]) -> None:
        self._url = url
        self._storage = storage
        self._turn = threading.Lock()
        self._given_up = False

    async def driver(self) -> Driver:
        """Return it once it is made; if this task is cancelled, it is closed then."""
        try:
            return await trio.to_thread.run_sync(self._make, abandon_on_cancel=True)
        except trio.Cancelled:
            with self._turn:
                self._given_up = True
            raise

    def _make(self) -> Driver:
        driver = open_driver(self._url, self._storage)
        with self._turn:
            given_up = self._given_up
        if given_up:
            driver.close()
        return driver
