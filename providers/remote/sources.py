"""Where a file's blocks come from: ranges of it, or all of it read in order.

Ranges are for asynchronous drivers: each is a request of its own, several at a time. Other drivers
give a file object, which is kept while the file is open, since to open one again may mean to unpack
all before the place (zip). A server that sends whole files only, or does not say how long a file
is, is read in order as well; to go back means to begin again.

Concurrency: for trio tasks of one event loop; a stream is read by one of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from providers.remote.calls import Calls
from providers.remote.facts import Facts
from providers.remote.httpdoor import Changed, Unranged, ranged
from providers.remote.streams import ThreadFile, WebFile

Deliver = Callable[[int, bytes], None]
"""Takes a block by its position in the file."""


class Ranges:
    """A file of an asynchronous driver, by ranges."""

    def __init__(self, calls: Calls, place: str, block: int) -> None:
        self._calls = calls
        self._place = place
        self._block = block

    async def fetch(self, facts: Facts, first: int, last: int, deliver: Deliver) -> None:
        """Deliver blocks `first` to `last`. Unranged, Changed, OSError."""
        block, size = self._block, facts.size
        assert size is not None
        start, end = first * block, min((last + 1) * block, size)
        what = f"reading {self._place}"
        driver = self._calls.driver
        if driver.is_http:
            data = await self._calls.in_loop(what, lambda: self._http(start, end, size, facts.etag))
        else:
            data = await self._calls.ask(what, "cat_file", self._place, start=start, end=end)
        if data is None:
            raise Unranged
        if not isinstance(data, bytes) or len(data) != end - start:
            raise Changed
        for index in range(first, last + 1):
            deliver(index, data[(index - first) * block : (index - first + 1) * block])

    async def _http(self, start: int, end: int, size: int, etag: str | None) -> bytes | None:
        # No failures, and not to be logged as such: what they lead to is the caller's.
        try:
            return await ranged(self._calls.driver.fs, self._place, start, end, size, etag)
        except Unranged:
            return None
        except Changed:
            return b""


class Stream:
    """A file read in order; it is opened at the first block that is wanted."""

    def __init__(self, calls: Calls, place: str, block: int) -> None:
        self._calls = calls
        self._place = place
        self._block = block
        self._turn = trio.Lock()
        self._file: ThreadFile | WebFile | None = None
        self._next = 0
        self._closed = False

    async def fetch(self, facts: Facts, first: int, last: int, deliver: Deliver) -> None:
        """Deliver blocks `first` to `last`, and those before that were read on the way. OSError."""
        async with self._turn:
            file = self._file
            if file is not None and not file.seeks and self._next > first:
                await self._let_go()
                file = None
            if file is None:
                file = self._file = await self._opened()
                self._next = 0
            if file.seeks:
                self._next = first
            while self._next <= last:
                try:
                    data = await file.read(self._next * self._block, self._block)
                except BaseException:
                    with trio.CancelScope(shield=True):
                        await self._let_go()
                    raise
                deliver(self._next, data)
                self._next += 1
                if len(data) < self._block:
                    for index in range(self._next, last + 1):
                        deliver(index, b"")
                    break
        if self._closed:
            await self._let_go()

    async def _opened(self) -> ThreadFile | WebFile:
        if self._calls.driver.is_http:
            return await WebFile.opened(self._calls, self._place)
        return await ThreadFile.opened(self._calls, self._place)

    async def close(self) -> None:
        """Close the file once nobody reads it."""
        self._closed = True
        if not self._turn.locked():
            await self._let_go()

    async def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            await file.close()
