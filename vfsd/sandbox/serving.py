"""What the two companions of a run have in common: serving until the run is over.

Concurrency: trio. At most `CONNECTIONS` are served at a time; further ones wait in the kernel's
queue, and after that are refused.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Sequence

import trio

CONNECTIONS = 1000
LAST_WORDS_S = 1.0
"""How long what is under way may take when the run has ended."""
FULL_S = 0.05
"""How long to wait where no file can be opened, before the next connection is taken."""

SERVING = b"serving\n"
"""Said to vfsd once."""

Serve = Callable[[trio.SocketStream], Awaitable[None]]


async def serve(control: int, listeners: Sequence[tuple[socket.socket, Serve]]) -> None:
    """Serve each connection of each listener until `control` is at its end."""
    slots = trio.Semaphore(CONNECTIONS)
    os.write(control, SERVING)
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            for listener, each in listeners:
                accepting.start_soon(_accept, listener, each, slots, connections)
            await _over(control)
            accepting.cancel_scope.cancel()
        for listener, _ in listeners:
            listener.close()
        connections.cancel_scope.deadline = trio.current_time() + LAST_WORDS_S


async def _over(control: int) -> None:
    os.set_blocking(control, False)
    async with trio.lowlevel.FdStream(control) as pipe:
        while await pipe.receive_some():
            pass


async def _accept(
    listener: socket.socket, serve: Serve, slots: trio.Semaphore, connections: trio.Nursery
) -> None:
    waiting = trio.socket.from_stdlib_socket(listener)
    while True:
        await slots.acquire()
        try:
            accepted, _ = await waiting.accept()
        except OSError:  # it has gone again, or too many files are open
            slots.release()
            await trio.sleep(FULL_S)
            continue
        connections.start_soon(_served, serve, trio.SocketStream(accepted), slots)


async def _served(serve: Serve, stream: trio.SocketStream, slots: trio.Semaphore) -> None:
    try:
        async with stream:
            await serve(stream)
    finally:
        slots.release()
