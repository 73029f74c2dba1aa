"""Calls that may block: in threads of the provider's own, so that no other provider waits.

A look that is cancelled is left to itself: its thread ends when the storage answers, and what
it opened is closed then (held.py). A change that is cancelled is waited for, `GRACE_S` at
most, so that it is seen to have happened or not, unless the storage hangs.

Concurrency: at most `THREADS_MAX` calls of one provider run at a time; others wait in order.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

import trio

from vfsd.errors import fail

T = TypeVar("T")

THREADS_MAX = 16

GRACE_S = 2.0
"""How long a cancelled change is waited for."""


def _outcome(call: Callable[[], T]) -> tuple[list[T], Exception | None]:
    """Return what came of a call, for another thread to take up.

    An `OSError` leaves its traceback here: its frames know those of the thread, which know the
    error, and such a ring would keep fds open until the garbage collector comes by, which it
    hardly does in the daemon.
    """
    try:
        return [call()], None
    except OSError as error:
        bare = OSError(error.errno, error.strerror, error.filename)
        return [], bare
    except Exception as error:
        return [], error


def _unwrap(values: list[T], error: Exception | None) -> T:
    """Return or raise what came of a call; again no frame may keep the error that it raised."""
    if error is None:
        return values[0]
    try:
        raise error
    finally:
        del error


class Threads:
    """The limiter of one provider, and its two ways to use it."""

    def __init__(self) -> None:
        self.limiter = trio.CapacityLimiter(THREADS_MAX)

    async def look(self, call: Callable[[], T]) -> T:
        """Run `call`, which changes nothing, in a thread."""
        return _unwrap(
            *await trio.to_thread.run_sync(
                _outcome, call, abandon_on_cancel=True, limiter=self.limiter
            )
        )

    async def change(self, call: Callable[[], T]) -> T:
        """Run `call`, which changes something, in a thread, and see it through."""
        await trio.lowlevel.checkpoint_if_cancelled()
        outcomes: list[tuple[list[T], Exception | None]] = []

        async def see_through(patience: trio.CancelScope, done: trio.CancelScope) -> None:
            with patience:
                outcomes.append(
                    await trio.to_thread.run_sync(
                        _outcome, call, abandon_on_cancel=True, limiter=self.limiter
                    )
                )
            done.cancel()

        async with trio.open_nursery() as nursery:
            patience = trio.CancelScope(shield=True)
            nursery.start_soon(see_through, patience, nursery.cancel_scope)
            try:
                await trio.sleep_forever()
            finally:
                patience.deadline = trio.current_time() + GRACE_S
        if not outcomes:  # Cancelled, and the storage hangs: nobody will know.
            await trio.lowlevel.checkpoint()
            raise fail(errno.EIO)
        return _unwrap(*outcomes.pop())
