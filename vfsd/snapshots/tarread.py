"""Reading a tar archive of anybody's as a stream: ustar, PAX, GNU's names and sparse files.

The reader trusts nothing: no length, count or map makes it hold more than its named bounds in
memory, and what is malformed is a TarError that names where.

What it is *not*: the decision whether an entry may be unpacked (unpack.py), or decompression
(tarstream.py).

Concurrency: for one thread at a time; data of an entry is read before the next one is asked for.

Source: see tarformat.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from vfsd.snapshots.quoting import shown
from vfsd.snapshots.tarformat import (
    BLOCK,
    BLOCK_BYTES,
    CHARACTER,
    CONTIGUOUS,
    DIRECTORY,
    FIFO,
    GNU_LONG_LINK,
    GNU_LONG_NAME,
    GNU_MAGIC,
    GNU_SPARSE,
    HEADER,
    LINK,
    NANOSECONDS,
    OLD_REGULAR,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    SYMLINK,
    XATTR,
    Segment,
    TarEntry,
    TarError,
    checked_segments,
    checksum,
    number,
    parse_time,
    pax_records,
    xattr_name,
)

CHUNK_BYTES = 1 << 20
EXTENDED_BYTES_MAX = 4 << 20
"""Of one extended header: more than any file's attributes need."""
SEGMENTS_MAX = 1 << 18
SIZE_MAX = 1 << 62

_GNU_SPARSE_AT = 386
_GNU_SPARSE_HEADER_PAIRS = 4
_GNU_SPARSE_BLOCK_PAIRS = 21

_WITHOUT_DATA = (LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO)

Records = Mapping[bytes, bytes]


class TarReader:
    """Iterates over the entries of what `read(size)` gives, which may give less than asked."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.position = 0
        """Bytes read so far: with an entry in hand, where its data begins."""
        self._left = 0
        self._padding = 0
        self._entry = TarEntry(b"", REGULAR)
        self._globals: dict[bytes, bytes] = {}

    def __iter__(self) -> Iterator[TarEntry]:
        """Yield every entry. TarError."""
        while True:
            self._skip()
            block = self._next_header()
            if block is None:
                return
            self._entry = self._read_entry(block)
            yield self._entry

    def data(self) -> Iterator[tuple[int, bytes]]:
        """Yield the data of the entry in hand with its offsets, holes left out. TarError."""
        for offset, length in self._entry.segments or ((0, self._entry.size),):
            done = 0
            while done < length:
                piece = self._take(min(length - done, CHUNK_BYTES))
                yield offset + done, piece
                done += len(piece)

    # -- bytes ----------------------------------------------------------------------------------

    def _take(self, size: int) -> bytes:
        if size > self._left:
            raise TarError(f"{shown(self._entry.name)} has less data than its header says")
        data = self._exactly(size)
        self._left -= size
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._read(size)
        while len(data) < size:
            more = self._read(size - len(data))
            if not more:
                where = shown(self._entry.name) if self._entry.name else f"byte {self.position}"
                raise TarError(f"the archive ends in the middle, at {where}")
            data += more
        self.position += size
        return data

    def _skip(self) -> None:
        left, self._left, self._padding = self._left + self._padding, 0, 0
        while left:
            left -= len(self._exactly(min(left, CHUNK_BYTES)))

    def _begin(self, size: int) -> None:
        self._left, self._padding = size, -size % BLOCK_BYTES

    def _whole(self, size: int) -> bytes:
        """Return the data of an extended header."""
        if size > EXTENDED_BYTES_MAX:
            raise TarError(f"an extended header claims to have {size} bytes")
        self._begin(size)
        data = self._take(size)
        self._skip()
        return data

    # -- headers --------------------------------------------------------------------------------

    def _next_header(self) -> bytes | None:
        first = self._read(1)
        if not first:
            # Without the blocks of zeros that should end it; some writers leave them out.
            return None
        self.position += 1
        block = first + self._exactly(BLOCK_BYTES - 1)
        if not block.strip(b"\0"):
            return None
        if number(block[148:156]) != checksum(block):
            raise TarError(f"there is no header at byte {self.position - BLOCK_BYTES}")
        return block

    def _read_entry(self, block: bytes) -> TarEntry:
        """Read the headers of one entry, which may be several."""
        records: dict[bytes, bytes] = {}
        sparse_numbers: list[int] = []
        while (kind := block[156:157]) in (PAX, PAX_GLOBAL, GNU_LONG_NAME, GNU_LONG_LINK):
            data = self._whole(_size(block[124:136]))
            if kind == PAX_GLOBAL:
                self._globals.update(pax_records(data))
            elif kind == PAX:
                for key, value in pax_records(data):
                    if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
                        sparse_numbers.append(_decimal(value))
                    records[key] = value
            else:
                key = b"path" if kind == GNU_LONG_NAME else b"linkpath"
                records[key] = data.rstrip(b"\0")
            found = self._next_header()
            if found is None:
                raise TarError("the archive ends after an extended header")
            block = found
        return self._make_entry(block, {**self._globals, **records}, sparse_numbers)

    def _make_entry(self, block: bytes, records: Records, sparse_numbers: list[int]) -> TarEntry:
        fields = HEADER.unpack(block)
        raw_name, mode, uid, gid, size, mtime, _, kind, target, magic = fields[:10]
        major, minor, prefix = fields[12:15]
        name = _text(raw_name)
        if magic != GNU_MAGIC and magic.startswith(b"ustar") and prefix.strip(b"\0"):
            name = _text(prefix) + b"/" + name
        if kind in (OLD_REGULAR, CONTIGUOUS, REGULAR):
            # Before ustar, a directory was a file whose name ends with a slash.
            kind = DIRECTORY if name.endswith(b"/") and kind == OLD_REGULAR else REGULAR
        stored = _size(size)
        if b"size" in records:
            stored = _checked_size(_decimal(records[b"size"]))
        is_device = kind in (CHARACTER, BLOCK)
        entry = TarEntry(
            name=records.get(b"path", name),
            kind=REGULAR if kind == GNU_SPARSE else kind,
            mode=number(mode) & 0o7777,
            uid=_decimal(records[b"uid"]) if b"uid" in records else number(uid),
            gid=_decimal(records[b"gid"]) if b"gid" in records else number(gid),
            size=stored,
            mtime_ns=_time(mtime, records),
            target=records.get(b"linkpath", _text(target)),
            device=(number(major), number(minor)) if is_device else (0, 0),
            xattrs={
                xattr_name(key): value for key, value in records.items() if key.startswith(XATTR)
            },
        )
        self._entry = entry
        if kind == GNU_SPARSE:
            return self._gnu_sparse(block, entry, stored)
        if any(key.startswith(b"GNU.sparse.") for key in records):
            return self._pax_sparse(entry, records, sparse_numbers, stored)
        # Links and the like have no data, whatever the size says: some give the target's.
        self._begin(0 if entry.kind in _WITHOUT_DATA else stored)
        return entry

    # -- sparse files ---------------------------------------------------------------------------

    def _gnu_sparse(self, block: bytes, entry: TarEntry, stored: int) -> TarEntry:
        numbers = _gnu_numbers(block, _GNU_SPARSE_AT, _GNU_SPARSE_HEADER_PAIRS)
        goes_on = block[482]
        while goes_on:
            more = self._exactly(BLOCK_BYTES)
            numbers += _gnu_numbers(more, 0, _GNU_SPARSE_BLOCK_PAIRS)
            goes_on = more[504]
            if len(numbers) > 2 * SEGMENTS_MAX:
                raise TarError(f"{shown(entry.name)} has too many holes")
        size = _size(block[483:495])
        segments = checked_segments(numbers, size, stored)
        self._begin(stored)
        return _with_segments(entry, entry.name, size, segments)

    def _pax_sparse(
        self, entry: TarEntry, records: Records, numbers: list[int], stored: int
    ) -> TarEntry:
        name = records.get(b"GNU.sparse.name", entry.name)
        size_text = records.get(b"GNU.sparse.realsize", records.get(b"GNU.sparse.size", b""))
        size = _checked_size(_decimal(size_text))
        self._begin(stored)
        if records.get(b"GNU.sparse.major") == b"1":
            numbers = self._sparse_map()
        elif b"GNU.sparse.map" in records:
            text = records[b"GNU.sparse.map"]
            numbers = [_decimal(each) for each in text.split(b",")] if text else []
        if len(numbers) > 2 * SEGMENTS_MAX:
            raise TarError(f"{shown(name)} has too many holes")
        return _with_segments(entry, name, size, checked_segments(numbers, size, self._left))

    def _sparse_map(self) -> list[int]:
        """Read the map that stands before the data: a count, then offsets and lengths."""
        text = self._take(BLOCK_BYTES)
        first, newline, _ = text.partition(b"\n")
        count = 2 * _decimal(first)
        if not newline or count > 2 * SEGMENTS_MAX:
            raise TarError("the map of a sparse file is malformed")
        while text.count(b"\n") < count + 1:
            text += self._take(BLOCK_BYTES)
        return [_decimal(line) for line in text.split(b"\n")[1 : count + 1]]


def _with_segments(
    entry: TarEntry, name: bytes, size: int, segments: tuple[Segment, ...]
) -> TarEntry:
    return TarEntry(
        name,
        REGULAR,
        entry.mode,
        entry.uid,
        entry.gid,
        size,
        entry.mtime_ns,
        xattrs=entry.xattrs,
        segments=segments,
    )


def _gnu_numbers(block: bytes, at: int, pairs: int) -> list[int]:
    numbers: list[int] = []
    for _ in range(pairs):
        offset, length = block[at : at + 12], block[at + 12 : at + 24]
        if not length.strip(b"\0"):
            break
        numbers += [_size(offset), _size(length)]
        at += 24
    return numbers


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


def _size(raw: bytes) -> int:
    return _checked_size(number(raw))


def _checked_size(size: int) -> int:
    if not 0 <= size <= SIZE_MAX:
        raise TarError(f"a file claims to have {size} bytes")
    return size


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise TarError(f"{text[:40]!r} is no number")
    return int(text)


def _time(raw: bytes, records: Records) -> int:
    if b"mtime" in records:
        return parse_time(records[b"mtime"])
    return number(raw) * NANOSECONDS
