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


class Threads:
    """The limiter of one provider, and its two ways to use it."""

    def __init__(self) -> None:
        self.limiter = trio.CapacityLimiter(THREADS_MAX)

    async def look(self, call: Callable[[], T]) -> T:
        """Run `call`, which changes nothing, in a thread."""
        return await trio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self.limiter)

    async def change(self, call: Callable[[], T]) -> T:
        """Run `call`, which changes something, in a thread, and see it through."""
        await trio.lowlevel.checkpoint_if_cancelled()
        outcome: list[T | Exception] = []
        async with trio.open_nursery() as nursery:
            patience = trio.CancelScope(shield=True)
            nursery.start_soon(self._see_through, call, patience, outcome, nursery.cancel_scope)
            try:
                await trio.sleep_forever()
            finally:
                patience.deadline = trio.current_time() + GRACE_S
        if not outcome:  # Cancelled, and the storage hangs: nobody will know.
            await trio.lowlevel.checkpoint()
            raise fail(errno.EIO)
        result = outcome[0]
        if isinstance(result, Exception):
            raise result
        return result

    async def _see_through(
        self,
        call: Callable[[], T],
        patience: trio.CancelScope,
        outcome: list[T | Exception],
        done: trio.CancelScope,
    ) -> None:
        with patience:
            try:
                outcome.append(await self.look(call))
            except Exception as error:
                outcome.append(error)
        done.cancel()
