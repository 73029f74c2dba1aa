"""What clients get back: plain values made from replies that a stranger may have written.

Concurrency: immutable values and pure functions.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from dataclasses import dataclass
from typing import NamedTuple

from vfsd.attributes import Stat
from vfsd.control.framing import Failure
from vfsd.errors import UserError
from vfsd.exitcodes import code_of


class ReplyError(OSError):
    """The daemon's answer has not the form that the protocol says (EPROTO)."""

    def __init__(self, text: str) -> None:
        super().__init__(errno.EPROTO, f"the daemon answered out of form: {text}")


class FileInfo(NamedTuple):
    """One file: its attributes, and which file it is.

    Two with the same `attachment` and `node` are the same file.
    """

    attachment: int
    node: int
    stat: Stat

    @property
    def is_dir(self) -> bool:
        return stat_module.S_ISDIR(self.stat.mode)

    @property
    def is_file(self) -> bool:
        return stat_module.S_ISREG(self.stat.mode)

    @property
    def is_symlink(self) -> bool:
        return stat_module.S_ISLNK(self.stat.mode)


class Page(NamedTuple):
    """Part of a listing; ask on with `after`, None when that was all."""

    entries: list[tuple[bytes, FileInfo]]
    after: bytes | None


class Event(NamedTuple):
    """Something changed, see `vfsd.control.watching`; `node` None: anything in `prefix`."""

    prefix: bytes
    node: int | None
    name: bytes | None
    data: bool


@dataclass(frozen=True, slots=True)
class Attached:
    """What stands at a prefix; `hides`: files that were there are not seen any more."""

    prefix: bytes
    provider: str
    read_only: bool
    hides: bool


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A live snapshot; `files` and `size_bytes` are None where its provider does not count.

    `prefix`: where its tree was attached; `parent`: the snapshot that the tree went on from.
    """

    name: str
    prefix: bytes
    provider: str
    parent: str | None
    created_ns: int
    files: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class StoredInfo:
    """A snapshot that was stored: over `parent`, or whole; what was written, and which store."""

    name: str
    parent: str | None
    files: int
    size_bytes: int
    store: str


class SnapshotPage(NamedTuple):
    """Part of a listing of snapshots; as `Page`."""

    snapshots: list[SnapshotInfo]
    after: bytes | None


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the daemon says of itself."""

    version: int
    daemon: str
    pid: int
    mountpoint: bytes
    data_limit: int
    in_flight_limit: int


def error_of(failure: Failure) -> Exception:
    """Return the exception that a failure stands for: OSError, or UserError without errno."""
    if failure.errno == 0:
        return UserError(failure.text, code_of(failure.exit_code))
    file = None if failure.file is None else os.fsdecode(failure.file)
    return OSError(failure.errno, failure.text, file)


def file_info(value: object) -> FileInfo:
    if isinstance(value, list) and len(value) == 2 + len(Stat._fields):
        numbers = [item for item in value if type(item) is int]
        if len(numbers) == len(value):
            return FileInfo(numbers[0], numbers[1], Stat(*numbers[2:]))
    raise ReplyError("no file record")


def page(value: object) -> Page:
    match value:
        case {"entries": list(entries), "after": (bytes() | None) as after}:
            return Page([_entry(entry) for entry in entries], after)
    raise ReplyError("no page of a listing")


def _entry(value: object) -> tuple[bytes, FileInfo]:
    match value:
        case [bytes(name), record]:
            # A name is one component: whoever joins it to a path relies on that.
            if name not in (b"", b".", b"..") and b"/" not in name and b"\0" not in name:
                return name, file_info(record)
    raise ReplyError("no entry of a listing")


def events(value: object) -> list[Event]:
    if isinstance(value, list):
        return [_event(item) for item in value]
    raise ReplyError("no events")


def _event(value: object) -> Event:
    match value:
        case [bytes(prefix), (int() | None) as node, (bytes() | None) as name, bool(data)]:
            return Event(prefix, node, name, data)
    raise ReplyError("no event")


def attached(value: object) -> Attached:
    match value:
        case {
            "prefix": bytes(prefix),
            "provider": bytes(provider),
            "read_only": bool(read_only),
            "hides": bool(hides),
        }:
            return Attached(prefix, os.fsdecode(provider), read_only, hides)
    raise ReplyError("no attachment")


def snapshot_info(value: object) -> SnapshotInfo:
    match value:
        case {
            "name": bytes(name),
            "prefix": bytes(prefix),
            "provider": bytes(provider),
            "parent": (bytes() | None) as parent,
            "created_ns": int(created_ns),
            "files": (int() | None) as files,
            "size_bytes": (int() | None) as size_bytes,
        }:
            return SnapshotInfo(
                os.fsdecode(name),
                prefix,
                os.fsdecode(provider),
                None if parent is None else os.fsdecode(parent),
                created_ns,
                files,
                size_bytes,
            )
    raise ReplyError("no snapshot")


def stored_info(value: object) -> StoredInfo:
    match value:
        case {
            "name": bytes(name),
            "parent": (bytes() | None) as parent,
            "files": int(files),
            "size_bytes": int(size_bytes),
            "store": bytes(store),
        }:
            over = None if parent is None else os.fsdecode(parent)
            return StoredInfo(os.fsdecode(name), over, files, size_bytes, os.fsdecode(store))
    raise ReplyError("no stored snapshot")


def snapshot_page(value: object) -> SnapshotPage:
    match value:
        case {"snapshots": list(snapshots), "after": (bytes() | None) as after}:
            return SnapshotPage([snapshot_info(each) for each in snapshots], after)
    raise ReplyError("no page of snapshots")


def greeting(value: object) -> Greeting:
    match value:
        case {
            "version": int(version),
            "daemon": str(daemon),
            "pid": int(pid),
            "mountpoint": bytes(mountpoint),
            "data_limit": int(data_limit),
            "in_flight_limit": int(in_flight_limit),
        }:
            return Greeting(version, daemon, pid, mountpoint, data_limit, in_flight_limit)
    raise ReplyError("no greeting")


def failures(value: object) -> list[tuple[int, int]]:
    """Return index and errno of the entries of a put that failed."""
    if isinstance(value, list):
        pairs = [tuple(item) for item in value if isinstance(item, list) and len(item) == 2]
        if len(pairs) == len(value) and all(type(each) is int for pair in pairs for each in pair):
            return pairs
    raise ReplyError("no list of failures")


def fetched(value: object) -> list[bytes | int]:
    """Return data or an errno for each file of a fetch that was answered."""
    if isinstance(value, list) and all(type(item) in (bytes, int) for item in value):
        return value
    raise ReplyError("no files")


def opened(value: object) -> tuple[int, FileInfo]:
    match value:
        case [int(fd), record]:
            return fd, file_info(record)
    raise ReplyError("no open file")


def data(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    raise ReplyError("no bytes")


def names(value: object) -> list[bytes]:
    if isinstance(value, list) and all(type(item) is bytes for item in value):
        return value
    raise ReplyError("no names")


def number(value: object) -> int:
    if type(value) is int:
        return value
    raise ReplyError("no number")


def numbers(value: object) -> list[int]:
    if isinstance(value, list) and all(type(item) is int for item in value):
        return value
    raise ReplyError("no numbers")


def text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise ReplyError("no text")


def nothing(value: object) -> None:
    if value is not None:
        raise ReplyError("more than nothing")
