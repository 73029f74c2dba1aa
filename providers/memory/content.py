"""The bytes of one regular file: sparse, shared between versions chunk by chunk.

The first `CHUNK` bytes are the *head*, one bytes object: most files are no more than that.
The rest is a map of chunks. A chunk holds as many bytes as were written into it, counted
from its start; what is missing reads as zeros, so holes cost nothing. Data that arrives as a
whole chunk is kept as it came (`bytes`), and given out again without a copy; a larger write
is kept whole as well, and its chunks are views of it. That saves more than the copy: touching
new memory costs several times what copying into it does. Data that is changed in small steps
becomes a `bytearray` that grows in place.

A view keeps all of its write in memory. When less than half of a write is left in the file,
what is left is copied out of it, so that no file holds more than twice what it is charged for.

Room is charged in pages of 4 KiB, as tmpfs does, for what a chunk holds: a byte written at
100,000 in an empty chunk costs the 25 pages that really are in memory.

What is *not* here: one chunk's bytes (chunks.py).

Concurrency: see ownership.py.
"""

from __future__ import annotations

from contextlib import suppress

from providers.memory.chunks import (
    CHUNK,
    PAGE,
    Chunk,
    Data,
    cut,
    pages,
    shortened,
    spliced,
    view_if_worth_it,
)
from providers.memory.numbermap import NumberMap
from providers.memory.ownership import Owner

SIZE_MAX = (1 << 63) - 1
"""Largest file, the kernel's own limit; more is EFBIG."""


class Content:
    """All bytes of one file; `size` counts the holes, `charged_bytes` does not."""

    __slots__ = ("_chunks", "_head", "_head_owned", "charged_bytes", "owner", "size")

    def __init__(self, owner: Owner | None) -> None:
        self.owner = owner
        self.size = 0
        self.charged_bytes = 0
        self._head: Data = b""
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
            return cut(self._head, offset, stop)
        index, start = divmod(offset, CHUNK)
        length = stop - offset
        if start + length <= CHUNK:
            return cut(self._stored(index), start, start + length)
        pieces = []
        while length:
            piece = min(CHUNK - start, length)
            pieces.append(cut(self._stored(index), start, start + piece))
            length -= piece
            index += 1
            start = 0
        return b"".join(pieces)

    def next_data(self, offset: int) -> int | None:
        """Return the first place from `offset` on that is in no hole, None if all is one."""
        if offset >= self.size:
            return None
        index, start = divmod(offset, CHUNK)
        stored = self._stored(index) if index else self._head
        if start < len(stored):
            return offset
        found = None if self._chunks is None else self._chunks.first_from(index + 1)
        return None if found is None else found[0] * CHUNK

    def write(self, offset: int, data: bytes, owner: Owner, room_bytes: int) -> int:
        """Write as much as `room_bytes` of new pages allow, and return how much that was.

        This content must be `owner`'s. A `MemoryError` leaves what was written before it.
        """
        length = len(data)
        done = 0
        view = view_if_worth_it(offset, data)
        loosened: list[tuple[int, object]] = []
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
            part: bytes | memoryview
            if piece == length:
                part = data
            elif view is not None and piece == CHUNK:
                part = view[done : done + piece]
            else:
                part = data[done : done + piece]
            old = self._stored(index)
            if type(old) is memoryview:
                loosened.append((index, old.obj))
            self._store(index, start, stop, part, owner)
            room_bytes -= growth
            self.charged_bytes += growth
            done += piece
            if offset + done > self.size:
                self.size = offset + done
        if view is not None and done < length:
            loosened.append((offset // CHUNK, data))
        self._copy_out(loosened, owner)
        return done

    def truncate(self, size: int, owner: Owner) -> None:
        """Cut or extend to `size`; this content must be `owner`'s."""
        if size < self.size:
            self._cut_to(size, owner)
        self.size = size

    def _stored(self, index: int) -> Data:
        if not index:
            return self._head
        chunk = None if self._chunks is None else self._chunks.get(index)
        return b"" if chunk is None else chunk.data

    def _store(
        self, index: int, start: int, stop: int, part: bytes | memoryview, owner: Owner
    ) -> None:
        if not index:
            self._head = spliced(self._head, self._head_owned, start, stop, part, owner)
            self._head_owned = True
            return
        if self._chunks is None:
            self._chunks = NumberMap(owner)
        chunk = self._chunks.get(index)
        if chunk is None:
            data = spliced(b"", True, start, stop, part, owner)
            self._chunks.put(index, Chunk(data, owner), owner)
        elif chunk.owner is owner:
            chunk.data = spliced(chunk.data, True, start, stop, part, owner)
        else:
            data = spliced(chunk.data, False, start, stop, part, owner)
            self._chunks.put(index, Chunk(data, owner), owner)

    def _copy_out(self, loosened: list[tuple[int, object]], owner: Owner) -> None:
        """Copy what is left of writes of which parts were replaced, where it is too little."""
        done: list[object] = []
        for index, whole in loosened:
            if any(whole is each for each in done):
                continue
            done.append(whole)
            assert isinstance(whole, bytes)
            span = len(whole) // CHUNK
            left = []
            for each in range(max(0, index - span), index + span + 1):
                data = self._stored(each)
                if type(data) is memoryview and data.obj is whole:
                    left.append(each)
            if left and len(left) * CHUNK * 2 < len(whole):
                # Nothing is lost if memory is refused for it: it only saves memory.
                with suppress(MemoryError):
                    for each in left:
                        part = bytes(self._stored(each))
                        self._store(each, 0, len(part), part, owner)

    def _cut_to(self, size: int, owner: Owner) -> None:
        last, rest = divmod(size, CHUNK)
        first_cut = self._stored(last)
        before = self._stored(last - 1) if last else b""
        if size <= CHUNK and self._chunks is not None:
            # All at once: emptying a large file must not take a step per chunk.
            self._chunks = None
            self.charged_bytes = pages(len(self._head))
        elif self._chunks is not None:
            for index, chunk in self._chunks.items_from(max(last, 1)):
                if index == last and rest:
                    self._shorten(index, chunk, rest, owner)
                else:
                    self.charged_bytes -= pages(len(chunk.data))
                    self._chunks.remove(index, owner)
            if not self._chunks.count:
                self._chunks = None
        if not last and rest < len(self._head):
            self.charged_bytes -= pages(len(self._head)) - pages(rest)
            self._head = shortened(self._head, self._head_owned, rest)
            self._head_owned = True
        loosened: list[tuple[int, object]] = [
            (last, each.obj) for each in (before, first_cut) if type(each) is memoryview
        ]
        self._copy_out(loosened, owner)

    def _shorten(self, index: int, chunk: Chunk, rest: int, owner: Owner) -> None:
        if rest >= len(chunk.data):
            return
        assert self._chunks is not None
        self.charged_bytes -= pages(len(chunk.data)) - pages(rest)
        data = shortened(chunk.data, chunk.owner is owner, rest)
        self._chunks.put(index, Chunk(data, owner), owner)
