"""Buffers that are filled over and over: lent as views, and taken again once nobody holds those.

They begin at a page: where the kernel copies to 16 bytes behind a page, as to what malloc maps,
copying 128 KiB takes 63 µs instead of 19 (AMD EPYC, `rep movsb`); and pages that were touched
once are not made again.

Concurrency: for one thread at a time; a view may be held and dropped by any.
"""

from __future__ import annotations

import mmap
import sys

FREE = 2
"""References to a buffer that nobody holds: `Scratch`'s own, and the one that counts."""


class Scratch:
    """At most `most` buffers of `size` bytes; made when they are needed."""

    def __init__(self, size: int, most: int = 8) -> None:
        self._size = size
        self._most = most
        self._buffers: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """Return `size` bytes to write to: the caller's while any view of them is held."""
        if size > self._size:
            return memoryview(bytearray(size))
        buffers = self._buffers
        for at in range(len(buffers)):
            # Every view of a buffer, however sliced, holds a reference to it.
            if sys.getrefcount(buffers[at]) == FREE:
                return memoryview(buffers[at])[:size]
        if len(buffers) == self._most:
            return memoryview(bytearray(size))
        buffers.append(mmap.mmap(-1, self._size))
        return memoryview(buffers[-1])[:size]
