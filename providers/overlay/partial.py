"""Large files in an upper that is memory: what was not written still comes from the lower.

Copying a large file up would fill the memory with it for the sake of a few bytes. Instead the
upper gets an empty file of the same size, and a bitmap says which chunks of it count; the
others are read from the lower. A chunk that is written in part is filled from the lower first.
The rest is never copied, unless the layer is stored (provider.py, `layer`).

If the lower's file changes or goes behind the overlay's back, ranges that were not written show
the change, or are EIO.

Concurrency: a `Partial` is a value; who changes a file holds the overlay's turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from providers.overlay.layers import Below
from vfsd.provider import Handle

PARTIAL_MIN_BYTES = 256 << 10
"""Smaller files are copied whole: that costs less than minding their chunks."""

CHUNK_BITS_MIN = 16
CHUNKS_MAX = 1 << 18


class Partial(NamedTuple):
    """What the upper has of a file, of which `base` has the rest up to `base_size`."""

    base: Below
    base_size: int
    chunk_bits: int
    present: int = 0
    """Bit n: chunk n is the upper's."""

    def missing(self, start: int, end: int) -> bool:
        """Say whether any of a range still comes from the lower."""
        end = min(end, self.base_size)
        if start >= end:
            return False
        first, last = start >> self.chunk_bits, (end - 1) >> self.chunk_bits
        mask = ((1 << (last - first + 1)) - 1) << first
        return self.present & mask != mask

    def with_range(self, start: int, end: int) -> Partial:
        """Return it with all chunks of a range present."""
        first, last = start >> self.chunk_bits, max(start, end - 1) >> self.chunk_bits
        mask = ((1 << (last - first + 1)) - 1) << first
        return self._replace(present=self.present | mask)

    def runs(self, start: int, end: int) -> Iterator[tuple[bool, int, int]]:
        """Yield (present, start, end) for the parts of a range, up to `base_size` and beyond."""
        while start < end:
            if start >= self.base_size:
                yield True, start, end
                return
            present = bool(self.present >> (start >> self.chunk_bits) & 1)
            stop = start
            while stop < end and (
                stop < self.base_size
                and bool(self.present >> (stop >> self.chunk_bits) & 1) == present
            ):
                stop = ((stop >> self.chunk_bits) + 1) << self.chunk_bits
            stop = min(stop, end)
            if not present:
                stop = min(stop, self.base_size)
            yield present, start, stop
            start = stop


def partial_for(base: Below, size: int) -> Partial:
    """Return the state of a file of which nothing was written yet."""
    bits = CHUNK_BITS_MIN
    while size >> bits > CHUNKS_MAX:
        bits += 1
    return Partial(base, size, bits)


async def read_mixed(
    partial: Partial, upper: Handle, lower: Handle, offset: int, size: int, file_size: int
) -> bytes:
    """Read a range of which parts come from the lower; `file_size` ends it."""
    end = min(offset + size, file_size)
    pieces: list[bytes] = []
    for present, start, stop in partial.runs(offset, end):
        piece = await read_fully(upper if present else lower, start, stop - start)
        if len(piece) < stop - start:
            piece += bytes(stop - start - len(piece))  # a lower that shrank, or a hole
        pieces.append(piece)
    return b"".join(pieces)


async def read_fully(handle: Handle, offset: int, size: int) -> bytes:
    """Read until `size` bytes are there or the file ends."""
    piece = bytes(await handle.read(offset, size))
    while 0 < len(piece) < size:
        more = await handle.read(offset + len(piece), size - len(piece))
        if not more:
            break
        piece += bytes(more)
    return piece
