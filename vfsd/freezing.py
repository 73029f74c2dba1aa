"""Freezing and forking a tree that is in use, between two of its changes.

A provider on storage that blocks may be in the middle of a change, and then there is no instant
to freeze (EBUSY): one waits for it.

Concurrency: suspends only where it has to wait; the call that succeeds is one step.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

import trio

PATIENCE_SECONDS = 5.0
AGAIN_SECONDS = 0.002

T = TypeVar("T")


async def between_changes(freeze: Callable[[], T]) -> T:
    """Return what `freeze` returns once it is not EBUSY; EBUSY after `PATIENCE_SECONDS`."""
    deadline = trio.current_time() + PATIENCE_SECONDS
    while True:
        try:
            return freeze()
        except OSError as error:
            if error.errno != errno.EBUSY or trio.current_time() >= deadline:
                raise
        await trio.sleep(AGAIN_SECONDS)
