"""A foreign archive with its index, as an `ArchiveTree`.

Concurrency: as vfsd/archive/reader.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from vfsd.archive.damage import Damage
from vfsd.archive.foreign.contents import (
    WHOLE_BYTES_MAX,
    LargeContent,
    RawContent,
    Whole,
    WholeContent,
)
from vfsd.archive.foreign.listed import (
    CHECKED,
    ENCRYPTED,
    LOCAL_HEADER,
    PIECE,
    RAW,
    REFERENCE,
    Reference,
)
from vfsd.archive.foreign.tars import SPARSE
from vfsd.archive.layout import REGULAR, SIZE_MAX, Inode
from vfsd.archive.reader import Archive
from vfsd.archive.source import Source
from vfsd.archive.tree import Found

LOCAL_HEADER_BYTES = 30
ForeignContent = RawContent | WholeContent | LargeContent


class ForeignTree:
    """See the module. `close` closes both files."""

    def __init__(self, source: Source, index: Archive) -> None:
        self._source = source
        self._index = index
        self._whole = Whole()

    def close(self) -> None:
        """Close both files; once."""
        self._index.close()
        self._source.close()

    @property
    def count(self) -> int:
        """How many nodes there are."""
        return self._index.count

    @property
    def length(self) -> int:
        """How many bytes the foreign archive has."""
        return self._source.length

    @property
    def unlinked(self) -> bool:
        """Whether the foreign archive has lost its name."""
        return self._source.unlinked

    def hurry(self) -> None:
        """See `Source.hurry`; the index, which is small, may be waited for."""
        self._source.hurry()

    def warm(self, offset: int, size: int) -> None:
        """See `Source.warm`."""
        self._source.warm(offset, size)

    def statistics(self) -> Mapping[str, int]:
        """Return counters, for `vfsd status`."""
        return {"nodes": self.count}

    def inode(self, number: int) -> Inode:
        """Return the record of a node; of a regular file, `stored` is its reference's size."""
        return self._shown(self._index.inode(number))

    def names(self, number: int, inode: Inode) -> list[bytes]:
        """Return all names in a directory, ascending. Damage."""
        return self._index.names(number, inode)

    def lookup(self, number: int, inode: Inode, name: bytes) -> Found | None:
        """Return what `name` in a directory stands for, None if nothing. Damage."""
        found = self._index.lookup(number, inode, name)
        return None if found is None else Found(found.number, self._shown(found.inode))

    def scan(self, number: int, inode: Inode) -> Iterator[tuple[bytes, Found]]:
        """Yield all names in a directory with what they stand for. Damage."""
        for name, found in self._index.scan(number, inode):
            yield name, Found(found.number, self._shown(found.inode))

    def target(self, inode: Inode) -> bytes:
        """Return a symlink's target. Damage."""
        return self._index.target(inode)

    def xattrs(self, inode: Inode) -> dict[bytes, bytes]:
        """Return the extended attributes. Damage."""
        return self._index.xattrs(inode)

    def content(self, inode: Inode) -> ForeignContent:
        """Return the content of a regular file. Damage."""
        packed = self._packed(inode.place, inode.skip, inode.stored)
        reference = Reference._make(REFERENCE.unpack_from(packed))
        if reference.flags & ENCRYPTED:
            raise Damage("a file is encrypted", reference.offset)
        if reference.flags & LOCAL_HEADER:
            reference = self._behind_header(reference)
        if reference.flags & SPARSE:
            pieces = list(PIECE.iter_unpack(memoryview(packed)[REFERENCE.size :]))
            return RawContent(self._source, reference.size, pieces)
        if reference.method == RAW:
            if reference.stored != reference.size:
                raise Damage("a file is stored in another size than it has", reference.offset)
            if reference.flags & CHECKED and reference.size <= WHOLE_BYTES_MAX:
                return _CheckedContent(self._source, reference)
            whole = [(0, reference.size, reference.offset)] if reference.size else []
            return RawContent(self._source, reference.size, whole)
        if reference.size <= WHOLE_BYTES_MAX:
            return WholeContent(self._source, self._whole, reference)
        return LargeContent(self._source, reference)

    def _shown(self, inode: Inode) -> Inode:
        if inode[0] & 0o170000 != REGULAR:
            return inode
        (size,) = struct.unpack_from("<Q", self._packed(inode.place, inode.skip, inode.size))
        if size > SIZE_MAX:
            raise Damage("a file has an impossible size", inode.place)
        return inode._replace(size=size, stored=inode.size, allocated=size)

    def _packed(self, place: int, skip: int, size: int) -> memoryview | bytearray:
        if size < REFERENCE.size or (size - REFERENCE.size) % PIECE.size:
            raise Damage("the index holds something else than references", place)
        if skip + size <= self._index.frames.frame_bytes:
            return self._index.frames.part(place, skip, size, 0)
        raise Damage("a file is in too many pieces", place)

    def _behind_header(self, reference: Reference) -> Reference:
        """Return where a zip's member really stands: behind a header of its own length."""
        header = self._source.read(reference.offset, LOCAL_HEADER_BYTES)
        if header[:4] != b"PK\x03\x04":
            raise Damage("a file has no header where the zip tells it", reference.offset)
        name_size, extra_size = struct.unpack_from("<HH", header, 26)
        offset = reference.offset + LOCAL_HEADER_BYTES + name_size + extra_size
        return reference._replace(offset=offset)


class _CheckedContent(RawContent):
    """Raw bytes with a CRC-32, checked when they are first read."""

    def __init__(self, source: Source, reference: Reference) -> None:
        pieces = [(0, reference.size, reference.offset)] if reference.size else []
        super().__init__(source, reference.size, pieces)
        self._reference = reference
        self._checked = False

    def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        if not self._checked:
            import zlib

            data = super().read(0, self.size)
            if zlib.crc32(data) != self._reference.check:
                raise Damage("a file does not match its CRC-32", self._reference.offset)
            self._checked = True
            return memoryview(data)[offset : offset + size]
        return super().read(offset, size)
