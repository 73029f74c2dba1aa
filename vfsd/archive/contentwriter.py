"""Contents in the making: cut into frames, small ones together, the same content once.

Small files that follow each other share a frame, so that what lies together in the tree is read
and compressed together. A file that fills a frame or more has frames of its own.

Two contents are the same if their SHA-256 is: xxh3 is not made to withstand somebody who
wants two files to be taken for one.

Concurrency: for one thread at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from vfsd.archive.framewriter import FrameWriter, Mark
from vfsd.archive.layout import CODEC_RAW, DIGEST, EXTENT, EXTENT_PLACE, FLAG_SPARSE
from vfsd.archive.stream import Stream
from vfsd.digest import content_digest, content_hasher

SMALL_RAW = 4096
"""Files below this size share frames where nothing is compressed: larger ones are aligned."""


class Hole(NamedTuple):
    """A piece of content that reads as zeros and takes no room."""

    length: int


Piece = bytes | bytearray | memoryview | Hole


class Placed(NamedTuple):
    """Where a content is: the fields of `INODE` that say so."""

    size: int
    place: int
    skip: int
    stored: int
    flags: int
    allocated: int
    digest: bytes


class ContentWriter:
    """Stores contents through a `FrameWriter`; `finish` before the frames' records are read."""

    def __init__(self, stream: Stream, frames: FrameWriter, frame_bytes: int, codec: int) -> None:
        self._stream = stream
        self.frames = frames
        self.frame_bytes = frame_bytes
        self._small = SMALL_RAW if codec == CODEC_RAW else frame_bytes // 2
        self.known: dict[tuple[int, bool, bytes], Placed] = {}
        self._shared = bytearray()
        self._shared_number = 0

    def add(self, pieces: Iterable[Piece], *, unique: bool = False) -> Placed:
        """Store a content; `unique` tells that no other one can be the same."""
        return _Content(self, unique).take(pieces)

    def finish(self) -> None:
        """Write what is still collected."""
        if self._shared:
            self.frames.put(self._shared_number, bytes(self._shared))
            self._shared = bytearray()
        self.frames.drain()

    # -- for _Content ---------------------------------------------------------------------

    def share(self, data: bytes) -> tuple[int, int]:
        """Put a small content beside others; return its frame, and where it starts there."""
        if len(data) >= self._small:
            number = self.frames.reserve()
            self.frames.put(number, data)
            return number, 0
        if len(self._shared) + len(data) > self.frame_bytes:
            self.frames.put(self._shared_number, bytes(self._shared))
            self._shared = bytearray()
        if not self._shared:
            self._shared_number = self.frames.reserve()
        skip = len(self._shared)
        self._shared += data
        return self._shared_number, skip

    def write_map(self, extents: list[tuple[int, int, int]]) -> tuple[int, int]:
        """Write the map of a sparse file; return where it stands and its length."""
        packed = b"".join(EXTENT.pack(*extent) for extent in extents)
        self.frames.drain()
        return self._stream.write(content_digest(packed) + packed), DIGEST + len(packed)


class _Content:
    """One content on its way into frames."""

    def __init__(self, writer: ContentWriter, unique: bool) -> None:
        self._writer = writer
        self._frames = writer.frames
        self._digest = content_hasher()
        self._key = None if unique else hashlib.sha256()
        self._mark: Mark | None = None
        self._tail = bytearray()
        self._size = 0
        self._sparse = False
        self._extents: list[tuple[int, int, int]] = []
        self._start = 0
        self._first_frame: int | None = None

    def take(self, pieces: Iterable[Piece]) -> Placed:
        for piece in pieces:
            if isinstance(piece, Hole):
                self._hole(piece.length)
            elif piece:
                self._data(piece)
        if self._sparse:
            self._end_extent()
        key = None if self._key is None else (self._size, self._sparse, self._key.digest())
        if key is not None and (known := self._writer.known.get(key)) is not None:
            if self._mark is not None:
                self._frames.rewind(self._mark)
            return known
        placed = self._place()
        if key is not None:
            self._writer.known[key] = placed
        return placed

    def _place(self) -> Placed:
        digest = self._digest.digest()
        if self._sparse:
            place, stored = self._writer.write_map(self._extents)
            allocated = sum(length for _, length, _ in self._extents)
            return Placed(self._size, place, 0, stored, FLAG_SPARSE, allocated, digest)
        if self._first_frame is not None:
            self._cut()
            return Placed(self._size, self._first_frame, 0, 0, 0, self._size, digest)
        place, skip = self._writer.share(bytes(self._tail)) if self._tail else (0, 0)
        return Placed(self._size, place, skip, 0, 0, self._size, digest)

    def _data(self, piece: bytes | bytearray | memoryview) -> None:
        self._hash(piece)
        self._size += len(piece)
        view = memoryview(piece)
        # More than a frame must be there before one is cut: a file of one frame may share it.
        while len(self._tail) + len(view) > self._writer.frame_bytes:
            room = self._writer.frame_bytes - len(self._tail)
            self._tail += view[:room]
            view = view[room:]
            self._cut()
        self._tail += view

    def _hole(self, length: int) -> None:
        if length <= 0:
            return
        self._end_extent()
        self._sparse = True
        self._size += length
        self._start = self._size

    def _end_extent(self) -> None:
        length = self._size - self._start
        if length:
            self._cut()
            assert self._first_frame is not None
            self._extents.append((self._start, length, self._first_frame))
            self._hash(EXTENT_PLACE.pack(self._start, length))
            self._first_frame = None
        self._start = self._size

    def _hash(self, data: bytes | bytearray | memoryview) -> None:
        self._digest.update(data)
        if self._key is not None:
            self._key.update(data)

    def _cut(self) -> None:
        """Make a frame of what is collected."""
        if self._mark is None and self._key is not None:
            self._mark = self._frames.mark()
        number = self._frames.reserve()
        if self._first_frame is None:
            self._first_frame = number
        self._frames.put(number, bytes(self._tail))
        self._tail = bytearray()
