"""An asyncio loop in a thread of its own, in which one provider's asynchronous driver runs.

A driver that blocks its loop (some look for credentials so) then holds up itself only. Coroutines
are truly cancelled: a request that nobody waits for ends, and its connection with it.

Concurrency: `run` is for trio tasks, the rest for any thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import trio

from vfsd.errors import fail

T = TypeVar("T")

END_TIMEOUT_S = 1.0
"""Longest wait for what still runs in the loop when it is to end."""


class AsyncLoop:
    """The loop; `close` ends it and frees its fds."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.closed = False
        # A daemon thread: a driver that never yields must not keep the process from ending.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns; cancelled if this task is. EIO once closed."""
        if self.closed:
            work.close()
            raise fail(errno.EIO)
        token, done = trio.lowlevel.current_trio_token(), trio.Event()

        def tell(_: concurrent.futures.Future[T]) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(done.set)

        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        future.add_done_callback(tell)
        try:
            await done.wait()
        finally:
            future.cancel()
        return future.result()

    def close(self) -> None:
        """End the loop; may block for `END_TIMEOUT_S`, after which a stuck thread is left."""
        if self.closed:
            return
        self.closed = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(END_TIMEOUT_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            running = asyncio.all_tasks(self.loop)
            for task in running:
                task.cancel()
            if running:
                ending = asyncio.wait(running, timeout=END_TIMEOUT_S / 2)
                self.loop.run_until_complete(ending)
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()
