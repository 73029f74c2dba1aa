"""What is known about one file: its record, by type.

A record is shared between versions; only its owner changes it (see ownership.py), others copy
it first. Times are nanoseconds. `nlink` 0 means that the file has no name left and lives only
for its open handles and for doors that keep it.

Concurrency: see ownership.py.
"""

from __future__ import annotations

import stat as stat_module
from typing import TYPE_CHECKING, Self

from providers.memory import names as names_module
from providers.memory.content import Content
from providers.memory.ownership import Owner
from vfsd.provider import Stat

if TYPE_CHECKING:
    from providers.memory.items import Source
    from providers.memory.population import Population

DIRECTORY_BYTES = 40
ENTRY_BYTES = 20
"""A directory's size as tmpfs gives it: 20 bytes per entry, with ``.`` and ``..``."""

EMPTY = Content(None)
"""The content of every empty file; it has no owner, so the first write copies it."""

_SHARED_LIMIT = 4096
_shared: dict[int, int] = {}
_new_tuple = tuple.__new__


def shared(value: int) -> int:
    """Return one object for equal modes and ids: 32 bytes saved per field and file."""
    if len(_shared) >= _SHARED_LIMIT:
        _shared.clear()
    return _shared.setdefault(value, value)


class Record:
    """What all types have in common; on its own: a FIFO, a socket or a device node."""

    __slots__ = (
        "atime_ns",
        "ctime_ns",
        "gid",
        "mode",
        "mtime_ns",
        "nlink",
        "owner",
        "rdev",
        "uid",
        "xattrs",
    )

    def __init__(self, owner: Owner, mode: int, uid: int, gid: int, now_ns: int) -> None:
        self.owner = owner
        self.mode = shared(mode)
        self.uid = shared(uid)
        self.gid = shared(gid)
        self.nlink = 1
        self.rdev = 0
        self.atime_ns = self.mtime_ns = self.ctime_ns = now_ns
        self.xattrs: dict[bytes, bytes] | None = None
        """Never changed, only replaced: records that share it need not copy it."""

    def copied(self, owner: Owner) -> Self:
        """Return a twin for `owner`."""
        twin = type(self).__new__(type(self))
        twin.owner = owner
        twin.mode = self.mode
        twin.uid = self.uid
        twin.gid = self.gid
        twin.nlink = self.nlink
        twin.rdev = self.rdev
        twin.atime_ns = self.atime_ns
        twin.mtime_ns = self.mtime_ns
        twin.ctime_ns = self.ctime_ns
        twin.xattrs = self.xattrs
        return twin

    @property
    def size(self) -> int:
        """The size that `stat` shows, in bytes."""
        return 0

    @property
    def charged_bytes(self) -> int:
        """The room that the data takes, in whole pages."""
        return 0

    @property
    def cost_bytes(self) -> int:
        """What the file counts for against the byte quota: its data and its attributes."""
        xattrs = self.xattrs
        if not xattrs:
            return self.charged_bytes
        return self.charged_bytes + sum(len(name) + len(value) for name, value in xattrs.items())

    def stat(self) -> Stat:
        """Return the attributes."""
        # Straight to tuple.__new__: half the time of Stat(...), once per request.
        return _new_tuple(
            Stat,
            (
                self.mode,
                self.nlink,
                self.uid,
                self.gid,
                self.rdev,
                self.size,
                self.charged_bytes >> 9,
                self.atime_ns,
                self.mtime_ns,
                self.ctime_ns,
                4096,
            ),
        )


class File(Record):
    """A regular file."""

    __slots__ = ("content",)

    def __init__(self, owner: Owner, mode: int, uid: int, gid: int, now_ns: int) -> None:
        super().__init__(owner, mode, uid, gid, now_ns)
        self.content = EMPTY

    def copied(self, owner: Owner) -> Self:
        twin = super().copied(owner)
        twin.content = self.content
        return twin

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def charged_bytes(self) -> int:
        return self.content.charged_bytes

    def stat(self) -> Stat:
        content = self.content
        return _new_tuple(
            Stat,
            (
                self.mode,
                self.nlink,
                self.uid,
                self.gid,
                0,
                content.size,
                content.charged_bytes >> 9,
                self.atime_ns,
                self.mtime_ns,
                self.ctime_ns,
                4096,
            ),
        )

    def content_of(self, owner: Owner) -> Content:
        """Return the content, made `owner`'s; the record must be already."""
        content = self.content
        if content.owner is not owner:
            content = self.content = content.copied(owner)
        return content


class DynamicFile(Record):
    """A regular file whose content is made at each open; its size is told as 0."""

    __slots__ = ("source",)

    def __init__(
        self, owner: Owner, mode: int, uid: int, gid: int, now_ns: int, source: Source
    ) -> None:
        super().__init__(owner, mode, uid, gid, now_ns)
        self.source = source

    def copied(self, owner: Owner) -> Self:
        twin = super().copied(owner)
        twin.source = self.source
        return twin


class Symlink(Record):
    """A symlink."""

    __slots__ = ("target",)

    def __init__(self, owner: Owner, uid: int, gid: int, now_ns: int, target: bytes) -> None:
        super().__init__(owner, stat_module.S_IFLNK | 0o777, uid, gid, now_ns)
        self.target = target

    def copied(self, owner: Owner) -> Self:
        twin = super().copied(owner)
        twin.target = self.target
        return twin

    @property
    def size(self) -> int:
        return len(self.target)


class Directory(Record):
    """A directory; `population` is set until a lazy one got its content."""

    __slots__ = ("count", "names", "parent", "population")

    def __init__(
        self, owner: Owner, mode: int, uid: int, gid: int, now_ns: int, parent: int
    ) -> None:
        super().__init__(owner, mode, uid, gid, now_ns)
        self.nlink = 2
        self.parent = parent
        self.names: names_module.Names = names_module.Leaf(owner)
        self.count = 0
        self.population: Population | None = None

    def copied(self, owner: Owner) -> Self:
        twin = super().copied(owner)
        twin.parent = self.parent
        twin.names = self.names
        twin.count = self.count
        twin.population = self.population
        return twin

    @property
    def size(self) -> int:
        return DIRECTORY_BYTES + ENTRY_BYTES * self.count

    def put_name(self, name: bytes, number: int) -> None:
        """Add a name that is not there; the record must be its owner's."""
        self.names = names_module.put(self.names, name, number, self.owner)
        self.count += 1

    def replace_name(self, name: bytes, number: int) -> None:
        """Let a name that is there stand for another file."""
        self.names = names_module.put(self.names, name, number, self.owner)

    def remove_name(self, name: bytes) -> None:
        """Remove a name that is there."""
        self.names = names_module.remove(self.names, name, self.owner)
        self.count -= 1
