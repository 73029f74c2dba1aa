"""A Node.js single executable, listed: the assets in its `NODE_SEA_BLOB`.

The blob is a note of the ELF file, as postject puts it there. It holds a magic, flags, the path
of the main script when it was made, the main script, and what the flags say; the assets come last.
Layouts differ between Node's versions by what the flags announce, and by single bytes that newer
ones add behind them; each is tried, and must use up the whole blob.

Source: Node.js src/node_sea.cc, `SeaDeserializer`; elf(5), notes.
"""

from __future__ import annotations

import stat as stat_module
import struct
from collections.abc import Iterator
from typing import BinaryIO

from vfsd.archive.damage import Damage
from vfsd.archive.foreign.listed import Listed, Listing, Reference, clean
from vfsd.archive.writer import Attributes

NOTE = b"NODE_SEA_BLOB"
MAGIC = 0x143DA20
DISABLE_WARNING, USE_SNAPSHOT, USE_CODE_CACHE, INCLUDE_ASSETS, INCLUDE_EXEC_ARGV = 1, 2, 4, 8, 16
NAME_MAX = 1 << 16
ASSETS_MAX = 1 << 20
PROGRAM_HEADERS_MAX = 1 << 10
PT_NOTE = 4
EXTRA_BYTES_MAX = 8
"""What may stand behind the flags: nothing in Node 20, a byte in 22, two in 26."""


def find_blob(file: BinaryIO, size: int) -> tuple[int, int] | None:
    """Return where the blob is in an ELF file and its length, None if there is none."""
    head = _read(file, 0, 64)
    if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] != 2 or head[5] != 1:
        return None
    (headers_at,) = struct.unpack_from("<Q", head, 32)
    header_size, count = struct.unpack_from("<HH", head, 54)
    if header_size < 56 or count > PROGRAM_HEADERS_MAX:
        return None
    packed = _read(file, headers_at, header_size * count)
    for index in range(len(packed) // header_size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", packed, index * header_size)
        if kind == PT_NOTE:
            found = _in_notes(file, offset, min(offset + length, size))
            if found is not None:
                return found
    return None


def _in_notes(file: BinaryIO, at: int, end: int) -> tuple[int, int] | None:
    while at + 12 <= end:
        name_size, size, _ = struct.unpack("<III", _read(file, at, 12).ljust(12, b"\0"))
        name = _read(file, at + 12, min(name_size, 64)).rstrip(b"\0")
        content = at + 12 + -(-name_size // 4) * 4
        if name == NOTE and content + size <= end:
            return content, size
        at = content + -(-size // 4) * 4
    return None


def listing(file: BinaryIO, size: int) -> Listing:
    """List the assets. Damage, OSError."""
    place = find_blob(file, size)
    if place is None:
        raise Damage("there is no NODE_SEA_BLOB in it")
    tried = []
    for extra_bytes in range(EXTRA_BYTES_MAX + 1):
        try:
            found = Listing()
            for path, listed in _Blob(file, *place).assets(extra_bytes):
                found.note(path, listed)
            return found
        except (struct.error, ValueError) as error:
            tried.append(str(error))
    raise Damage(f"its NODE_SEA_BLOB is of an unknown layout ({tried[0]})", place[0])


class _Blob:
    """Reads one blob from its start; ValueError where it cannot be one."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._at = start
        self._end = start + size

    def assets(self, extra_bytes: int) -> Iterator[tuple[bytes | None, Listed]]:
        magic, flags = struct.unpack("<II", self._take(8))
        if magic != MAGIC:
            raise ValueError(f"its magic is {magic:#x}")
        self._take(extra_bytes)
        self._skip_string()
        self._skip_string()
        if flags & USE_CODE_CACHE:
            self._skip_string()
        found: list[tuple[bytes | None, Listed]] = []
        if flags & INCLUDE_ASSETS:
            count = self._number()
            if count > ASSETS_MAX:
                raise ValueError(f"it tells {count} assets")
            found = [self._asset() for _ in range(count)]
        if flags & INCLUDE_EXEC_ARGV:
            for _ in range(min(self._number(), ASSETS_MAX)):
                self._skip_string()
        if self._at != self._end:
            raise ValueError(f"{self._end - self._at} bytes are left over")
        return iter(found)

    def _asset(self) -> tuple[bytes | None, Listed]:
        name_size = self._number()
        if name_size > NAME_MAX:
            raise ValueError(f"it tells a name of {name_size} bytes")
        path = clean(self._take(name_size)) or None
        size = self._number()
        reference = Reference(size, self._at, size)
        self._skip(size)
        return path, Listed(Attributes(stat_module.S_IFREG | 0o644), reference)

    def _number(self) -> int:
        number: int = struct.unpack("<Q", self._take(8))[0]
        return number

    def _skip_string(self) -> None:
        self._skip(self._number())

    def _skip(self, size: int) -> None:
        if size > self._end - self._at:
            raise ValueError(f"{size} bytes are told where {self._end - self._at} are left")
        self._at += size

    def _take(self, size: int) -> bytes:
        at = self._at
        self._skip(size)
        return _read(self._file, at, size)


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
