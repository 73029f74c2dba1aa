"""The verbs of the control socket, and the parameters of each.

A verb is a frozen dataclass (also snapshotverbs.py, streamverbs.py): its fields are the
parameters, those with a default may be left out. `VERBS` is the only list of them;
docs/CONTROL.md carries the same table. Paths are bytes and start at the tree's root.

What it is *not*: the bytes on the wire (framing.py), what a verb does (service.py and its
neighbours), or how parameters are checked (validation.py).

Concurrency: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfsd.control.framing import DATA_LIMIT_BYTES
from vfsd.control.snapshotverbs import (
    AttachSnapshot,
    CreateSnapshot,
    Fork,
    ForkSnapshot,
    ListSnapshots,
    RemoveSnapshot,
    ShowSnapshot,
    Snapshot,
    StoreSnapshot,
)
from vfsd.control.streamverbs import Top, Watch
from vfsd.control.verb import PAGE_LIMIT, Verb

VERSION = 1
"""Changes when a verb's meaning does; a daemon speaks exactly the versions in `VERSIONS`."""
VERSIONS = (1,)

BATCH_LIMIT = 4096
"""Files in one `put` or `fetch`."""
PATH_LIMIT_BYTES = 1 << 16
XATTR_VALUE_LIMIT_BYTES = 1 << 16
"""Longest value of an extended attribute. Source: xattr(7), VFS limits."""

PutEntry = tuple[bytes, int, int | None, bytes | int | None]
"""One file to make: path below `at`, mode with its type, mtime in ns or None, and content.

The content is the data of a regular file, the target of a symlink, the device number of a
device, None for others. Mode 0 makes a hard link: the content is the path, below `at`, of the
file to link.
"""


@dataclass(frozen=True, slots=True)
class Hello(Verb):
    """Agree on a version; first request on a connection, others are refused before it."""

    versions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Status(Verb):
    """Return what the daemon serves and its counters, as JSON text."""


@dataclass(frozen=True, slots=True)
class Stop(Verb):
    """Unmount and end the daemon, after this was answered."""


@dataclass(frozen=True, slots=True)
class Attach(Verb):
    """Attach a provider at a prefix."""

    prefix: bytes
    source: bytes
    options: dict[bytes, bytes]
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Detach(Verb):
    """Take an attached provider away."""

    prefix: bytes
    lazy: bool = False


@dataclass(frozen=True, slots=True)
class StatFile(Verb):
    """Return the attributes of a file."""

    path: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class ListDirectory(Verb):
    """Return a page of a directory, sorted by name, starting past the name `after`."""

    path: bytes
    after: bytes = b""
    limit: int = PAGE_LIMIT


@dataclass(frozen=True, slots=True)
class ReadLink(Verb):
    """Return a symlink's target."""

    path: bytes


@dataclass(frozen=True, slots=True)
class StatFilesystem(Verb):
    """Return the room in the provider that holds a path."""

    path: bytes


@dataclass(frozen=True, slots=True)
class ReadFile(Verb):
    """Return a whole small file (EFBIG if it is larger than one message takes)."""

    path: bytes


@dataclass(frozen=True, slots=True)
class WriteFile(Verb):
    """Make or replace a whole small file; a replaced one's mode and owner are kept."""

    path: bytes
    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Open(Verb):
    """Open a regular file and return a virtual fd of this connection."""

    path: bytes
    flags: int = 0
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Stage(Verb):
    """Open a new file under a temporary name in the directory `path` below `at`."""

    at: bytes
    path: bytes = b""


@dataclass(frozen=True, slots=True)
class Commit(Verb):
    """Close a staged file and name it, replacing what has the name; `keep` its mode and owner."""

    fd: int
    name: bytes
    mode: int
    mtime_ns: int | None = None
    keep: bool = False


@dataclass(frozen=True, slots=True)
class Read(Verb):
    """Read from a virtual fd."""

    fd: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Write(Verb):
    """Write to a virtual fd and return how many bytes were written."""

    fd: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StatFd(Verb):
    """Return the attributes of an open file."""

    fd: int


@dataclass(frozen=True, slots=True)
class TruncateFd(Verb):
    """Set the size of an open file."""

    fd: int
    size: int


@dataclass(frozen=True, slots=True)
class SyncFd(Verb):
    """Return once what was written to an open file is durable."""

    fd: int
    data_only: bool = False


@dataclass(frozen=True, slots=True)
class Close(Verb):
    """Close a virtual fd; an uncommitted staged file is gone."""

    fd: int


@dataclass(frozen=True, slots=True)
class MakeDirectory(Verb):
    """Make a directory; with `parents` missing ones on the way too, and it may exist."""

    path: bytes
    mode: int = 0o755
    parents: bool = False


@dataclass(frozen=True, slots=True)
class MakeNode(Verb):
    """Make a file of the type in `mode`."""

    path: bytes
    mode: int
    rdev: int = 0


@dataclass(frozen=True, slots=True)
class MakeSymlink(Verb):
    """Make a symlink."""

    path: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Link(Verb):
    """Give the file `source` another name, `target`."""

    source: bytes
    target: bytes


@dataclass(frozen=True, slots=True)
class Unlink(Verb):
    """Remove a name that is not a directory."""

    path: bytes


@dataclass(frozen=True, slots=True)
class RemoveDirectory(Verb):
    """Remove an empty directory."""

    path: bytes


@dataclass(frozen=True, slots=True)
class RemoveTree(Verb):
    """Remove a file or a directory with all below; parts tell how many are gone."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Rename(Verb):
    """Rename as `renameat2(2)` does; `flags` is 0, 1 (no replacing) or 2 (exchange)."""

    source: bytes
    target: bytes
    flags: int = 0


@dataclass(frozen=True, slots=True)
class SetAttributes(Verb):
    """Change attributes; what is left out stays."""

    path: bytes
    follow: bool = True
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate(Verb):
    """Set the size of a file."""

    path: bytes
    size: int


@dataclass(frozen=True, slots=True)
class GetXattr(Verb):
    """Return the value of an extended attribute."""

    path: bytes
    name: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class ListXattr(Verb):
    """Return the names of all extended attributes."""

    path: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class SetXattr(Verb):
    """Set an extended attribute."""

    path: bytes
    name: bytes
    value: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class RemoveXattr(Verb):
    """Remove an extended attribute."""

    path: bytes
    name: bytes
    follow: bool = True


@dataclass(frozen=True, slots=True)
class Put(Verb):
    """Make or replace many files below `at`; return index and errno of each that failed."""

    at: bytes
    entries: tuple[PutEntry, ...]


@dataclass(frozen=True, slots=True)
class Fetch(Verb):
    """Return the data of many small files in the directory `at`, as many as fit."""

    at: bytes
    names: tuple[bytes, ...]


VERBS: dict[str, type[Verb]] = {
    "hello": Hello,
    "status": Status,
    "stop": Stop,
    "attach": Attach,
    "detach": Detach,
    "snapshot": Snapshot,
    "fork": Fork,
    "snapshot_create": CreateSnapshot,
    "snapshot_store": StoreSnapshot,
    "snapshot_list": ListSnapshots,
    "snapshot_show": ShowSnapshot,
    "snapshot_remove": RemoveSnapshot,
    "snapshot_attach": AttachSnapshot,
    "snapshot_fork": ForkSnapshot,
    "watch": Watch,
    "top": Top,
    "stat": StatFile,
    "list": ListDirectory,
    "readlink": ReadLink,
    "statfs": StatFilesystem,
    "read_file": ReadFile,
    "write_file": WriteFile,
    "open": Open,
    "stage": Stage,
    "commit": Commit,
    "read": Read,
    "write": Write,
    "fstat": StatFd,
    "ftruncate": TruncateFd,
    "fsync": SyncFd,
    "close": Close,
    "mkdir": MakeDirectory,
    "mknod": MakeNode,
    "symlink": MakeSymlink,
    "link": Link,
    "unlink": Unlink,
    "rmdir": RemoveDirectory,
    "remove_tree": RemoveTree,
    "rename": Rename,
    "setattr": SetAttributes,
    "truncate": Truncate,
    "getxattr": GetXattr,
    "listxattr": ListXattr,
    "setxattr": SetXattr,
    "removexattr": RemoveXattr,
    "put": Put,
    "fetch": Fetch,
}

NAMES: dict[type[Verb], str] = {verb: name for name, verb in VERBS.items()}

BOUNDS: dict[str, tuple[int, int]] = {
    "fd": (0, (1 << 31) - 1),
    "flags": (0, (1 << 31) - 1),
    "gid": (0, (1 << 32) - 2),
    "interval_ms": (10, 3_600_000),
    "limit": (1, PAGE_LIMIT),
    "mode": (0, 0o177777),
    "atime_ns": (-(1 << 63), (1 << 63) - 1),
    "mtime_ns": (-(1 << 63), (1 << 63) - 1),
    "offset": (0, (1 << 63) - 1),
    "rdev": (0, (1 << 64) - 1),
    "size": (0, (1 << 63) - 1),
    "uid": (0, (1 << 32) - 2),
}
"""Least and greatest value of integer parameters, by name. Reading is cut to a message's load."""

LENGTHS: dict[str, int] = {
    "data": DATA_LIMIT_BYTES,
    "entries": BATCH_LIMIT,
    "names": BATCH_LIMIT,
    "options": 256,
    "path": PATH_LIMIT_BYTES,
    "prefix": PATH_LIMIT_BYTES,
    "at": PATH_LIMIT_BYTES,
    "source": PATH_LIMIT_BYTES,
    "target": PATH_LIMIT_BYTES,
    "value": XATTR_VALUE_LIMIT_BYTES,
    "versions": 64,
}
"""Greatest length of parameters, by name: bytes, characters or items."""
