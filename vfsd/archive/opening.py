"""Find the archive in a file, from the file's end, and read what says where the rest stands.

Nothing of the index is read: opening costs three small reads, whatever the archive's size.

Concurrency: pure functions on a `Source`.
"""

from __future__ import annotations

from typing import NamedTuple

from vfsd.archive.damage import Damage
from vfsd.archive.layout import (
    ALIGNMENT,
    DIGEST,
    FRAME,
    FRAME_BYTES_MAX,
    HEADER,
    HEADER_MAGIC,
    INODE,
    MAJOR,
    ROOT_BLOCK_MAX,
    TRAILER,
    TRAILER_MAGIC,
    Trailer,
)
from vfsd.archive.source import Source
from vfsd.archive.table import table_bytes
from vfsd.codec import CodecError, decode_flat
from vfsd.digest import content_digest, short_key

CHECKED = TRAILER.size - 16
"""How many bytes of the trailer its check covers."""


class Root(NamedTuple):
    """What the root block says; the fields after `created_s` are those of docs/FORMAT.md."""

    created_s: int
    inodes: int
    inode_count: int
    frames: int
    frame_count: int
    frame_bytes: int
    name_count: int
    content_bytes: int


FIELDS = Root._fields[1:]


def find(source: Source) -> Root:
    """Narrow `source` to the archive at its end and return its root. Damage, Changed."""
    end = source.length
    trailer = _trailer(source, end)
    start = end - trailer.start_back
    if not 0 <= start <= start + trailer.length <= end:
        raise Damage("the trailer tells an archive larger than the file", end - TRAILER.size)
    if trailer.length < HEADER.size + TRAILER.size:
        raise Damage("the trailer tells an archive too small to be one", end - TRAILER.size)
    _refuse_concatenation(source, start)
    source.narrow(start, trailer.length)
    created_s = _header(source)
    if not 0 < trailer.root_length <= ROOT_BLOCK_MAX:
        raise Damage("the trailer tells an impossible length of the root block", trailer.root)
    block = source.read(trailer.root, trailer.root_length)
    if content_digest(block) != trailer.root_digest:
        raise Damage("the root block does not match its digest", trailer.root)
    return _root(block, created_s, trailer.root, source.length)


def carries(tail: bytes) -> bool:
    """Say whether a file that ends with `tail` has an archive at its end."""
    return tail.endswith(TRAILER_MAGIC)


def _trailer(source: Source, end: int) -> Trailer:
    at = end - TRAILER.size
    packed = source.read(at, TRAILER.size) if at >= 0 else b""
    if not carries(bytes(packed)):
        head = source.read(0, min(end, len(HEADER_MAGIC)))
        if head == HEADER_MAGIC:
            raise Damage("the archive has no end: it was cut off, or something follows it", end)
        raise Damage("it is no vfsd archive, nor is there one at its end")
    trailer = Trailer._make(TRAILER.unpack(packed))
    if short_key(bytes(packed[:CHECKED])) != trailer.check:
        raise Damage("the trailer does not match its check", at)
    _check_version(trailer.major, trailer.minor, at)
    return trailer


def _check_version(major: int, minor: int, offset: int) -> None:
    if major != MAJOR:
        raise Damage(
            f"it is of the format's version {major}.{minor}, and this vfsd reads version {MAJOR}; "
            "use the vfsd that made it, or a newer one",
            offset,
        )


def _header(source: Source) -> int:
    """Check the header and return when the archive was made, in seconds."""
    packed = source.read(0, HEADER.size)
    magic, major, minor, flags, created_s, _, digest = HEADER.unpack(packed)
    if magic != HEADER_MAGIC:
        raise Damage("no archive starts where the trailer says", 0)
    if content_digest(packed[: HEADER.size - DIGEST]) != digest:
        raise Damage("the header does not match its digest", 0)
    _check_version(major, minor, 0)
    if flags:
        raise Damage(f"the header has flags that this vfsd does not know ({flags:#x})", 12)
    return int(created_s)


def _refuse_concatenation(source: Source, start: int) -> None:
    """Two archives in a row are a mistake: the first one would be silently invisible."""
    size = min(start, ALIGNMENT + TRAILER.size)
    before = bytes(source.read(start - size, size)).rstrip(b"\0")
    if carries(before):
        raise Damage(
            "two archives stand one after the other in this file; cut it into two files", start
        )


def _root(block: bytearray, created_s: int, offset: int, length: int) -> Root:
    try:
        items = decode_flat(block, ROOT_BLOCK_MAX)
    except CodecError as error:
        raise Damage(f"the root block is {error}", offset) from error
    if len(items) % 2 or not all(isinstance(key, str) for key in items[::2]):
        raise Damage("the root block is not made of names and values", offset)
    told = dict(zip(items[::2], items[1::2], strict=True))
    values: list[int] = [told.get(field, -1) for field in FIELDS]
    if len(told) * 2 != len(items) or any(type(value) is not int or value < 0 for value in values):
        raise Damage("the root block lacks a field, or has one twice or wrong", offset)
    root = Root(created_s, *values)
    if (
        root.frame_bytes & (root.frame_bytes - 1)
        or not ALIGNMENT <= root.frame_bytes <= FRAME_BYTES_MAX
    ):
        raise Damage(f"frames of {root.frame_bytes} bytes are not allowed", offset)
    for layout, at, count in (
        (INODE, root.inodes, root.inode_count),
        (FRAME, root.frames, root.frame_count),
    ):
        if at % ALIGNMENT or at + table_bytes(layout, count) > length:
            raise Damage("a table is told to stand beyond the archive's end", offset)
    if root.inode_count == 0:
        raise Damage("the archive has not even a root directory", offset)
    return root
