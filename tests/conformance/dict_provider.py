"""A provider as a third party would write it: a dict of paths, on `PathProvider`.

It imports from vfsd/provider.py only. Symlinks work; hard links, xattrs and special files do
not. It shows what an author has to think of; vfsd/conformance says whether it was enough.

Concurrency: state changes between awaits only; no method awaits anything before it changed
all it had to.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vfsd.provider import Caller, Handle, PathProvider, SetAttr, Stat, Traits

EXCHANGE = 2
SIZE_LIMIT_BYTES = 64 << 20
"""Data is one bytearray per file, so that a hole costs memory: larger files are EFBIG."""


def fail(code: int, path: bytes = b"") -> OSError:
    return OSError(code, os.strerror(code), os.fsdecode(path))


@dataclass
class Item:
    """A file of any type; `data` is a file's content or a symlink's target."""

    mode: int
    uid: int
    gid: int
    data: bytearray = field(default_factory=bytearray)
    links: int = 1
    atime_ns: int = field(default_factory=time.time_ns)
    mtime_ns: int = field(default_factory=time.time_ns)
    ctime_ns: int = field(default_factory=time.time_ns)

    def touch(self, *, data: bool) -> None:
        self.ctime_ns = time.time_ns()
        if data:
            self.mtime_ns = self.ctime_ns

    def resize(self, size: int) -> None:
        if size > SIZE_LIMIT_BYTES:
            raise fail(errno.EFBIG)
        self.data.extend(bytes(max(0, size - len(self.data))))
        del self.data[size:]

    def stat(self) -> Stat:
        size = len(self.data)
        blocks = (size + 511) // 512
        times = self.atime_ns, self.mtime_ns, self.ctime_ns
        return Stat(self.mode, self.links, self.uid, self.gid, 0, size, blocks, *times)


class DictHandle(Handle):
    """An open file: it holds the item itself, so it does not care about names."""

    def __init__(self, item: Item, flags: int, *, by_root: bool) -> None:
        self.item = item
        self._flags = flags
        self._by_root = by_root

    async def read(self, offset: int, size: int) -> bytes:
        if self._flags & os.O_ACCMODE == os.O_WRONLY:
            raise fail(errno.EBADF)
        return bytes(self.item.data[offset : offset + size])

    async def write(self, offset: int, data: bytes) -> int:
        if self._flags & os.O_ACCMODE == os.O_RDONLY:
            raise fail(errno.EBADF)
        if not data:
            return 0
        item = self.item
        if self._flags & os.O_APPEND:
            offset = len(item.data)
        return self._put(offset, data)

    async def write_back(self, offset: int, data: bytes) -> int:
        return self._put(offset, data)

    def _put(self, offset: int, data: bytes) -> int:
        item = self.item
        item.resize(max(len(item.data), offset + len(data)))
        item.data[offset : offset + len(data)] = data
        item.touch(data=True)
        if not self._by_root:
            item.mode &= ~0o6000
        return len(data)

    async def getattr(self) -> Stat:
        return self.item.stat()


class DictProvider(PathProvider):
    """A writable tree in one dict, from path to item."""

    def __init__(self) -> None:
        super().__init__()
        self.writable = True
        self.items = {b"": Item(stat_module.S_IFDIR | 0o755, os.getuid(), os.getgid())}

    @classmethod
    async def from_options(cls, source: str | None, options: Mapping[str, str]) -> DictProvider:
        return cls()

    @property
    def traits(self) -> Traits:
        return Traits(writable=self.writable)

    # -- looking --------------------------------------------------------------------------

    def _item(self, path: bytes) -> Item:
        item = self.items.get(path)
        if item is not None:
            return item
        parent = self.items.get(os.path.dirname(path))
        if parent is not None and not stat_module.S_ISDIR(parent.mode):
            raise fail(errno.ENOTDIR, path)
        raise fail(errno.ENOENT, path)

    async def stat(self, path: bytes) -> Stat:
        return self._item(path).stat()

    async def readdir_path(self, path: bytes) -> Sequence[bytes]:
        if not stat_module.S_ISDIR(self._item(path).mode):
            raise fail(errno.ENOTDIR, path)
        return self._names(path)

    def _names(self, path: bytes) -> list[bytes]:
        prefix = path + b"/" if path else b""
        inside = [each[len(prefix) :] for each in self.items if each.startswith(prefix)]
        return [name for name in inside if name and b"/" not in name]

    async def readlink_path(self, path: bytes) -> bytes:
        item = self._item(path)
        if not stat_module.S_ISLNK(item.mode):
            raise fail(errno.EINVAL, path)
        return bytes(item.data)

    async def open_path(self, path: bytes, flags: int, caller: Caller) -> Handle:
        item = self._item(path)
        if stat_module.S_ISDIR(item.mode):
            raise fail(errno.EISDIR, path)
        return self._opened(item, flags, caller)

    def _opened(self, item: Item, flags: int, caller: Caller) -> Handle:
        if flags & os.O_TRUNC:
            item.resize(0)
            item.touch(data=True)
        return DictHandle(item, flags, by_root=caller.uid == 0)

    # -- changing -------------------------------------------------------------------------

    async def setattr_path(self, path: bytes, changes: SetAttr, caller: Caller) -> Stat:
        return self._change(self._item(path), path, changes, caller)

    def _change(self, item: Item, path: bytes, changes: SetAttr, caller: Caller) -> Stat:
        kind = stat_module.S_IFMT(item.mode)
        if changes.size is not None:
            if kind != stat_module.S_IFREG:
                raise fail(errno.EISDIR if kind == stat_module.S_IFDIR else errno.EINVAL, path)
            item.resize(changes.size)
        chowned = changes.uid is not None or changes.gid is not None
        truncated = changes.size is not None and caller.uid != 0
        if kind == stat_module.S_IFREG and (chowned or truncated):
            item.mode &= ~0o6000
        if changes.mode is not None:
            item.mode = kind | changes.mode
        item.uid = item.uid if changes.uid is None else changes.uid
        item.gid = item.gid if changes.gid is None else changes.gid
        item.touch(data=changes.size is not None)
        item.atime_ns = item.atime_ns if changes.atime_ns is None else changes.atime_ns
        item.mtime_ns = item.mtime_ns if changes.mtime_ns is None else changes.mtime_ns
        return item.stat()

    def _add(self, path: bytes, mode: int, caller: Caller, data: bytes = b"") -> Item:
        parent = self._item(os.path.dirname(path))
        if not stat_module.S_ISDIR(parent.mode):
            raise fail(errno.ENOTDIR, path)
        gid = caller.gid
        if parent.mode & stat_module.S_ISGID:
            gid = parent.gid
            if stat_module.S_ISDIR(mode):
                mode |= stat_module.S_ISGID
        item = Item(mode, caller.uid, gid, bytearray(data))
        self.items[path] = item
        parent.touch(data=True)
        return item

    async def create_path(self, path: bytes, mode: int, flags: int, caller: Caller) -> Handle:
        item = self._add(path, stat_module.S_IFREG | mode, caller)
        return DictHandle(item, flags, by_root=caller.uid == 0)

    async def mkdir_path(self, path: bytes, mode: int, caller: Caller) -> None:
        self._add(path, stat_module.S_IFDIR | mode, caller)

    async def symlink_path(self, path: bytes, target: bytes, caller: Caller) -> None:
        self._add(path, stat_module.S_IFLNK | 0o777, caller, target)

    async def unlink_path(self, path: bytes) -> None:
        if stat_module.S_ISDIR(self._item(path).mode):
            raise fail(errno.EISDIR, path)
        self._remove(path)

    async def rmdir_path(self, path: bytes) -> None:
        if not stat_module.S_ISDIR(self._item(path).mode):
            raise fail(errno.ENOTDIR, path)
        if self._names(path):
            raise fail(errno.ENOTEMPTY, path)
        self._remove(path)

    def _remove(self, path: bytes) -> None:
        item = self.items.pop(path)
        item.links -= 1
        item.touch(data=False)
        self._item(os.path.dirname(path)).touch(data=True)

    async def rename_path(self, path: bytes, new_path: bytes, flags: int) -> None:
        if flags not in (0, 1, EXCHANGE):
            raise fail(errno.EINVAL)
        source, target = self._item(path), self.items.get(new_path)
        new_parent = self._item(os.path.dirname(new_path))
        if not stat_module.S_ISDIR(new_parent.mode):
            raise fail(errno.ENOTDIR, new_path)
        if flags == 1 and target is not None:
            raise fail(errno.EEXIST, new_path)
        if flags == EXCHANGE and target is None:
            raise fail(errno.ENOENT, new_path)
        if new_path.startswith(path + b"/"):
            raise fail(errno.EINVAL, new_path)
        if path.startswith(new_path + b"/"):
            raise fail(errno.EINVAL if flags == EXCHANGE else errno.ENOTEMPTY, new_path)
        if source is target:
            return
        if target is not None and flags != EXCHANGE:
            self._check_replaceable(source, target, new_path)
        moved, replaced = self._take(path), self._take(new_path)
        self._give(new_path, moved)
        if flags == EXCHANGE:
            self._give(path, replaced)
        elif target is not None:
            target.links -= 1
        for item in (self._item(os.path.dirname(path)), new_parent):
            item.touch(data=True)
        source.touch(data=False)

    def _check_replaceable(self, source: Item, target: Item, new_path: bytes) -> None:
        if stat_module.S_ISDIR(target.mode):
            if not stat_module.S_ISDIR(source.mode):
                raise fail(errno.EISDIR, new_path)
            if self._names(new_path):
                raise fail(errno.ENOTEMPTY, new_path)
        elif stat_module.S_ISDIR(source.mode):
            raise fail(errno.ENOTDIR, new_path)

    def _take(self, path: bytes) -> dict[bytes, Item]:
        inside = [each for each in self.items if each == path or each.startswith(path + b"/")]
        return {each[len(path) :]: self.items.pop(each) for each in inside}

    def _give(self, path: bytes, items: dict[bytes, Item]) -> None:
        for suffix, item in items.items():
            self.items[path + suffix] = item


class ReopeningDictProvider(DictProvider):
    """With what `PathProvider` leaves to its author for files that are open without a name."""

    async def setattr_unlinked(self, handle: Handle, changes: SetAttr, caller: Caller) -> Stat:
        assert isinstance(handle, DictHandle)
        return self._change(handle.item, b"", changes, caller)

    async def open_unlinked(self, handle: Handle, flags: int, caller: Caller) -> Handle:
        assert isinstance(handle, DictHandle)
        return self._opened(handle.item, flags, caller)
