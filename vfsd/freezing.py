"""Freezing and forking a tree that is in use, between two of its changes.

A provider on storage that blocks may be in the middle of a change, and then there is no instant
to freeze (EBUSY): it is told to finish that and to begin no other (`Provider.pause`). So however
many write, one does not wait for a gap between them.

Concurrency: suspends only where it has to wait; the call that succeeds is one step.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

import trio

from vfsd.contract import Provider
from vfsd.errors import fail

PATIENCE_SECONDS = 10.0
"""How long a write to storage that hangs may keep one waiting, and others with it."""
AGAIN_SECONDS = 0.002

T = TypeVar("T")


async def between_changes(tree: Provider, freeze: Callable[[], T]) -> T:
    """Return what `freeze` returns once `tree` is not EBUSY; EBUSY after `PATIENCE_SECONDS`."""
    with trio.move_on_after(PATIENCE_SECONDS):
        try:
            return freeze()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
        async with tree.pause():
            while True:
                try:
                    return freeze()
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                await trio.sleep(AGAIN_SECONDS)
    raise fail(errno.EBUSY)
