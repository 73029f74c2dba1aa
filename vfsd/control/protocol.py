"""The verbs of the control socket, and the parameters of each.

A verb is a frozen dataclass: its fields are the parameters, those with a default may be left out.
Those on files are in pathverbs.py, fileverbs.py and batchverbs.py, those on snapshots in
snapshotverbs.py, those that answer more than once in streamverbs.py. `VERBS` is the only list of
them; docs/CONTROL.md carries the same table. Paths are bytes and start at the tree's root.

What it is *not*: the bytes on the wire (framing.py), how large parameters may be (bounds.py), what
a verb does (service.py and its neighbours), or how parameters are checked (validation.py).

Concurrency: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfsd.control.batchverbs import (
    Commit,
    Fetch,
    Put,
    Stage,
)
from vfsd.control.fileverbs import (
    Close,
    Open,
    Read,
    StatFd,
    SyncFd,
    TruncateFd,
    Write,
)
from vfsd.control.pathverbs import (
    GetXattr,
    Link,
    ListDirectory,
    ListXattr,
    MakeDirectory,
    MakeNode,
    MakeSymlink,
    ReadFile,
    ReadLink,
    RemoveDirectory,
    RemoveTree,
    RemoveXattr,
    Rename,
    SetAttributes,
    SetXattr,
    StatFile,
    StatFilesystem,
    Truncate,
    Unlink,
    WriteFile,
)
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
from vfsd.control.verb import Verb

VERSION = 1
"""Changes when a verb's meaning does; a daemon speaks exactly the versions in `VERSIONS`."""
VERSIONS = (1,)


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
