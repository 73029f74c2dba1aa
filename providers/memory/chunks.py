"""One chunk of a file's bytes: as what it is kept, and how it is cut and changed.

What is *not* here: which chunk of a file that is, and what it shares (content.py).

Concurrency: see ownership.py. No buffer that can still change is ever given out.
"""

from __future__ import annotations

from providers.memory.ownership import Owner

CHUNK = 128 * 1024
"""Bytes per chunk: what one read of the kernel asks for by default."""
PAGE = 4096
Data = bytes | bytearray | memoryview
"""What a chunk is kept as; a memoryview is always one of a larger write's `bytes`."""
VIEW_MIN = 16 * 1024
"""Slices from here on are given out as views; below, a copy is cheaper."""
ZEROS = bytes(CHUNK)
"""What is read from a chunk that is not stored: clearing new memory each time takes longer."""


class Chunk:
    """One chunk after the head."""

    __slots__ = ("data", "owner")

    def __init__(self, data: Data, owner: Owner) -> None:
        self.data = data
        self.owner = owner


def pages(length: int) -> int:
    """Return the room that so many bytes are charged for."""
    return -(-length // PAGE) * PAGE


def view_if_worth_it(offset: int, data: bytes) -> memoryview | None:
    """Return a view of `data` if most of it will be whole chunks, more than one."""
    length = len(data)
    if length <= CHUNK:
        return None
    chunks = (offset + length) // CHUNK - -(-offset // CHUNK)
    return memoryview(data) if chunks * CHUNK * 2 >= length else None


def cut(data: Data, start: int, stop: int) -> bytes | memoryview:
    """Return a part of a chunk, zeros past what is stored; never a buffer that can change."""
    stored = len(data)
    if stop <= stored:
        if type(data) is bytearray:
            with memoryview(data) as view:
                return bytes(view[start:stop])
        if type(data) is bytes and start == 0 and stop == stored:
            return data
        if stop - start >= VIEW_MIN:
            # Always a new view, also of a view: whoever gets it may release it.
            return memoryview(data)[start:stop]
        return bytes(data[start:stop])
    if start >= stored:
        return ZEROS if stop - start == CHUNK else bytes(stop - start)
    with memoryview(data) as view:
        return bytes(view[start:]) + bytes(stop - stored)


def spliced(
    old: Data, owned: bool, start: int, stop: int, part: bytes | memoryview, owner: Owner
) -> Data:
    """Return `old` with `part` at `start`: in place where `old` is owned and can be changed."""
    stored = len(old)
    if start == 0 and stop >= stored:
        return part
    if stored and not owned:
        owner.counters.copied_chunks += 1
    if not owned or type(old) is not bytearray:
        old = bytearray(old)
    if start > stored:
        # One step, so that a MemoryError leaves the length, and thereby the charge, as it was.
        old += bytes(start - stored) + part
    else:
        old[start:stop] = part
    return old


def shortened(data: Data, owned: bool, rest: int) -> Data:
    """Return the first `rest` bytes, in place where `data` is owned and can be changed."""
    if owned and type(data) is bytearray and rest:
        del data[rest:]
        return data
    return bytes(memoryview(data)[:rest])
