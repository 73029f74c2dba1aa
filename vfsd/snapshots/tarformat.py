"""What a tar archive is made of: the block of a header, and the records of an extended one.

    offset size field           offset size field
    0      100  name            257    8    magic and version: ``ustar\\0`` ``00``
    100    8    mode            265    32   user name (not used)
    108    8    uid             297    32   group name (not used)
    116    8    gid             329    8    device major
    124    12   size            337    8    device minor
    136    12   mtime           345    155  prefix of the name
    148    8    checksum
    156    1    type
    157    100  link target

Numbers are octal text, or, as GNU writes them, big-endian with the first bit set. What does not
fit stands in a PAX record before the header: ``LENGTH KEY=VALUE\\n``.

What it is *not*: reading (tarread.py) or writing (tarwrite.py) of archives.

Concurrency: immutable values, pure functions.

Sources: pax(1), "ustar Interchange Format" and "pax Extended Header"; GNU tar's manual,
"Storing Sparse Files"; star(1) for SCHILY.xattr.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

BLOCK_BYTES = 512
HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
MAGIC = b"ustar\x0000"
GNU_MAGIC = b"ustar  \0"
NANOSECONDS = 1_000_000_000
XATTR = b"SCHILY.xattr."

REGULAR = b"0"
LINK = b"1"
SYMLINK = b"2"
CHARACTER = b"3"
BLOCK = b"4"
DIRECTORY = b"5"
FIFO = b"6"
CONTIGUOUS = b"7"
OLD_REGULAR = b"\0"
PAX = b"x"
PAX_GLOBAL = b"g"
GNU_LONG_NAME = b"L"
GNU_LONG_LINK = b"K"
GNU_SPARSE = b"S"

Segment = tuple[int, int]
"""Offset and length of data in a sparse file."""


class TarError(ValueError):
    """The bytes are no tar archive, or not a whole one."""


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One file of an archive. `size` is that of the file, holes included.

    `segments` is None for a file without holes; the data of the others is that of the segments,
    one after the other.
    """

    name: bytes
    kind: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    segments: tuple[Segment, ...] | None = None


def checksum(block: bytes) -> int:
    """Return the sum of the header's bytes, its own field taken as blanks."""
    return sum(block) - sum(block[148:156]) + 8 * 0x20


def number(raw: bytes) -> int:
    """Read a number of a header. TarError."""
    if raw[:1] and raw[0] & 0x80:
        # GNU's base 256, two's complement over all bits but the first.
        value = int.from_bytes(raw, "big") & ~(1 << (8 * len(raw) - 1))
        return value - (1 << (8 * len(raw) - 1)) if raw[0] & 0x40 else value
    text = raw.partition(b"\0")[0].strip()
    if text.strip(b"01234567"):
        raise TarError(f"{text!r} is no number")
    return int(text, 8) if text else 0


def octal(value: int, size: int) -> bytes | None:
    """Return the field for a number, or None if it does not fit."""
    if not 0 <= value < 8 ** (size - 1):
        return None
    return b"%0*o\0" % (size - 1, value)


def parse_time(text: bytes) -> int:
    """Read seconds with a fraction as nanoseconds. TarError."""
    whole, _, fraction = text.partition(b".")
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or (fraction and not fraction.isdigit()) or len(digits) > 18:
        raise TarError(f"{text[:40]!r} is no time")
    nanoseconds = int(digits) * NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
    return -nanoseconds if whole.startswith(b"-") else nanoseconds


def format_time(time_ns: int) -> bytes:
    """Return seconds with as much of a fraction as there is."""
    seconds, nanoseconds = divmod(abs(time_ns), NANOSECONDS)
    text = b"%d" % seconds
    if nanoseconds:
        text += (b".%09d" % nanoseconds).rstrip(b"0")
    return b"-" + text if time_ns < 0 else text


def pax_record(key: bytes, value: bytes) -> bytes:
    """Return one record; its length counts itself."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest


def pax_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Read records, in order. TarError."""
    start = 0
    while start < len(data):
        blank = data.find(b" ", start, start + 12)
        digits = data[start:blank] if blank > 0 else b""
        if not digits.isdigit():
            # Some writers fill the block up with NULs.
            if not data[start:].strip(b"\0"):
                return
            raise TarError("an extended header is malformed")
        end = start + int(digits)
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if end > len(data) or end <= blank + 1 or data[end - 1 : end] != b"\n" or not equals:
            raise TarError("an extended header is malformed")
        yield key, value
        start = end


def xattr_key(name: bytes) -> bytes:
    """Return the key of an extended attribute's record, escaped as GNU tar does."""
    return XATTR + name.replace(b"%", b"%25").replace(b"=", b"%3D")


def xattr_name(key: bytes) -> bytes:
    """Return the attribute's name."""
    return key.removeprefix(XATTR).replace(b"%3D", b"=").replace(b"%25", b"%")


def checked_segments(numbers: Iterable[int], size: int, stored: int | None) -> tuple[Segment, ...]:
    """Return offsets and lengths in pairs, if they are in order and within the file. TarError.

    `stored` is how much data the archive holds, where that is known apart.
    """
    flat = list(numbers)
    segments = tuple(zip(flat[::2], flat[1::2], strict=False))
    reached = total = 0
    for offset, length in segments:
        if offset < reached or length < 0 or offset + length > size:
            raise TarError("the map of a sparse file is malformed")
        reached = offset + length
        total += length
    if len(flat) % 2 or (stored is not None and total != stored):
        raise TarError("the map of a sparse file is malformed")
    return segments
