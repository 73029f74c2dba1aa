"""A zip, listed: with modes, symlinks and times where its maker kept them.

Source: PKWARE's APPNOTE; Info-ZIP's extra fields 0x5455 (times) and 0x7875 (owner).
"""

from __future__ import annotations

import calendar
import stat as stat_module
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from vfsd.archive.damage import Damage
from vfsd.archive.foreign.listed import (
    CHECKED,
    ENCRYPTED,
    LOCAL_HEADER,
    Listed,
    Listing,
    Reference,
    clean,
)
from vfsd.archive.layout import NANOSECONDS, TARGET_MAX
from vfsd.archive.writer import Attributes

UNIX = 3
UTF_8 = 0x800
FAILURES = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError),
    *(ValueError, OverflowError, RuntimeError, LookupError),
)
"""What `zipfile` raises for a file that is not right."""


def looks_like(head: bytes, file: BinaryIO) -> bool:
    """Say whether the file is a zip, or has one at its end."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06")) or zipfile.is_zipfile(file)


def listing(file: BinaryIO) -> Listing:
    """List a zip; the last of several entries of one name counts. Damage, OSError."""
    found = Listing()
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                encoding = "utf-8" if info.flag_bits & UTF_8 else "cp437"
                path = clean(info.orig_filename.encode(encoding))
                if path != b"":
                    found.note(path, _listed(archive, info))
    except FAILURES as error:
        raise Damage(f"the zip cannot be read: {error}") from error
    return found


def _listed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Listed:
    mode = info.external_attr >> 16 if info.create_system == UNIX else 0
    directory = info.orig_filename.endswith("/") or stat_module.S_ISDIR(mode)
    kind = stat_module.S_IFDIR if directory else stat_module.S_IFREG
    encrypted = bool(info.flag_bits & 1)
    if stat_module.S_ISLNK(mode) and 0 < info.file_size <= TARGET_MAX and not encrypted:
        kind = stat_module.S_IFLNK
    permissions = mode & 0o7777 if mode else 0o755 if directory else 0o644
    fields = dict(_extra_fields(info.extra))
    uid, gid = _owner(fields.get(0x7875, b""))
    attributes = Attributes(kind | permissions, uid, gid, _mtime_ns(info, fields.get(0x5455, b"")))
    if kind == stat_module.S_IFDIR:
        return Listed(attributes)
    if kind == stat_module.S_IFLNK:
        return Listed(attributes, target=archive.read(info))
    flags = CHECKED | LOCAL_HEADER | (ENCRYPTED if encrypted else 0)
    reference = Reference(
        info.file_size,
        info.header_offset,
        info.compress_size,
        info.compress_type & 0xFF,
        flags,
        check=info.CRC,
    )
    return Listed(attributes, reference)


def _extra_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        key, size = struct.unpack_from("<HH", extra)
        yield key, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _mtime_ns(info: zipfile.ZipInfo, times: bytes) -> int:
    if len(times) >= 5 and times[0] & 1:
        return int.from_bytes(times[1:5], "little", signed=True) * NANOSECONDS
    # A local time of an unknown place, taken for UTC: the same zip shows the same everywhere.
    return calendar.timegm((*info.date_time, 0, 0, 0)) * NANOSECONDS


def _owner(field: bytes) -> tuple[int, int]:
    if len(field) < 3 or field[0] != 1:
        return 0, 0
    end = 2 + field[1]
    uid = int.from_bytes(field[2:end], "little")
    gid = int.from_bytes(field[end + 1 : end + 1 + field[end]], "little") if end < len(field) else 0
    return min(uid, 2**32 - 2), min(gid, 2**32 - 2)
