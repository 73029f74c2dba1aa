"""Reads of one open file, from blocks that are here or coming; who reads in order is read ahead.

Every read asks what the file is now (metadata.py keeps that), so a file that grew on the server is
read further, and one that was replaced is read as the new one, from then on. What does not fit
what the server said of the file (shorter, longer, another ETag) is asked for again and then EIO:
wrong data is never returned.

Concurrency: for trio tasks of one event loop; state changes between awaits only.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable
from itertools import count

from providers.remote.blocks import Blocks, Key
from providers.remote.calls import Calls
from providers.remote.facts import Facts
from providers.remote.flights import Background, Flight
from providers.remote.httpdoor import Changed, Unranged
from providers.remote.layout import Layout
from providers.remote.metadata import Metadata
from providers.remote.options import Options
from providers.remote.sources import Ranges, Stream
from vfsd.errors import fail

RUN_BYTES = 4 << 20
"""The most that one request asks for, to read ahead."""
NEAR = 4
"""Blocks around the last one in which a read still counts as in order: the kernel sends several."""
TRIES = 3
_serials = count()


class Shared:
    """What all open files of a provider share."""

    def __init__(
        self,
        calls: Calls,
        layout: Layout,
        metadata: Metadata,
        background: Background,
        options: Options,
    ) -> None:
        self.calls = calls
        self.layout = layout
        self.metadata = metadata
        self.background = background
        self.blocks = Blocks(options.cache)
        self.block = options.block
        self.window_max = min(options.readahead, options.cache // 4) // options.block


class Reading:
    """One open file."""

    def __init__(self, shared: Shared, path: bytes, facts: Facts) -> None:
        self._shared = shared
        self._path = path
        place = shared.layout.place(path)
        self._ranges = Ranges(shared.calls, place, shared.block)
        self._stream = Stream(shared.calls, place, shared.block)
        self._streams = shared.calls.driver.loop is None or facts.size is None
        self._serial = next(_serials)
        self._last = -NEAR - 2
        self._window = 0
        self._ahead = -1
        self.facts = facts
        self.on_change: Callable[[], object] | None = None
        """Called when the file is seen to be another than it was."""

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Return what is there; fewer bytes only at the end. ESTALE once it is gone, EIO."""
        for _ in range(TRIES):
            facts = await self._now()
            try:
                if facts.size is None:
                    return await self._read_on(facts, offset, size)
                return await self._read(facts, offset, min(size, facts.size - offset))
            except OSError as error:
                if error.errno != errno.ESTALE:
                    raise
            self._shared.metadata.drop(self._path)
        what = f"reading {self._shared.layout.place(self._path)}"
        raise self._shared.calls.complain(what, "it sends other data than it announces")

    async def _now(self) -> Facts:
        metadata = self._shared.metadata
        try:
            facts = metadata.kept(self._path) or await metadata.facts(self._path)
        except FileNotFoundError:
            raise fail(errno.ESTALE, self._path) from None
        if facts is not self.facts:
            if facts.is_directory:
                raise fail(errno.ESTALE, self._path)
            if facts.version != self.facts.version and self.on_change is not None:
                self.on_change()
            self.facts = facts
        return facts

    async def _read(self, facts: Facts, offset: int, size: int) -> bytes | memoryview:
        if size <= 0:
            return b""
        block = self._shared.block
        first, last = offset // block, (offset + size - 1) // block
        self._want(facts, first, last)
        self._read_ahead(facts, first, last)
        start = offset - first * block
        if first == last:
            return memoryview(await self._block(facts, first))[start : start + size]
        pieces = [await self._block(facts, index) for index in range(first, last + 1)]
        return memoryview(b"".join(pieces))[start : start + size]

    async def _read_on(self, facts: Facts, offset: int, size: int) -> bytes:
        """Read a file of which nobody knows where it ends."""
        block = self._shared.block
        index, skip = divmod(offset, block)
        pieces: list[bytes] = []
        while size > 0:
            self._want(facts, index, index)
            data = await self._block(facts, index)
            pieces.append(data[skip : skip + size])
            size -= len(pieces[-1])
            if len(data) < block:
                break
            index, skip = index + 1, 0
        return b"".join(pieces)

    # -- blocks ---------------------------------------------------------------------------

    def _key(self, facts: Facts, index: int) -> Key:
        version: Hashable = facts.version
        if facts.size is None and facts.etag is None:
            version = self._serial  # nothing tells two contents apart
        return self._path, version, index

    async def _block(self, facts: Facts, index: int) -> bytes:
        blocks, key = self._shared.blocks, self._key(facts, index)
        while True:
            data = blocks.get(key)
            if data is not None:
                return data
            flight = blocks.coming.get(key)
            if flight is not None:
                return await flight.wait()
            self._want(facts, index, index)  # it came and went while another was waited for

    def _want(self, facts: Facts, first: int, last: int) -> None:
        """Let blocks be fetched that are neither here nor coming."""
        blocks, run = self._shared.blocks, max(RUN_BYTES // self._shared.block, 1)
        index = first
        while index <= last:
            if self._key(facts, index) in blocks:
                blocks.hits += 1
                index += 1
                continue
            end = index
            while end < last and end - index + 1 < run:
                if self._key(facts, end + 1) in blocks:
                    break
                end += 1
            blocks.misses += end - index + 1
            self._fetch(facts, index, end)
            index = end + 1

    def _read_ahead(self, facts: Facts, first: int, last: int) -> None:
        if last == self._last and first == last:
            return
        if abs(first - self._last) > NEAR:
            self._window, self._last, self._ahead = 0, last, last
            return
        if last > self._last:
            self._last = last
            self._window = min(self._window * 2 or 1, self._shared.window_max)
        assert facts.size is not None
        end = min(self._last + self._window, (facts.size - 1) // self._shared.block)
        begin = max(self._ahead, self._last) + 1
        # Half a window at a time, so that requests are few and what is read is there already.
        if end >= begin and (end - begin + 1) * 2 >= self._window:
            self._want(facts, begin, end)
            self._ahead = end

    def _fetch(self, facts: Facts, first: int, last: int) -> None:
        blocks = self._shared.blocks
        flights: dict[Key, Flight[bytes]] = {}

        def deliver(index: int, data: bytes) -> None:
            if facts.size is not None:
                announced = min(self._shared.block, facts.size - index * self._shared.block)
                if len(data) != announced:
                    raise Changed
            blocks.put(self._key(facts, index), data)

        async def run() -> None:
            code = errno.EIO
            try:
                await self._fetch_from(facts, first, last, deliver)
            except Changed:
                code = errno.ESTALE
            except OSError as error:
                code = error.errno or errno.EIO
                if code == errno.ENOENT:
                    code = errno.ESTALE
            finally:
                for key, flight in flights.items():
                    if blocks.coming.get(key) is flight:
                        del blocks.coming[key]
                    flight.crash(code)

        self._shared.background.start(run)
        for index in range(first, last + 1):
            key = self._key(facts, index)
            flights[key] = blocks.coming[key] = Flight()

    async def _fetch_from(
        self, facts: Facts, first: int, last: int, deliver: Callable[[int, bytes], None]
    ) -> None:
        if not self._streams:
            try:
                await self._ranges.fetch(facts, first, last, deliver)
                return
            except Unranged:
                self._streams = True
        await self._stream.fetch(facts, first, last, deliver)

    def close(self) -> None:
        """Let the driver's file go, if there is one."""
        self._shared.background.start(self._stream.close)
