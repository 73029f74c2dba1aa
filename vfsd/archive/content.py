"""The content of one regular file: extents of data in frames, and holes between them.

Concurrency: for one thread at a time; reading keeps no position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from vfsd.archive.damage import Damage


class Extent(NamedTuple):
    """`length` bytes at `offset` of the file: from `skip` of the frame `frame` and on."""

    offset: int
    length: int
    frame: int
    skip: int


class Parts(Protocol):
    """What content is read from: vfsd/archive/frames.py's `Frames`."""

    frame_bytes: int

    @property
    def count(self) -> int: ...

    def part(self, number: int, start: int, size: int, length: int) -> memoryview | bytearray: ...


class Content:
    """What a file holds; made by `Archive.content`."""

    __slots__ = ("_frames", "_starts", "_whole", "extents", "size")

    def __init__(self, frames: Parts, size: int, extents: list[Extent], place: int) -> None:
        """Check the extents. Damage, naming `place`, if they are impossible."""
        self._frames = frames
        self.size = size
        self.extents: Sequence[Extent] = extents
        self._starts = [extent.offset for extent in extents]
        self._whole = extents[0] if len(extents) == 1 and extents[0].length == size else None
        """The only extent, if it is all of the file."""
        end = 0
        for extent in extents:
            frames_needed = -(-extent.length // frames.frame_bytes)
            if (
                extent.offset < end
                or extent.length == 0
                or extent.offset + extent.length > size
                or extent.frame + frames_needed > frames.count
                or (extent.skip and extent.skip + extent.length > frames.frame_bytes)
            ):
                raise Damage("a file's content is told to be where nothing can be", place)
            end = extent.offset + extent.length

    def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Return the bytes from `offset`; fewer than `size` only at the end. Damage."""
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        if self._whole is not None:
            first: memoryview | bytearray | bytes = self._data(self._whole, offset, end)
        else:
            first = self._piece(offset, end)
        if len(first) == end - offset:
            return first
        pieces = [first]
        offset += len(first)
        while offset < end:
            piece = self._piece(offset, end)
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def pieces(self) -> Iterator[tuple[int, memoryview | bytearray]]:
        """Yield all data, without the holes, as offsets and bytes. Damage."""
        for extent in self.extents:
            offset = extent.offset
            for piece in self.pieces_of(extent):
                yield offset, piece
                offset += len(piece)

    def pieces_of(self, extent: Extent) -> Iterator[memoryview | bytearray]:
        """Yield the data of one extent. Damage."""
        offset, end = extent.offset, extent.offset + extent.length
        while offset < end:
            piece = self._data(extent, offset, end)
            yield piece
            offset += len(piece)

    def _piece(self, offset: int, end: int) -> memoryview | bytearray | bytes:
        """Return what stands at `offset` up to where something else begins, or `end`."""
        at = bisect_right(self._starts, offset) - 1
        if at >= 0:
            extent = self.extents[at]
            if offset < extent.offset + extent.length:
                return self._data(extent, offset, min(end, extent.offset + extent.length))
        if at + 1 < len(self.extents):
            end = min(end, self._starts[at + 1])
        return bytes(end - offset)

    def _data(self, extent: Extent, offset: int, end: int) -> memoryview | bytearray:
        start = offset - extent.offset
        frame_bytes = self._frames.frame_bytes
        if extent.length <= frame_bytes:
            return self._frames.part(extent.frame, extent.skip + start, end - offset, 0)
        index, within = divmod(start, frame_bytes)
        length = min(frame_bytes, extent.length - index * frame_bytes)
        size = min(end - offset, length - within)
        return self._frames.part(extent.frame + index, within, size, length)
