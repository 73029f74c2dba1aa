"""Writing a tar archive that GNU tar, bsdtar, Go and Python read: ustar, and PAX where needed.

The same entries give the same bytes: nothing of the host or the clock goes in. Access and
change times, user names and what is not set are left out.

What it is *not*: the choice of what is written (layertar.py).

Concurrency: for one thread at a time.

Source: see tarformat.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vfsd.snapshots.tarformat import (
    BLOCK_BYTES,
    HEADER,
    MAGIC,
    NANOSECONDS,
    PAX,
    REGULAR,
    TarEntry,
    checksum,
    format_time,
    octal,
    pax_record,
    xattr_key,
)

_NAME_BYTES = 100
_EXTENDED_NAME = b"././@PaxHeader"


class TarWriter:
    """Writes entries by `write`, in the order in which they come; `finish` ends the archive."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write

    def add(self, entry: TarEntry, data: Iterable[bytes] = ()) -> None:
        """Write an entry; `data` is the file's, or that of its segments. ValueError if it
        has another length."""
        records = _records(entry)
        name = entry.name
        stored = entry.size if entry.kind == REGULAR else 0
        head = b""
        if entry.segments is not None:
            head = _sparse_map(entry.segments)
            stored = len(head) + sum(length for _, length in entry.segments)
            name = b"GNUSparseFile.0/" + entry.name.rpartition(b"/")[2]
        if octal(stored, 12) is None:
            records[b"size"] = b"%d" % stored
        if records:
            body = b"".join(pax_record(key, value) for key, value in sorted(records.items()))
            extended = TarEntry(_EXTENDED_NAME, PAX, 0o644, size=len(body))
            self._write(_header(extended, _EXTENDED_NAME, len(body)))
            self._write(_padded(body))
        self._write(_header(entry, name, stored))
        if head:
            self._write(head)
        self._copy(data, stored - len(head), entry.name)

    def finish(self) -> None:
        """Write the end."""
        self._write(bytes(2 * BLOCK_BYTES))

    def _copy(self, data: Iterable[bytes], size: int, name: bytes) -> None:
        left = size
        for piece in data:
            left -= len(piece)
            if left < 0:
                break
            self._write(piece)
        if left:
            raise ValueError(f"{name!r} changed while it was read")
        self._write(bytes(-size % BLOCK_BYTES))


def _records(entry: TarEntry) -> dict[bytes, bytes]:
    """Return what the header cannot hold."""
    records = {xattr_key(name): value for name, value in entry.xattrs.items()}
    if entry.segments is not None:
        records[b"GNU.sparse.major"] = b"1"
        records[b"GNU.sparse.minor"] = b"0"
        records[b"GNU.sparse.name"] = entry.name
        records[b"GNU.sparse.realsize"] = b"%d" % entry.size
    elif _needs_record(entry.name):
        records[b"path"] = entry.name
    if _needs_record(entry.target):
        records[b"linkpath"] = entry.target
    if any(_is_binary(records.get(key, b"")) for key in (b"path", b"linkpath", b"GNU.sparse.name")):
        records[b"hdrcharset"] = b"BINARY"
    if entry.mtime_ns % NANOSECONDS or octal(entry.mtime_ns // NANOSECONDS, 12) is None:
        records[b"mtime"] = format_time(entry.mtime_ns)
    for key, value in ((b"uid", entry.uid), (b"gid", entry.gid)):
        if octal(value, 8) is None:
            records[key] = b"%d" % value
    return records


def _needs_record(name: bytes) -> bool:
    # Raw bytes in the header are what every reader takes as they are; UTF-8 has a record, so
    # that readers with another locale know what it is.
    return len(name) > _NAME_BYTES or not (name.isascii() or _is_binary(name))


def _is_binary(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return True
    return False


def _sparse_map(segments: Iterable[tuple[int, int]]) -> bytes:
    pairs = list(segments)
    lines = [b"%d\n" % len(pairs), *(b"%d\n%d\n" % pair for pair in pairs)]
    return _padded(b"".join(lines))


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK_BYTES)


def _header(entry: TarEntry, name: bytes, stored: int) -> bytes:
    block = HEADER.pack(
        name[:_NAME_BYTES],
        octal(entry.mode & 0o7777, 8) or b"",
        octal(entry.uid, 8) or octal(0, 8) or b"",
        octal(entry.gid, 8) or octal(0, 8) or b"",
        octal(stored, 12) or octal(0, 12) or b"",
        octal(entry.mtime_ns // NANOSECONDS, 12) or octal(0, 12) or b"",
        b" " * 8,
        entry.kind,
        entry.target[:_NAME_BYTES],
        MAGIC,
        b"",
        b"",
        octal(entry.device[0], 8) or b"",
        octal(entry.device[1], 8) or b"",
        b"",
    )
    return block[:148] + b"%06o\0 " % checksum(block) + block[156:]
