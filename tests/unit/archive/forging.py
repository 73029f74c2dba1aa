"""Archives made wrong on purpose: any field changed, with every digest made right again.

So a reader cannot tell by digests; what it must tell is that the value is impossible.
"""

from __future__ import annotations

from struct import Struct

from vfsd.archive import layout
from vfsd.archive.opening import CHECKED
from vfsd.archive.table import block_digest, records_per_block
from vfsd.codec import decode_flat, encode
from vfsd.digest import content_digest, short_key


class Forge:
    """The bytes of an archive without a prefix, to be changed; `bytes` gives the result."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    def __bytes__(self) -> bytes:
        return bytes(self.data)

    # -- header, trailer, root --------------------------------------------------------------

    def header(self, **changes: object) -> Forge:
        names = ("magic", "major", "minor", "flags", "created_s", "reserved", "digest")
        fields = dict(zip(names, layout.HEADER.unpack(self.data[:64]), strict=True)) | changes
        packed = layout.HEADER.pack(*fields.values())
        if "digest" not in changes:
            packed = packed[:48] + content_digest(packed[:48])
        self.data[:64] = packed
        return self

    def trailer(self, **changes: object) -> Forge:
        trailer = layout.Trailer._make(layout.TRAILER.unpack(self.data[-64:]))
        packed = layout.TRAILER.pack(*trailer._replace(**changes))
        if "check" not in changes:
            check = short_key(packed[:CHECKED]).to_bytes(8, "little")
            packed = packed[:CHECKED] + check + packed[-8:]
        self.data[-64:] = packed
        return self

    def root_values(self) -> dict[str, object]:
        trailer = layout.Trailer._make(layout.TRAILER.unpack(self.data[-64:]))
        block = self.data[trailer.root : trailer.root + trailer.root_length]
        items = decode_flat(block, 100)
        return dict(zip(items[::2], items[1::2], strict=True))

    def root(self, **changes: object) -> Forge:
        values = {**self.root_values(), **changes}
        return self.root_items([each for pair in values.items() for each in pair])

    def root_items(self, items: list[object]) -> Forge:
        return self.root_block(encode(items))

    def root_block(self, block: bytes) -> Forge:
        at = layout.Trailer._make(layout.TRAILER.unpack(self.data[-64:])).root
        tail = self.data[-64:]
        del self.data[at:]
        self.data += block + tail
        length = len(self.data)
        return self.trailer(
            root_digest=content_digest(block),
            root_length=len(block),
            length=length,
            start_back=length,
        )

    # -- records --------------------------------------------------------------------------------

    def inode_fields(self, number: int) -> layout.Inode:
        at = self._place("inodes", layout.INODE, number - 1)
        return layout.Inode._make(layout.INODE.unpack_from(self.data, at))

    def inode(self, number: int, **changes: object) -> Forge:
        fields = self.inode_fields(number)._replace(**changes)
        return self._record("inodes", layout.INODE, number - 1, layout.INODE.pack(*fields))

    def frame_fields(self, number: int) -> layout.Frame:
        at = self._place("frames", layout.FRAME, number)
        return layout.Frame._make(layout.FRAME.unpack_from(self.data, at))

    def frame(self, number: int, **changes: object) -> Forge:
        fields = self.frame_fields(number)._replace(**changes)
        return self._record("frames", layout.FRAME, number, layout.FRAME.pack(*fields))

    def _place(self, table: str, record: Struct, index: int) -> int:
        block, slot = divmod(index, records_per_block(record))
        start = self.root_values()[table]
        assert isinstance(start, int)
        return start + block * layout.TABLE_BLOCK + layout.DIGEST + slot * record.size

    def _record(self, table: str, record: Struct, index: int, packed: bytes) -> Forge:
        at = self._place(table, record, index)
        self.data[at : at + record.size] = packed
        number = index // records_per_block(record)
        start = self.root_values()[table]
        assert isinstance(start, int)
        block = start + number * layout.TABLE_BLOCK
        body = bytes(self.data[block + layout.DIGEST : block + layout.TABLE_BLOCK])
        self.data[block : block + layout.DIGEST] = block_digest(number, body)
        return self

    # -- blocks -----------------------------------------------------------------------------------

    def insert(self, block: bytes) -> int:
        """Put bytes before the root block, and return their offset."""
        trailer = layout.Trailer._make(layout.TRAILER.unpack(self.data[-64:]))
        self.data[trailer.root : trailer.root] = block
        length = len(self.data)
        self.trailer(root=trailer.root + len(block), length=length, start_back=length)
        return trailer.root

    def directory(self, number: int, block: bytes, **changes: object) -> Forge:
        """Give a directory another block."""
        place = self.insert(block)
        return self.inode(
            number, place=place, stored=len(block), digest=content_digest(block), **changes
        )

    def xattrs(self, number: int, packed: bytes) -> Forge:
        """Give a node another block of extended attributes."""
        block = content_digest(packed) + packed
        return self.inode(number, xattrs=self.insert(block), xattrs_length=len(block))

    def map(self, number: int, packed: bytes, **changes: object) -> Forge:
        """Make a regular file sparse, with this map."""
        block = content_digest(packed) + packed
        place = self.insert(block)
        return self.inode(number, place=place, stored=len(block), flags=1, skip=0, **changes)
