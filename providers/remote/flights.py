"""One flight for many: whoever wants what is already being fetched waits for that.

A flight is a task of its own, which goes on when those who wait for it are cancelled: what it
brings is kept for the next.

Concurrency: for trio tasks of one event loop; the table changes between awaits only.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

import trio

from vfsd.errors import fail

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Background:
    """Tasks of a provider that end with it."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self._closed = False

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Start a task. EIO once closed; what the task raises is logged."""
        if self._closed:
            raise fail(errno.EIO)
        scope = trio.CancelScope()
        self._scopes.add(scope)
        trio.lowlevel.spawn_system_task(self._run, scope, work)

    async def _run(self, scope: trio.CancelScope, work: Callable[[], Awaitable[None]]) -> None:
        try:
            with scope:
                await work()
        except Exception:
            # Nothing may escape: it would end the event loop, and all other providers with it.
            log.exception("a task of the fsspec provider failed")
        finally:
            self._scopes.discard(scope)

    def close(self) -> None:
        """Cancel all."""
        self._closed = True
        for scope in tuple(self._scopes):
            scope.cancel()


class Flight(Generic[V]):
    """What is being fetched, for those who wait."""

    __slots__ = ("_done", "_errno", "_value")

    def __init__(self) -> None:
        self._done = trio.Event()
        self._errno: int | None = None
        self._value: V | None = None

    def land(self, value: V) -> None:
        """It is here."""
        self._value = value
        self._done.set()

    def crash(self, code: int) -> None:
        """It cannot be had; does nothing to one that has landed."""
        if not self._done.is_set():
            self._errno = code
            self._done.set()

    async def wait(self) -> V:
        """Return it once it is here. OSError."""
        await self._done.wait()
        if self._errno is not None:
            raise fail(self._errno)
        # There is one, as it is done and has no errno.
        return self._value  # type: ignore[return-value]


class Flights(Generic[K]):
    """The flights of a provider, by what they fetch."""

    def __init__(self, background: Background) -> None:
        self._background = background
        self._flights: dict[K, Flight[Any]] = {}

    async def share(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        """Return what `fetch` does, which is called unless it already runs for `key`. OSError."""
        flight = self._flights.get(key)
        if flight is None:
            flight = Flight()

            async def run() -> None:
                try:
                    flight.land(await fetch())
                except OSError as error:
                    flight.crash(error.errno or errno.EIO)
                finally:
                    del self._flights[key]
                    flight.crash(errno.EIO)

            self._background.start(run)
            self._flights[key] = flight
        value: V = await flight.wait()
        return value
