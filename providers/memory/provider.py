"""The memory provider: the contract's calls, each as one step on a version of the tree.

What the calls do stands in entries.py, rename.py, setattr.py, xattrs.py and handle.py; what
they work on in version.py; files and directories made by functions in dynamic.py and lazy.py.

Concurrency: only the first access to a lazy directory and the opening of a dynamic file
suspend. Everything else is done in one step, and so is atomic.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Mapping, Sequence
from typing import Self

from providers.memory import entries, items, names, xattrs
from providers.memory.copies import put_copy
from providers.memory.dynamic import DynamicHandle
from providers.memory.handle import MemoryHandle
from providers.memory.lazy import add_at, populate
from providers.memory.limiting import limit
from providers.memory.options import parse_options
from providers.memory.population import Population
from providers.memory.records import Directory, DynamicFile, File, Record, Symlink
from providers.memory.rename import rename
from providers.memory.room import BYTES_PER_FILE, available_bytes
from providers.memory.setattr import change_attributes
from providers.memory.version import Version, now_ns
from vfsd.errors import fail
from vfsd.provider import (
    ROOT_NUMBER,
    Caller,
    Change,
    Entry,
    FileCopy,
    Handle,
    Keeper,
    Node,
    Provider,
    SetAttr,
    Stat,
    StatFs,
    Traits,
)

BLOCK = 4096
WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND

_WRITABLE = Traits(writable=True, watch=True, hard_links=True, xattrs=True)
_READ_ONLY = Traits(writable=False, watch=True, hard_links=True, xattrs=True)
_SEALED = Traits(writable=False, immutable=True, watch=True, hard_links=True, xattrs=True)


class MemoryProvider(Provider):
    """A POSIX tree in memory, with quotas, snapshots and forks."""

    def __init__(
        self,
        *,
        size_bytes: int | None = None,
        inodes: int | None = None,
        mode: int = 0o755,
        uid: int | None = None,
        gid: int | None = None,
    ) -> None:
        """Make an empty tree; without quotas, only the machine limits it.

        The root directory belongs to `uid` and `gid`, by default to this process.
        """
        super().__init__()
        self._root = Node(ROOT_NUMBER)
        self._sealed = False
        self._version = version = Version(size_bytes, inodes)
        uid = os.getuid() if uid is None else uid
        gid = os.getgid() if gid is None else gid
        mode = stat_module.S_IFDIR | mode & 0o7777
        version.add(Directory(version.owner, mode, uid, gid, now_ns(), ROOT_NUMBER))

    @classmethod
    def _showing(cls, version: Version, *, sealed: bool) -> Self:
        provider = cls.__new__(cls)
        Provider.__init__(provider)
        provider._root = Node(ROOT_NUMBER)
        provider._sealed = sealed
        provider._version = version
        return provider

    # -- what it is -----------------------------------------------------------------------

    @classmethod
    async def from_options(cls, source: str | None, options: Mapping[str, str]) -> Self:
        """Make an empty tree; see options.py for what may stand in `options`."""
        parsed = parse_options(source, options)
        return cls(
            size_bytes=parsed.size_bytes,
            inodes=parsed.inodes,
            mode=parsed.mode,
            uid=parsed.uid,
            gid=parsed.gid,
        )

    @property
    def traits(self) -> Traits:
        if self._sealed:
            return _SEALED
        return _WRITABLE if self._version.writable else _READ_ONLY

    @property
    def root(self) -> Node:
        return self._root

    def describe(self) -> str:
        version = self._version
        size = "no size limit" if version.limit_bytes is None else f"{version.limit_bytes} bytes"
        files = "no inode limit" if version.limit_files is None else f"{version.limit_files} inodes"
        state = "" if version.writable else ", snapshot" if self._sealed else ", read-only"
        return f"memory ({size}, {files}{state})"

    def statistics(self) -> Mapping[str, int | float | str]:
        version = self._version
        counters = version.counters
        return {
            "present_files": version.records.count,
            "nameless_files": len(version.nameless),
            "used_bytes": version.used_bytes,
            "stored_chunks": version.chunk_count,
            "copied_records": counters.copied_records,
            "copied_pages": counters.copied_pages,
            "copied_names": counters.copied_names,
            "copied_chunks": counters.copied_chunks,
        }

    def set_limits(self, options: Mapping[str, str]) -> None:
        """Hold to `size` and `inodes` from now on, without a limit to what is not there.

        UserError (FULL) if more is there already; nothing has changed then.
        """
        limit(self._version, options)

    def set_read_only(self, read_only: bool) -> None:
        """Make every mutation EROFS from now on, through open handles too; or end that.

        A snapshot stays read-only: EROFS for `False`.
        """
        if self._sealed and not read_only:
            raise fail(errno.EROFS)
        self._version.writable = not read_only

    async def aclose(self) -> None:
        self._version.close()

    def add_keeper(self, keeper: Keeper) -> None:
        super().add_keeper(keeper)
        self._version.keepers = self._keepers

    def remove_keeper(self, keeper: Keeper) -> None:
        super().remove_keeper(keeper)
        self._version.keepers = self._keepers
        for number in tuple(self._version.nameless):
            self._version.forget(number)

    def forget(self, node: Node) -> None:
        if self._version.nameless:
            self._version.forget(node.number)

    # -- looking --------------------------------------------------------------------------

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        version = self._version
        if version.lazy_directories:
            await self._populate(parent)
        directory = version.find_directory(parent.number)
        number = version.child(directory, name)
        return Entry(Node(number), version.find(number).stat())

    async def lookup_many(self, parent: Node, names_: Sequence[bytes]) -> list[Entry | None]:
        version = self._version
        if version.lazy_directories:
            await self._populate(parent)
        directory = version.find_directory(parent.number)
        found: list[Entry | None] = []
        for name in names_:
            number = names.get(directory.names, name)
            found.append(
                None if number is None else Entry(Node(number), version.find(number).stat())
            )
        return found

    async def getattr(self, node: Node) -> Stat:
        return self._version.find(node.number).stat()

    async def readdir(self, node: Node) -> Sequence[bytes]:
        version = self._version
        if version.lazy_directories:
            await self._populate(node)
        return names.listing(version.find_directory(node.number).names)

    async def readlink(self, node: Node) -> bytes:
        record = self._version.find(node.number)
        if type(record) is not Symlink:
            raise fail(errno.EINVAL)
        return record.target

    async def open(self, node: Node, flags: int, caller: Caller) -> Handle:
        version = self._version
        record = version.find(node.number)
        if flags & WRITING_FLAGS:
            version.check_writable()
        if type(record) is DynamicFile:
            return await self._open_dynamic(node.number, record.source, flags)
        if type(record) is not File:
            raise _unopenable(record)
        if flags & os.O_TRUNC:
            change_attributes(version, node.number, SetAttr(size=0), caller)
        return MemoryHandle(version, node.number, flags, caller)

    async def statfs(self) -> StatFs:
        version = self._version
        room = None
        if version.limit_bytes is None or version.limit_files is None:
            room = available_bytes()
        if version.limit_bytes is None:
            assert room is not None
            free = room // BLOCK
            blocks = -(-(version.used_bytes - version.idle_bytes) // BLOCK) + free
        else:
            blocks = version.limit_bytes // BLOCK
            free = version.room_bytes // BLOCK
        count = version.file_count
        if version.limit_files is None:
            assert room is not None
            files_free = room // BYTES_PER_FILE
        else:
            files_free = max(0, version.limit_files - count)
        return StatFs(BLOCK, blocks, free, free, count + files_free, files_free)

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        return xattrs.get(self._version.find(node.number), name)

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        return tuple(self._version.find(node.number).xattrs or ())

    # -- changing -------------------------------------------------------------------------

    async def setattr(self, node: Node, changes: SetAttr, caller: Caller) -> Stat:
        return change_attributes(self._version, node.number, changes, caller)

    async def create(
        self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Entry, Handle]:
        version = self._version
        if version.lazy_directories:
            await self._prepare(parent)
        directory = entries.open_for_names(version, parent.number)
        number = names.get(directory.names, name)
        if number is not None:
            if flags & os.O_EXCL:
                raise fail(errno.EEXIST, name)
            node = Node(number)
            handle = await self.open(node, flags, caller)
            return Entry(node, version.find(number).stat()), handle
        entry = entries.add_file(version, directory, name, mode, caller)
        return entry, MemoryHandle(version, entry.node.number, flags, caller)

    async def put_copy(
        self, parent: Node, name: bytes, copy: FileCopy, spare: tuple[Node, bytes], *, sync: bool
    ) -> tuple[Entry, Handle] | None:
        if self._version.lazy_directories:
            await self._prepare(parent)
        return await put_copy(self._version, parent.number, name, copy)

    async def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> Entry:
        if self._version.lazy_directories:
            await self._prepare(parent)
        return entries.make_special(self._version, parent.number, name, mode, rdev, caller)

    async def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        if self._version.lazy_directories:
            await self._prepare(parent)
        return entries.make_directory(self._version, parent.number, name, mode, caller)

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        if self._version.lazy_directories:
            await self._prepare(parent)
        return entries.make_symlink(self._version, parent.number, name, target, caller)

    async def link(self, node: Node, parent: Node, name: bytes) -> Entry:
        if self._version.lazy_directories:
            await self._prepare(parent)
        return entries.link(self._version, node.number, parent.number, name)

    async def unlink(self, parent: Node, name: bytes) -> None:
        if self._version.lazy_directories:
            await self._prepare(parent)
        entries.unlink(self._version, parent.number, name)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        if self._version.lazy_directories:
            await self._prepare_below(parent, name)
        entries.remove_directory(self._version, parent.number, name)

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        if self._version.lazy_directories:
            await self._prepare(parent)
            await self._prepare(new_parent)
            if not flags:
                await self._prepare_below(new_parent, new_name)
        rename(self._version, parent.number, name, new_parent.number, new_name, flags)

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        xattrs.put(self._version, node.number, name, value)

    async def removexattr(self, node: Node, name: bytes) -> None:
        xattrs.remove(self._version, node.number, name)

    # -- versions -------------------------------------------------------------------------

    def snapshot(self) -> MemoryProvider:
        """Return this tree as it is now, sealed. O(1), whatever the size of the tree."""
        return self._showing(self._version.split(writable=False), sealed=True)

    def fork(self) -> MemoryProvider:
        """Return a writable tree that starts as this one is now, with the same quotas. O(1)."""
        return self._showing(self._version.split(writable=True), sealed=False)

    def unchanged(self, node: Node, other: Provider, other_node: Node) -> bool:
        """Versions share the records of what neither changed: the same object is the same file."""
        if node.number != other_node.number or not isinstance(other, MemoryProvider):
            return False
        record = self._version.records.get(node.number)
        return record is not None and record is other._version.records.get(node.number)

    # -- what functions make ----------------------------------------------------------------

    def add_dynamic(self, path: bytes, source: items.Source, *, mode: int = 0o444) -> None:
        """Add a file whose content `source` makes at each open; see dynamic.py.

        `path` is relative to the root; missing directories are made. `source` is a function,
        an async function, or an iterable of bytes. EEXIST, ENOTDIR, ENOSPC, EROFS, EINVAL,
        EBUSY below a lazy directory without content; TypeError for another kind of source.
        """
        items.check_source(source)
        self._add(path, items.Dynamic(source, mode))

    def add_lazy_directory(
        self, path: bytes, populate: items.Populate, *, mode: int = 0o755
    ) -> None:
        """Add a directory that `populate` fills at the first access; see items.py, lazy.py.

        `populate` is a function or an async function that returns the content. It is called
        once for this tree and all its snapshots and forks; if it fails, the access gets its
        errno, or EIO, and the next access calls it again. Raises as `add_dynamic`.
        """
        self._add(path, Population(populate, mode))

    def _add(self, path: bytes, item: items.Dynamic | Population) -> None:
        node, name = add_at(self._version, path, item)
        self.report(Change(node, name))

    async def _populate(self, node: Node) -> None:
        if await populate(self._version, node.number):
            self.report(Change(node))

    async def _prepare(self, parent: Node) -> None:
        """Populate `parent` before a change in it; EROFS comes first."""
        self._version.check_writable()
        await self._populate(parent)

    async def _prepare_below(self, parent: Node, name: bytes) -> None:
        """Populate `parent`, and the directory `name` in it if it is one: is it empty?"""
        await self._prepare(parent)
        record = self._version.records.get(parent.number)
        if type(record) is Directory:
            number = names.get(record.names, name)
            if number is not None:
                await self._populate(Node(number))

    async def _open_dynamic(self, number: int, source: items.Source, flags: int) -> Handle:
        if flags & WRITING_FLAGS:
            raise fail(errno.EACCES)
        handle = DynamicHandle(self._version, number)
        try:
            await handle.fill(source)
        except BaseException:
            await handle.release()
            raise
        return handle


def _unopenable(record: Record) -> OSError:
    if type(record) is Directory:
        return fail(errno.EISDIR)
    return fail(errno.ELOOP if type(record) is Symlink else errno.ENXIO)
