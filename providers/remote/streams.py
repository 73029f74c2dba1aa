"""Files that are open at the driver: its own file objects, and bodies that a web server sends.

fsspec's own streaming file for HTTP is not used: it closes itself by waiting for the loop, also
where the garbage collector calls it, which may be in that loop.

Concurrency: one call of a file at a time, which the caller sees to (sources.py).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar, Self

import trio

from providers.remote.calls import Calls


class ThreadFile:
    """A file object of a driver that is not asynchronous, in threads."""

    seeks: ClassVar[bool] = True

    def __init__(self, calls: Calls, place: str, file: Any) -> None:  # noqa: ANN401
        self._calls = calls
        self._place = place
        self._file = file
        self._stuck = False

    @classmethod
    async def opened(cls, calls: Calls, place: str) -> Self:
        """Open it. OSError."""
        file = await calls.in_thread(
            f"opening {place}", lambda: calls.driver.fs.open(place, mode="rb")
        )
        return cls(calls, place, file)

    async def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; fewer only at the end. OSError."""
        self._stuck = True  # if this is cancelled, the thread is still in it
        data = await self._calls.in_thread(
            f"reading {self._place}", lambda: self._read(offset, size)
        )
        self._stuck = False
        return data

    def _read(self, offset: int, size: int) -> bytes:
        if self._file.tell() != offset:
            self._file.seek(offset)
        pieces = []
        while size and (piece := self._file.read(size)):
            pieces.append(bytes(piece))
            size -= len(piece)
        return b"".join(pieces)

    async def close(self) -> None:
        """Close it, unless a thread is stuck in it; errors are nobody's any more."""
        if not self._stuck:
            with suppress(Exception):
                await trio.to_thread.run_sync(self._file.close, abandon_on_cancel=True)


class WebFile:
    """What a web server sends, in the driver's loop."""

    seeks: ClassVar[bool] = False

    def __init__(self, calls: Calls, place: str, response: Any) -> None:  # noqa: ANN401
        self._calls = calls
        self._place = place
        self._response = response

    @classmethod
    async def opened(cls, calls: Calls, place: str) -> Self:
        """Ask for it. OSError."""
        fs = calls.driver.fs

        async def ask() -> Any:  # noqa: ANN401
            options: dict[str, Any] = dict(fs.kwargs)
            headers = {**options.pop("headers", {}), "Accept-Encoding": "identity"}
            session = await fs.set_session()
            response = await session.get(fs.encode_url(place), headers=headers, **options)
            if response.status >= 400:
                response.close()
                response.raise_for_status()
            return response

        return cls(calls, place, await calls.in_loop(f"reading {place}", ask))

    async def read(self, offset: int, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end; `offset` is where it is. OSError."""

        async def receive() -> bytes:
            pieces, room = [], size
            while room and (piece := await self._response.content.read(room)):
                pieces.append(piece)
                room -= len(piece)
            return b"".join(pieces)

        # Not tried again: what was read of it is gone.
        return await self._calls.in_loop(f"reading {self._place}", receive, again=False)

    async def close(self) -> None:
        """Let the connection go."""
        loop = self._calls.driver.loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed, and so are its connections
                loop.loop.call_soon_threadsafe(self._response.close)
