"""Plain values that cross the contract: attributes of files, file systems and providers.

Tuples rather than dataclasses: one `Stat` is made per FUSE request, and building a named
tuple takes a third of the time of a frozen dataclass of as many fields.

Concurrency: immutable values, safe everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

NAME_MAX = 255
"""Longest name of one directory entry, in bytes; longer is ENAMETOOLONG."""

PATH_MAX = 4096
"""Longest symlink target, in bytes, exclusive (a target holds at most `PATH_MAX - 1`)."""


class Stat(NamedTuple):
    """Attributes of one file, as `stat(2)` gives them.

    `mode` holds the file type and the permission bits; `size` is in bytes, `blocks` in units
    of 512 bytes, times are nanoseconds since the epoch, `rdev` is a device number as
    `os.makedev` makes it. The inode number is not here: see `Node.number`.
    """

    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    block_size: int = 4096


class SetAttr(NamedTuple):
    """What `Provider.setattr` is to change; None leaves a field as it is.

    `mode` holds permission bits only (0o7777); `size` truncates or extends; times are
    nanoseconds since the epoch.
    """

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


class FileCopy(NamedTuple):
    """A whole regular file, as it is to be put somewhere: mode, owner and times of `stat` count."""

    stat: Stat
    data: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]


class StatFs(NamedTuple):
    """Room in a provider, as `statvfs(3)` gives it: blocks of `block_size` bytes, and files."""

    block_size: int
    blocks: int
    blocks_free: int
    blocks_available: int
    files: int
    files_free: int
    name_max: int = NAME_MAX


class Caller(Protocol):
    """Who asks: the ids of the process behind a request (a FUSE request context fits)."""

    @property
    def uid(self) -> int: ...
    @property
    def gid(self) -> int: ...
    @property
    def pid(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Identity:
    """A `Caller` made by hand, for requests that come through another door than FUSE."""

    uid: int
    gid: int
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Traits:
    """What a provider can do; doors choose caching and refusals by it.

    `writable`: mutations may succeed (a provider set read-only says False).
    `immutable`: nothing in it ever changes, by any door: caches may live for ever.
    `watch`: every change not made through a door is `report`ed; without it, and unless
    immutable, doors keep caches short.
    `hard_links`, `xattrs`: `link` and the xattr methods work.
    `may_block`: methods may take as long as a disk or a network does.
    `fsync`: fsync reaches something durable, so doors must pass it on.
    """

    writable: bool = True
    immutable: bool = False
    watch: bool = False
    hard_links: bool = False
    xattrs: bool = False
    may_block: bool = False
    fsync: bool = False
