"""Frames: runs of plain bytes, stored raw or compressed, each with its digest.

Every frame is verified whole when it is first read. Frames that had to be expanded and were used
last are kept; raw ones are not, since the kernel has them: of one that was verified, later reads
fetch just what they need.

Concurrency: for one thread at a time.
"""

from __future__ import annotations

from collections import OrderedDict

from vfsd.archive.compression import expand
from vfsd.archive.damage import Damage
from vfsd.archive.layout import CODEC_RAW, FRAME, Frame
from vfsd.archive.scratch import Scratch
from vfsd.archive.source import Source
from vfsd.archive.table import Table
from vfsd.digest import content_digest

CACHE_BYTES = 16 << 20
"""Frames that were expanded and are kept in memory, together."""

SMALL = 16384
"""Parts below this size get memory of their own, which costs less than to look for a buffer."""

RECORDS_MAX = 2048
"""Records of frames that are kept in memory."""

NOTHING = memoryview(b"")


class Frames:
    """All frames of an archive, by number from 0."""

    def __init__(self, source: Source, offset: int, count: int, frame_bytes: int) -> None:
        self._source = source
        self._table = Table(source, FRAME, offset, count)
        self.frame_bytes = frame_bytes
        self._records: dict[int, Frame] = {}
        self._kept: OrderedDict[int, bytes | bytearray] = OrderedDict()
        self._kept_max = max(2, CACHE_BYTES // frame_bytes)
        self._scratch = Scratch(frame_bytes)
        self._last = -1
        """The raw frame that was verified last, all of which `_last_view` holds."""
        self._last_view = NOTHING
        self._verified = bytearray(count)
        self._generation = source.generation
        self.verified_frames = 0
        self.read_bytes = 0

    @property
    def count(self) -> int:
        """How many frames there are."""
        return self._table.count

    def record(self, number: int) -> Frame:
        """Return a frame's record. Damage if it is impossible."""
        known = self._records.get(number)
        if known is not None:
            return known
        if not 0 <= number < self._table.count:
            raise Damage(f"there is no frame {number}")
        frame = Frame._make(self._table.record(number))
        if not 0 < frame.length <= self.frame_bytes or frame.stored == 0:
            raise Damage("a frame has an impossible length", self._table.offset_of(number))
        if frame.stored > frame.length or (
            frame.codec == CODEC_RAW and frame.stored != frame.length
        ):
            raise Damage("a frame is stored in more bytes than it has", frame.offset)
        if len(self._records) == RECORDS_MAX:
            self._records.clear()
        self._records[number] = frame
        return frame

    def part(self, number: int, start: int, size: int, length: int) -> memoryview | bytearray:
        """Return `size` bytes from `start` of a frame that must be `length` long. Damage.

        `length` 0: only as long as needed, since other files share the frame.
        """
        plain = self._kept.get(number)
        if plain is None:
            frame = self.record(number)
            self._check_length(frame, start + size, length)
            if frame.codec == CODEC_RAW:
                return self._raw(number, frame, start, size)
            plain = self._load(number, frame)
        elif len(plain) != length if length else len(plain) < start + size:
            self._check_length(self.record(number), start + size, length)
        return memoryview(plain)[start : start + size]

    def _raw(self, number: int, frame: Frame, start: int, size: int) -> memoryview | bytearray:
        if number == self._last:
            return self._last_view[start : start + size]
        if self._verified[number] and self._generation == self._source.generation:
            part = memoryview(bytearray(size)) if size < SMALL else self._scratch.take(size)
            self._source.read_into(part, frame.offset + start)
            # Only if the file is still the one that was verified.
            if self._generation == self._source.generation:
                self.read_bytes += size
                return part
        # Forgotten first, so that its buffer can be taken, and before anything can fail.
        self._last, self._last_view = -1, NOTHING
        plain = self._scratch.take(frame.length)
        self._source.read_into(plain, frame.offset)
        self._check_digest(plain, frame)
        if self._generation != self._source.generation:
            self._generation = self._source.generation
            self._verified = bytearray(len(self._verified))
        self._verified[number] = 1
        self._last, self._last_view = number, plain
        return plain[start : start + size]

    def _check_length(self, frame: Frame, needed: int, length: int) -> None:
        if frame.length < needed or (length and frame.length != length):
            raise Damage("a file's frame has another length than the file needs", frame.offset)

    def _load(self, number: int, frame: Frame) -> bytes | bytearray:
        stored = self._scratch.take(frame.stored)
        self._source.read_into(stored, frame.offset)
        plain = expand(stored, frame.codec, frame.length, frame.offset)
        self._check_digest(plain, frame)
        self._kept[number] = plain
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)
        return plain

    def _check_digest(self, plain: bytes | bytearray | memoryview, frame: Frame) -> None:
        if content_digest(plain) != frame.digest:
            raise Damage("a frame does not match its digest", frame.offset)
        self.verified_frames += 1
        self.read_bytes += frame.stored
