"""A tar, listed: all types, long names, sparse files, extended attributes, exact times.

Source: POSIX pax, "pax Header Block"; GNU tar's manual, "Basic Tar Format"; `SCHILY.xattr`.
"""

from __future__ import annotations

import os
import stat as stat_module
import struct
import tarfile
import zlib
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

# typeshed leaves out the errors by which tarfile itself tells what is wrong with a header.
from tarfile import (  # type: ignore[attr-defined]
    InvalidHeaderError,
    ReadError,
    TruncatedHeaderError,
)
from typing import Any, BinaryIO, Self, cast

from vfsd.archive.damage import Damage
from vfsd.archive.foreign.listed import Listed, Listing, Reference, clean
from vfsd.archive.layout import NANOSECONDS
from vfsd.archive.writer import Attributes

XATTR = "SCHILY.xattr."
ID_MAX = 2**32 - 2
KINDS = {
    tarfile.DIRTYPE: stat_module.S_IFDIR,
    tarfile.SYMTYPE: stat_module.S_IFLNK,
    tarfile.FIFOTYPE: stat_module.S_IFIFO,
    tarfile.CHRTYPE: stat_module.S_IFCHR,
    tarfile.BLKTYPE: stat_module.S_IFBLK,
}
FAILURES = (
    *(tarfile.TarError, zlib.error, struct.error, EOFError, RecursionError),
    *(ValueError, OverflowError, LookupError, InvalidOperation),
)
"""What `tarfile` raises for a file that is not right."""


class _Strict(tarfile.TarInfo):
    """An entry whose header, if it is damaged or cut off, does not pass for the tar's end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except (InvalidHeaderError, TruncatedHeaderError) as error:
            raise ReadError(f"{error} at offset {tarfile.offset}") from error


def looks_like(head: bytes) -> bool:
    """Say whether a file that begins with `head` (512 bytes) is a plain tar."""
    if len(head) < 512:
        return False
    if head[257:262] == b"ustar":
        return True
    # An old one has no magic, but a checksum: the sum of all bytes, its own taken for spaces.
    field = head[148:156].strip(b"\0 ")
    total = sum(head[:148]) + 8 * 32 + sum(head[156:512])
    return field.isdigit() and total == _octal(field)


def listing(file: BinaryIO) -> Listing:
    """List a plain tar; the last of several entries of one name counts. Damage, OSError."""
    found = Listing()
    try:
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Strict) as archive:
            for info in archive:
                path = clean(os.fsencode(info.name))
                found.note(path, listed(info))
                _forget(archive)
    except FAILURES as error:
        raise Damage(f"the tar cannot be read: {error}") from error
    return found


def listed(info: tarfile.TarInfo) -> Listed:
    """Return one entry; of a regular file, where its content is."""
    kind = KINDS.get(info.type, stat_module.S_IFREG)
    device = kind in (stat_module.S_IFCHR, stat_module.S_IFBLK)
    attributes = Attributes(
        kind | info.mode & 0o7777,
        min(max(info.uid, 0), ID_MAX),
        min(max(info.gid, 0), ID_MAX),
        mtime_ns(info),
        os.makedev(info.devmajor, info.devminor) if device else 0,
    )
    xattrs = {
        os.fsencode(key.removeprefix(XATTR)): value.encode("utf-8", "surrogateescape")
        for key, value in info.pax_headers.items()
        if key.startswith(XATTR)
    }
    if info.islnk():
        target = clean(os.fsencode(info.linkname)) or b""
        return Listed(attributes, target=target, is_link=True)
    if kind == stat_module.S_IFLNK:
        return Listed(attributes, target=os.fsencode(info.linkname), xattrs=xattrs)
    if kind != stat_module.S_IFREG:
        return Listed(attributes, xattrs=xattrs)
    pieces = []
    sparse = cast("list[tuple[int, int]] | None", info.sparse)
    at = info.offset_data
    for offset, length in sparse or ():
        if length:
            pieces.append((offset, length, at))
        at += length
    stored = info.size if sparse is None else at - info.offset_data
    flag = 0 if sparse is None else SPARSE
    reference = Reference(info.size, info.offset_data, stored, flags=flag)
    return Listed(attributes, reference, tuple(pieces), xattrs=xattrs)


SPARSE = 8
"""The flag of a reference whose content is the pieces that follow it."""


def mtime_ns(info: tarfile.TarInfo) -> int:
    """Return the modification time, as exactly as it is told."""
    told = info.pax_headers.get("mtime")
    seconds = Decimal(told) if told is not None else Decimal(info.mtime)
    return int(seconds * NANOSECONDS) if abs(seconds) < 1 << 60 else 0


def _forget(archive: tarfile.TarFile) -> None:
    """Let go of the members that were given; tarfile keeps all of them."""
    cast(Any, archive).members.clear()


def _octal(field: bytes) -> int:
    try:
        return int(field, 8)
    except ValueError:
        return -1


Feed = Callable[[tarfile.TarInfo, BinaryIO | None], None]


def stream(file: BinaryIO, feed: Feed) -> None:
    """Give each entry of a tar that can only be read once, with its content. Damage, OSError."""
    try:
        with tarfile.open(fileobj=file, mode="r|", tarinfo=_Strict) as archive:
            for info in archive:
                content = archive.extractfile(info) if info.isreg() else None
                feed(info, cast("BinaryIO | None", content))
                _forget(archive)
    except FAILURES as error:
        raise Damage(f"the tar cannot be read: {error}") from error
