"""Contents of foreign archives: raw, or expanded as they are read.

A compressed content of at most `WHOLE_BYTES_MAX` is expanded at once, checked, and kept while it is
among those used last. A larger one is expanded from the nearest of the places where the state of
expanding was kept, and is not checked.

Concurrency: for one thread at a time. `NotCached` may end a read at any place; it is then made
again, and nothing is lost.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections import OrderedDict
from typing import Any, NamedTuple

from vfsd.archive.content import Extent
from vfsd.archive.damage import Damage
from vfsd.archive.foreign.listed import BZIP2, CHECKED, DEFLATE, LZMA, RAW, Reference
from vfsd.archive.source import Source

WHOLE_BYTES_MAX = 16 << 20
KEPT_BYTES_MAX = 32 << 20
STEP_BYTES = 1 << 16
STATE_BYTES = 4 << 20
STATES_MAX = 256


class RawContent:
    """Bytes as they stand in the file, with holes where pieces leave room."""

    def __init__(self, source: Source, size: int, pieces: list[tuple[int, int, int]]) -> None:
        """`pieces` are offset, length and place, ascending. Damage if they cannot be."""
        self._source = source
        self.size = size
        self._pieces = pieces
        end = 0
        for offset, length, place in pieces:
            if offset < end or offset + length > size or place + length > source.length:
                raise Damage("a file is told to stand beyond the archive's end", place)
            end = offset + length

    @property
    def extents(self) -> list[Extent]:
        """Where there is data, as `Content.extents`."""
        return [Extent(offset, length, 0, 0) for offset, length, _ in self._pieces]

    def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Return the bytes from `offset`. Damage."""
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        if len(self._pieces) == 1 and self._pieces[0][1] == self.size:
            return self._source.read(self._pieces[0][2] + offset, end - offset)
        buffer = bytearray(end - offset)
        for start, length, place in self._pieces:
            low, high = max(start, offset), min(start + length, end)
            if low < high:
                data = self._source.read(place + low - start, high - low)
                buffer[low - offset : high - offset] = data
        return buffer


class Whole:
    """Expanded contents that were used last, by where they stand."""

    def __init__(self) -> None:
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, source: Source, reference: Reference) -> bytes:
        """Return a content, expanded and checked. Damage."""
        known = self._kept.get(reference.offset)
        if known is not None:
            self._kept.move_to_end(reference.offset)
            return known
        stored = source.read(reference.offset, reference.stored)
        state = State(0, 0, _expander(reference))
        plain = _feed(state, bytes(stored), reference.size + 1)
        if len(plain) != reference.size:
            raise Damage("a file does not expand to its size", reference.offset)
        if reference.flags & CHECKED and zlib.crc32(plain) != reference.check:
            raise Damage("a file does not match its CRC-32", reference.offset)
        self._kept[reference.offset] = plain
        self._bytes += len(plain)
        while self._bytes > KEPT_BYTES_MAX and len(self._kept) > 1:
            self._bytes -= len(self._kept.popitem(last=False)[1])
        return plain


class WholeContent:
    """A compressed content of moderate size."""

    def __init__(self, source: Source, whole: Whole, reference: Reference) -> None:
        self._source = source
        self._whole = whole
        self._reference = reference
        self.size = reference.size

    @property
    def extents(self) -> list[Extent]:
        """Where there is data, as `Content.extents`."""
        return [Extent(0, self.size, 0, 0)] if self.size else []

    def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Return the bytes from `offset`. Damage."""
        if offset >= self.size:
            return b""
        return memoryview(self._whole.get(self._source, self._reference))[offset : offset + size]


class State(NamedTuple):
    """Expanding, at a place: what comes next stands at `plain` of the content."""

    plain: int
    stored: int
    expander: Any


class LargeContent:
    """A compressed content that is not kept whole."""

    def __init__(self, source: Source, reference: Reference) -> None:
        self._source = source
        self._reference = reference
        self.size = reference.size
        self._states: dict[int, State] = {}
        self._now = State(0, 0, _expander(reference))
        self._spare = b""
        self._step = max(STATE_BYTES, reference.size // STATES_MAX)

    @property
    def extents(self) -> list[Extent]:
        """Where there is data, as `Content.extents`."""
        return [Extent(0, self.size, 0, 0)]

    def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Return the bytes from `offset`. Damage."""
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        if not self._now.plain - len(self._spare) <= offset:
            self._return_to(offset)
        found = bytearray()
        while True:
            start = self._now.plain - len(self._spare)
            if self._spare and start <= offset + len(found) < self._now.plain:
                found += self._spare[offset + len(found) - start : end - start]
            if len(found) == end - offset:
                return found
            self._advance()

    def _return_to(self, offset: int) -> None:
        fresh = State(0, 0, _expander(self._reference))
        nearest = fresh
        for kept in self._states.values():
            if nearest.plain < kept.plain <= offset:
                nearest = kept
        if nearest is not fresh:
            nearest = nearest._replace(expander=nearest.expander.copy())
        self._now = nearest
        self._spare = b""

    def _advance(self) -> None:
        """Expand a little more, which becomes `_spare`."""
        now, reference = self._now, self._reference
        size = min(STEP_BYTES, reference.stored - now.stored)
        if size <= 0 or now.expander.eof:
            raise Damage("a file ends before its size", reference.offset)
        piece = bytes(self._source.read(reference.offset + now.stored, size))
        mark = now.plain // self._step
        if reference.method == DEFLATE and mark and mark not in self._states:
            self._states[mark] = now._replace(expander=now.expander.copy())
        plain = _feed(now, piece, self.size - now.plain + 1)
        self._now = State(now.plain + len(plain), now.stored + size, now.expander)
        if self._now.plain > self.size:
            raise Damage("a file does not end at its size", reference.offset)
        self._spare = plain


def _expander(reference: Reference) -> Any:  # noqa: ANN401 - three libraries' classes
    if reference.method == DEFLATE:
        return zlib.decompressobj(-zlib.MAX_WBITS)
    if reference.method == BZIP2:
        return bz2.BZ2Decompressor()
    if reference.method == LZMA:
        return _ZipLzma()
    raise Damage(f"a file is compressed by method {reference.method}, which is unknown", None)


def _feed(state: State, stored: bytes, limit: int) -> bytes:
    """Expand `stored`, to no more than `limit` bytes. Damage."""
    try:
        plain: bytes = state.expander.decompress(stored, limit)
    except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError) as error:
        raise Damage(f"a file does not expand: {error}") from error
    return plain


class _ZipLzma:
    """LZMA as zip has it: its properties first."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: lzma.LZMADecompressor | None = None

    @property
    def eof(self) -> bool:
        return self._inner is not None and self._inner.eof

    def decompress(self, data: bytes, limit: int) -> bytes:
        if self._inner is None:
            self._head += data
            size = int.from_bytes(self._head[2:4], "little")
            if len(self._head) < 4 + size:
                return b""
            # The same as zipfile reads: an alone-format decoder for raw properties.
            # typeshed has no private functions.
            properties = lzma._decode_filter_properties(  # type: ignore[attr-defined]
                lzma.FILTER_LZMA1, self._head[4 : 4 + size]
            )
            if properties.get("dict_size", 0) > 1 << 26:
                raise ValueError("it needs too much memory")
            self._inner = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[properties])
            data = self._head[4 + size :]
        return self._inner.decompress(data, limit)


__all__ = ["RAW", "LargeContent", "RawContent", "Whole", "WholeContent"]
