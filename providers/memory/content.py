"""The bytes of one regular file: sparse, shared between versions chunk by chunk.

The first `CHUNK` bytes are the *head*, one bytes object: most files are no more than that.
The rest is a map of chunks. A chunk holds as many bytes as were written into it, counted
from its start; what is missing reads as zeros, so holes cost nothing. Data that arrives as a
whole chunk is kept as it came (`bytes`), and given out again without a copy; data that is
changed in small steps becomes a `bytearray` that grows in place.

Room is charged in pages of 4 KiB, as tmpfs does, for what a chunk holds: a byte written at
100,000 in an empty chunk costs the 25 pages that really are in memory.

Concurrency: see ownership.py. No buffer that can still change is ever given out.
"""

from __future__ import annotations

from providers.memory.numbermap import NumberMap
from providers.memory.ownership import Owner

CHUNK = 128 * 1024
"""Bytes per chunk: what one read of the kernel asks for by default."""
PAGE = 4096
SIZE_MAX = (1 << 63) - 1
"""Largest file, the kernel's own limit; more is EFBIG."""
VIEW_MIN = 16 * 1024
"""Slices from here on are given out as views; below, a copy is cheaper."""


class Chunk:
    """One chunk after the head."""

    __slots__ = ("data", "owner")

    def __init__(self, data: bytes | bytearray, owner: Owner) -> None:
        self.data = data
        self.owner = owner


class Content:
    """All bytes of one file; `size` counts the holes, `charged_bytes` does not."""

    __slots__ = ("_chunks", "_head", "_head_owned", "charged_bytes", "owner", "size")

    def __init__(self, owner: Owner | None) -> None:
        self.owner = owner
        self.size = 0
        self.charged_bytes = 0
        self._head: bytes | bytearray = b""
        self._head_owned = True
        self._chunks: NumberMap[Chunk] | None = None

    def copied(self, owner: Owner) -> Content:
        """Return a twin for `owner` that shares all data until it is written."""
        twin = Content(owner)
        twin.size = self.size
        twin.charged_bytes = self.charged_bytes
        twin._head = self._head
        twin._head_owned = False
        if self._chunks is not None:
            twin._chunks = self._chunks.share()
        return twin

    @property
    def chunk_count(self) -> int:
        """How many chunks are stored, the head included."""
        count = 1 if self._head else 0
        return count if self._chunks is None else count + self._chunks.count

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """Return up to `size` bytes from `offset`, fewer only at the end."""
        stop = min(offset + size, self.size)
        if offset >= stop:
            return b""
        if stop <= CHUNK:
            return _cut(self._head, offset, stop)
        index, start = divmod(offset, CHUNK)
        length = stop - offset
        if start + length <= CHUNK:
            return _cut(self._stored(index), start, start + length)
        pieces = []
        while length:
            piece = min(CHUNK - start, length)
            pieces.append(_cut(self._stored(index), start, start + piece))
            length -= piece
            index += 1
            start = 0
        return b"".join(pieces)

    def write(self, offset: int, data: bytes, owner: Owner, room_bytes: int) -> int:
        """Write as much as `room_bytes` of new pages allow, and return how much that was.

        This content must be `owner`'s. A `MemoryError` leaves what was written before it.
        """
        length = len(data)
        done = 0
        while done < length:
            index, start = divmod(offset + done, CHUNK)
            stop = min(CHUNK, start + length - done)
            stored = len(self._stored(index)) if index else len(self._head)
            growth = 0
            if stop > stored:
                before = -(-stored // PAGE) * PAGE
                growth = -(-stop // PAGE) * PAGE - before
                if growth > room_bytes:
                    stop = min(stop, before + room_bytes // PAGE * PAGE)
                    if stop <= start:
                        break
                    growth = -(-stop // PAGE) * PAGE - before
            piece = stop - start
            part = data if piece == length else data[done : done + piece]
            self._store(index, start, stop, part, owner)
            room_bytes -= growth
            self.charged_bytes += growth
            done += piece
            if offset + done > self.size:
                self.size = offset + done
        return done

    def truncate(self, size: int, owner: Owner) -> None:
        """Cut or extend to `size`; this content must be `owner`'s."""
        if size < self.size:
            self._cut_to(size, owner)
        self.size = size

    def _stored(self, index: int) -> bytes | bytearray:
        if not index:
            return self._head
        chunk = None if self._chunks is None else self._chunks.get(index)
        return b"" if chunk is None else chunk.data

    def _store(self, index: int, start: int, stop: int, part: bytes, owner: Owner) -> None:
        if not index:
            old, owned = self._head, self._head_owned
            data = _spliced(old, owned, start, stop, part, owner)
            self._head = data
            self._head_owned = True
            return
        if self._chunks is None:
            self._chunks = NumberMap(owner)
        chunk = self._chunks.get(index)
        if chunk is None:
            data = _spliced(b"", True, start, stop, part, owner)
            self._chunks.put(index, Chunk(data, owner), owner)
        elif chunk.owner is owner:
            chunk.data = _spliced(chunk.data, True, start, stop, part, owner)
        else:
            data = _spliced(chunk.data, False, start, stop, part, owner)
            self._chunks.put(index, Chunk(data, owner), owner)

    def _cut_to(self, size: int, owner: Owner) -> None:
        last, rest = divmod(size, CHUNK)
        if size <= CHUNK and self._chunks is not None:
            # All at once: emptying a large file must not take a step per chunk.
            self._chunks = None
            self.charged_bytes = _pages(len(self._head))
        elif self._chunks is not None:
            for index, chunk in self._chunks.items_from(max(last, 1)):
                if index == last and rest:
                    self._shorten(index, chunk, rest, owner)
                else:
                    self.charged_bytes -= _pages(len(chunk.data))
                    self._chunks.remove(index, owner)
            if not self._chunks.count:
                self._chunks = None
        if not last and rest < len(self._head):
            self.charged_bytes -= _pages(len(self._head)) - _pages(rest)
            self._head = _shortened(self._head, self._head_owned, rest)
            self._head_owned = True

    def _shorten(self, index: int, chunk: Chunk, rest: int, owner: Owner) -> None:
        if rest >= len(chunk.data):
            return
        assert self._chunks is not None
        self.charged_bytes -= _pages(len(chunk.data)) - _pages(rest)
        data = _shortened(chunk.data, chunk.owner is owner, rest)
        self._chunks.put(index, Chunk(data, owner), owner)


def _pages(length: int) -> int:
    return -(-length // PAGE) * PAGE


def _cut(data: bytes | bytearray, start: int, stop: int) -> bytes | memoryview:
    stored = len(data)
    if stop <= stored:
        if type(data) is bytes:
            if start == 0 and stop == stored:
                return data
            if stop - start >= VIEW_MIN:
                return memoryview(data)[start:stop]
            return data[start:stop]
        with memoryview(data) as view:
            return bytes(view[start:stop])
    if start >= stored:
        return bytes(stop - start)
    with memoryview(data) as view:
        return bytes(view[start:]) + bytes(stop - stored)


def _spliced(
    old: bytes | bytearray, owned: bool, start: int, stop: int, part: bytes, owner: Owner
) -> bytes | bytearray:
    """Return `old` with `part` at `start`: in place where `old` is owned and can be changed."""
    stored = len(old)
    if start == 0 and stop >= stored:
        return part
    if stored and not owned:
        owner.counters.copied_chunks += 1
    if not owned or type(old) is bytes:
        old = bytearray(old)
    assert type(old) is bytearray
    if start > stored:
        # One step, so that a MemoryError leaves the length, and thereby the charge, as it was.
        old += bytes(start - stored) + part
    else:
        old[start:stop] = part
    return old


def _shortened(data: bytes | bytearray, owned: bool, rest: int) -> bytes | bytearray:
    if owned and type(data) is bytearray and rest:
        del data[rest:]
        return data
    return bytes(memoryview(data)[:rest])
