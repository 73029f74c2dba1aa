"""Archives changed at random, their digests mended or not, and all of the reader tried on them."""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from contextlib import suppress

from vfsd.archive import layout
from vfsd.archive.damage import Damage
from vfsd.archive.opening import CHECKED
from vfsd.archive.reader import Archive, stat_of
from vfsd.archive.source import Source
from vfsd.archive.table import block_digest
from vfsd.archive.verify import Verifier
from vfsd.archive.writer import ArchiveWriter, Attributes, Hole
from vfsd.codec import CodecError, decode_flat
from vfsd.digest import content_digest, short_key

READ_MAX = 1 << 21
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x2F, 0x93, 0xC4, 0xC6, 0xDC, 0xDD)
NUMBERS = (0, 1, 2, 8, 255, 4096, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)


class GuardedSource(Source):
    """A source that lets nobody read outside of the file, or more than it has."""

    def read(self, offset: int, size: int) -> bytearray:
        data = super().read(offset, size)
        self._check(offset, len(data))
        return data

    def read_into(self, view: memoryview, offset: int) -> None:
        super().read_into(view, offset)
        self._check(offset, len(view))

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or size > self.length or offset + size > self.length:
            raise AssertionError(f"{size} bytes at {offset} were read of {self.length}")


def seeds() -> Iterator[bytes]:
    """Yield small archives that have everything in them."""
    for compression in ("none", "zlib", "zstd", "xz"):
        yield written(compression, many=False)
    yield written("zstd", many=True)


def written(compression: str, *, many: bool) -> bytes:
    fd = os.memfd_create("seed")
    try:
        with ArchiveWriter(fd, compression=compression, workers=1) as writer:
            file = Attributes(stat.S_IFREG | 0o644, 1, 2, 3)
            writer.add_directory(
                b"", Attributes(stat.S_IFDIR | 0o755), {b"user.overlay.opaque": b"y"}
            )
            writer.add_file(b"d/small", file, [b"small"], {b"user.a": b"1", b"user.b": b""})
            writer.add_file(b"d/same", file, [b"small"])
            writer.add_file(b"large", file, [b"abc " * 40_000])
            writer.add_file(b"sparse", file, [Hole(8192), b"data" * 1100, Hole(1 << 40), b"end"])
            writer.add_link(b"e/link", b"d/small")
            writer.add_symlink(b"s", Attributes(stat.S_IFLNK | 0o777), b"d/small")
            writer.add_special(b"wh", Attributes(stat.S_IFCHR))
            for number in range(600 if many else 0):
                writer.add_file(b"m/%d" % number, file, [b"%d" % number])
            size = writer.finish()
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)


def mutated(chance: random.Random, seed: bytes) -> bytes:
    """Change some bytes, often where numbers are; mend the digests half of the time."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        change(chance, data)
    return mended(bytes(data)) if chance.random() < 0.6 else bytes(data)


def change(chance: random.Random, data: bytearray) -> None:
    if len(data) < 16:
        return
    at = chance.choice(
        (
            chance.randrange(len(data)),
            # Tables and the end hold most of what can be wrong.
            min(len(data) - 9, len(data) - 64 - chance.randrange(min(len(data), 300))),
            *(_in_table(chance, data),) * 3,
        )
    )
    at = max(0, min(at, len(data) - 9))
    match chance.randrange(7):
        case 0:
            data[at] = chance.choice(INTERESTING)
        case 1:
            data[at] ^= 1 << chance.randrange(8)
        case 2:
            data[at : at + 8] = chance.choice(NUMBERS).to_bytes(8, "little")
        case 3:
            data[at : at + 4] = (chance.choice(NUMBERS) & 0xFFFFFFFF).to_bytes(4, "little")
        case 4:
            source = _in_table(chance, data)
            size = chance.choice((1, 8, 16, 40, 96))
            data[at : at + size] = data[source : source + size]
        case 5:
            data[at] = (data[at] + chance.choice((1, 255))) & 0xFF
        case 6 if chance.random() < 0.1:
            del data[at : at + chance.choice((1, 16, 4096))]
        case _:
            data[at : at + 1] = chance.randbytes(1)


def _in_table(chance: random.Random, data: bytearray) -> int:
    """Return a place in a record, an index block, or a map."""
    blocks = max(1, len(data) // layout.TABLE_BLOCK)
    block = chance.randrange(blocks) * layout.TABLE_BLOCK
    return min(len(data) - 1, block + chance.randrange(800))


def mended(data: bytes) -> bytes:
    """Make every digest right that can be found."""
    archive = bytearray(data)
    with suppress(Exception):
        _mend(archive)
    return bytes(archive)


def _mend(data: bytearray) -> None:
    trailer = layout.Trailer._make(layout.TRAILER.unpack(data[-64:]))
    head = bytes(data[:48])
    data[48:64] = content_digest(head)
    values: dict[str, int] = {}
    block = bytes(data[trailer.root : trailer.root + trailer.root_length])
    with suppress(CodecError):
        items = decode_flat(block, 100)
        values = dict(zip(items[::2], items[1::2], strict=False))
    _mend_inodes(data, values)
    for start, count, record in (
        (values.get("inodes", 0), values.get("inode_count", 0), layout.INODE),
        (values.get("frames", 0), values.get("frame_count", 0), layout.FRAME),
    ):
        per_block = (layout.TABLE_BLOCK - layout.DIGEST) // record.size
        for number in range(min(-(-count // per_block), 100)):
            at = start + number * layout.TABLE_BLOCK
            body = bytes(data[at + layout.DIGEST : at + layout.TABLE_BLOCK])
            data[at : at + layout.DIGEST] = block_digest(number, body)
    packed = layout.TRAILER.pack(*trailer._replace(root_digest=content_digest(block)))[:CHECKED]
    data[-64:] = packed + short_key(packed).to_bytes(8, "little") + data[-8:]


def _mend_inodes(data: bytearray, values: dict[str, int]) -> None:
    """Mend the digests of what inodes lead to: directories, targets, maps, attributes."""
    for number in range(min(values.get("inode_count", 0), 50)):
        block, slot = divmod(number, 42)
        at = values["inodes"] + block * layout.TABLE_BLOCK + 16 + slot * layout.INODE.size
        inode = layout.Inode._make(layout.INODE.unpack_from(data, at))
        if inode.kind in (layout.DIRECTORY, layout.SYMLINK):
            digest = content_digest(data[inode.place : inode.place + inode.stored])
            data[at + 80 : at + 96] = digest
        for place, length in (
            (inode.place, inode.stored if inode.flags & layout.FLAG_SPARSE else 0),
            (inode.xattrs, inode.xattrs_length),
        ):
            if length >= 16 and place + length <= len(data):
                body = bytes(data[place + 16 : place + length])
                data[place : place + 16] = content_digest(body)


def exercise(data: bytes) -> None:
    """Do everything with an archive that a reader can; only `Damage` may be in the way."""
    fd = os.memfd_create("fuzz")
    try:
        os.write(fd, data)
        source = GuardedSource(os.dup(fd))
    finally:
        os.close(fd)
    try:
        try:
            archive = Archive(source)
        except Damage:
            return
        list(Verifier(archive).complaints())
        walk(archive)
    finally:
        source.close()


def walk(archive: Archive) -> None:
    """Look at every node as a mount would."""
    for number in range(1, min(archive.count, 200) + 1):
        with suppress(Damage):
            inode = archive.inode(number)
            stat_of(inode)
            if inode.kind == layout.DIRECTORY:
                for name in (b"", b"d", b"large", b"m", b"\xff"):
                    with suppress(Damage):
                        archive.lookup(number, inode, name)
                list(archive.scan(number, inode))
            elif inode.kind == layout.SYMLINK:
                archive.target(inode)
            elif inode.kind == layout.REGULAR:
                content = archive.content(inode)
                for offset in (0, 4095, 131_072, max(0, content.size - 5)):
                    with suppress(Damage):
                        piece = content.read(offset, 8192)
                        if len(piece) != max(0, min(8192, content.size - offset)):
                            raise AssertionError("a read gave another number of bytes")
        with suppress(Damage):
            archive.xattrs(archive.inode(number))
