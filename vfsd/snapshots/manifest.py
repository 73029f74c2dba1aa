"""A layer's manifest: every file of its tree with attributes and digest, to find damage by.

A sequence of frames, each

    offset size field
    0      4    length of the value in bytes, little-endian
    4      16   xxh3-128 digest of the value
    20     ...  the value, msgpack

First one frame ``["vfsdMAN", 1, root's entry]``, then for each directory a frame
``[path, {name: entry}]``, at last ``[files, size in bytes]``, after which nothing follows. An
entry is ``[mode, uid, gid, rdev, size, mtime_ns, xattrs, digest]``; the digest is of a regular
file's data or a symlink's target, empty for other types, and nil for what could not be read. Of a
file of more than 1 MiB it is of those of its pieces of 1 MiB that are not all zeros, each after
its offset (8 bytes, little-endian): so holes are passed over, and make no difference.

Read one frame at a time, so that its size does not matter.

What it is *not*: written before a snapshot is there: reading all files takes its time
(settling.py).

Concurrency: blocking calls.
"""

from __future__ import annotations

import os
import stat as stat_module
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from vfsd.codec import CodecError, decode, encode
from vfsd.digest import DIGEST_SIZE, content_digest, content_hasher
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.reading import data_ranges, read_full
from vfsd.snapshots.refusals import Damaged, UnknownVersion
from vfsd.snapshots.view import Item, TreeView

MAGIC = "vfsdMAN"
VERSION = 1
FRAME = struct.Struct(f"<I{DIGEST_SIZE}s")
FRAME_BYTES_MAX = 1 << 30
_OFFSET = struct.Struct("<Q")
_PIECE_BYTES = 1 << 20
_ZEROS = bytes(_PIECE_BYTES)

Entry = list[Any]
Told = Callable[[int, int], None]
"""Called with the files and the bytes done so far."""


class Totals(NamedTuple):
    """What a layer's tree holds: files of any type but directories, and their data in bytes."""

    files: int
    size_bytes: int


def write_manifest(tree: str, path: str, told: Told | None = None) -> Totals:
    """Make the manifest of `tree` at `path`, which must not exist; its content is on disk then."""
    files = size_bytes = 0
    with HostTree(tree, marks=True, sealed=True) as view, open(path, "xb") as file:
        _put(file, [MAGIC, VERSION, _entry(view, b"", view.item(b""))])
        todo = [b""]
        while todo:
            here = todo.pop()
            entries: dict[bytes, Entry] = {}
            for name, item in sorted(_listing(view, here).items()):
                inner = here + b"/" + name if here else name
                entries[name] = _entry(view, inner, item)
                if stat_module.S_ISDIR(item.stat.mode):
                    todo.append(inner)
                else:
                    files += 1
                    if stat_module.S_ISREG(item.stat.mode):
                        size_bytes += item.stat.size
            _put(file, [here, list(entries.items())])
            if told is not None:
                told(files, size_bytes)
        _put(file, [files, size_bytes])
        file.flush()
        os.fsync(file.fileno())
    return Totals(files, size_bytes)


def read_totals(path: str) -> Totals:
    """Return what a manifest's last frame says, without reading the others. Damaged."""
    longest = FRAME.size + 19
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - longest))
        tail = file.read()
    # The last value is short and of unknown length: the one start whose digest agrees is right.
    for start in range(len(tail) - FRAME.size):
        length, digest = FRAME.unpack_from(tail, start)
        value = tail[start + FRAME.size :]
        if length == len(value) and content_digest(value) == digest:
            return _totals(_value(value, path), path)
    raise Damaged(f"{path} is damaged: its end is missing")


def damage(tree: str, path: str, told: Told | None = None) -> Iterator[str]:
    """Go through the differences between a manifest and its tree, each as one sentence.

    Damaged if the manifest itself is.
    """
    frames = _frames(path)
    files = size_bytes = 0
    with HostTree(tree, marks=True, sealed=True) as view:
        head = next(frames, None)
        if not isinstance(head, list) or len(head) != 3 or head[0] != MAGIC:
            raise Damaged(f"{path} is damaged: it is no manifest")
        if head[1] != VERSION:
            raise UnknownVersion(f"{path} has the unknown version {head[1]}")
        yield from _compared(view, b"", view.item(b""), head[2])
        last: Any = None
        for frame in frames:
            if not isinstance(frame, list) or len(frame) != 2:
                raise Damaged(f"{path} is damaged: a frame is none")
            if last is not None:
                raise Damaged(f"{path} is damaged: something follows its end")
            if isinstance(frame[0], int):
                last = frame
                continue
            yield from _directory(view, frame[0], dict(frame[1]))
            files += len(frame[1])
            size_bytes += sum(entry[4] for _, entry in frame[1])
            if told is not None:
                told(files, size_bytes)
        if last is None:
            raise Damaged(f"{path} is damaged: its end is missing")


def _directory(view: HostTree, path: bytes, entries: dict[bytes, Entry]) -> Iterator[str]:
    try:
        found = _listing(view, path)
    except (FileNotFoundError, NotADirectoryError):
        # Its parent's frame has said so already.
        return
    for name in sorted(found.keys() | entries.keys()):
        inner = path + b"/" + name if path else name
        if name not in entries:
            yield f"{_shown(view, inner)} was not there"
        elif name not in found:
            yield f"{_shown(view, inner)} is missing"
        else:
            yield from _compared(view, inner, found[name], entries[name])


def _compared(view: HostTree, path: bytes, item: Item, entry: Entry) -> Iterator[str]:
    expected = [*entry]
    if expected[-1] is None:
        found = _entry(view, path, item, read=False)
    else:
        try:
            found = _entry(view, path, item)
        except OSError as error:
            yield f"{_shown(view, path)} cannot be read: {error.strerror}"
            return
    for what, old, new in zip(
        ("type or mode", "owner", "group", "device", "size", "time", "attributes", "content"),
        expected,
        found,
        strict=True,
    ):
        if old != new:
            yield f"{_shown(view, path)} is not as it was: another {what}"
            return


def _entry(view: TreeView, path: bytes, item: Item, *, read: bool = True) -> Entry:
    stat = item.stat
    digest: bytes | None = b""
    size = stat.size
    if stat_module.S_ISLNK(stat.mode):
        digest = content_digest(view.readlink(path))
    elif stat_module.S_ISREG(stat.mode):
        digest = _digest(view, path, size) if read else None
    elif stat_module.S_ISDIR(stat.mode):
        # How a file system counts a directory says nothing about it.
        size = 0
    try:
        xattrs = dict(view.xattrs(path))
    except PermissionError:
        xattrs = {}
    listed = [[name, xattrs[name]] for name in sorted(xattrs)]
    return [stat.mode, stat.uid, stat.gid, stat.rdev, size, stat.mtime_ns, listed, digest]


def _listing(view: TreeView, path: bytes) -> dict[bytes, Item]:
    try:
        return dict(view.scan(path))
    except PermissionError:
        # A directory that its owner closed to himself; its entries cannot be told.
        return {}


def _digest(view: TreeView, path: bytes, size: int) -> bytes | None:
    try:
        with view.open(path) as file:
            if size <= _PIECE_BYTES:
                return content_digest(read_full(file.read, _PIECE_BYTES))
            return _digest_of_pieces(file, size)
    except PermissionError:
        return None


def _digest_of_pieces(file: BinaryIO, size: int) -> bytes:
    hasher = content_hasher()
    offset = 0
    for start, end in data_ranges(file, size):
        # A piece that is data in part is read once, and whole.
        offset = max(offset, start - start % _PIECE_BYTES)
        while offset < end:
            file.seek(offset)
            piece = read_full(file.read, min(_PIECE_BYTES, size - offset))
            if piece != _ZEROS[: len(piece)]:
                hasher.update(_OFFSET.pack(offset))
                hasher.update(piece)
            offset += _PIECE_BYTES
    return hasher.digest()


def _put(file: BinaryIO, value: Any) -> None:  # noqa: ANN401 - whatever msgpack takes
    data = encode(value)
    file.write(FRAME.pack(len(data), content_digest(data)) + data)


def _frames(path: str) -> Iterator[Any]:
    with open(path, "rb") as file:
        room = os.fstat(file.fileno()).st_size
        while head := file.read(FRAME.size):
            if len(head) < FRAME.size:
                raise Damaged(f"{path} is damaged: it ends too early")
            length, digest = FRAME.unpack(head)
            # A damaged length must not make us allocate what the file does not have.
            data = file.read(length) if length <= room else b""
            if len(data) != length or content_digest(data) != digest:
                raise Damaged(f"{path} is damaged: a digest does not agree with what it holds")
            yield _value(data, path)


def _value(data: bytes, path: str) -> Any:  # noqa: ANN401 - checked by who reads it
    try:
        return decode(data)
    except CodecError as error:
        raise Damaged(f"{path} is damaged: {error}") from error


def _totals(value: object, path: str) -> Totals:
    if isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value):
        return Totals(*value)
    raise Damaged(f"{path} is damaged: its end is missing")


def _shown(view: HostTree, path: bytes) -> str:
    return os.fsdecode(os.path.join(view.root, path) if path else view.root)
