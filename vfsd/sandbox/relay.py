"""Two streams, each passed on to the other, with half-closed ends kept apart.

Concurrency: trio; each direction is a task and holds at most one buffer.
"""

from __future__ import annotations

from contextlib import suppress

import trio

CHUNK_BYTES = 65_536
BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


async def relay(one: trio.SocketStream, other: trio.SocketStream) -> None:
    """Pass on both ways until both are at their end, or one is broken; close both."""
    async with one, other, trio.open_nursery() as nursery:
        nursery.start_soon(_pass_on, one, other, nursery.cancel_scope)
        nursery.start_soon(_pass_on, other, one, nursery.cancel_scope)


async def _pass_on(
    source: trio.SocketStream, target: trio.SocketStream, both: trio.CancelScope
) -> None:
    try:
        while data := await source.receive_some(CHUNK_BYTES):
            await target.send_all(data)
        with suppress(*BROKEN):  # it has closed altogether meanwhile
            await target.send_eof()
    except BROKEN:
        both.cancel()
