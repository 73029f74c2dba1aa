"""A provider for authors who think in paths: `stat`, `readdir` and `open` are enough.

A path is `bytes` relative to the root, without a leading slash; the root is ``b""``. The base
keeps the nodes: one object per file while anyone holds it, and numbers derived from the path,
so that they are the same at the next start. Renames through the base keep the number.

What it is *not*: a cache. Each call reaches the subclass. Hard links are not for path
providers, since two paths are two files here.

Concurrency: the node table changes between awaits only.
"""

from __future__ import annotations

import errno
import stat as stat_module
from abc import abstractmethod
from collections.abc import Sequence
from weakref import WeakValueDictionary

from vfsd.attributes import Caller, SetAttr, Stat, StatFs
from vfsd.contract import NUMBER_LIMIT, ROOT_NUMBER, Entry, Handle, Node, Provider
from vfsd.digest import short_key
from vfsd.errors import fail


class PathNode(Node):
    """A node that knows its place; `parent` is None for the root and for removed files."""

    __slots__ = ("__weakref__", "name", "parent")

    def __init__(self, number: int, parent: PathNode | None, name: bytes) -> None:
        super().__init__(number)
        self.parent = parent
        self.name = name


class PathProvider(Provider):
    """Subclass with `stat`, `readdir_path` and `open_path`; override the rest to be writable.

    The methods that end in `_path` raise `OSError` as the method of `Provider` without the
    ending does.
    """

    def __init__(self) -> None:
        super().__init__()
        self._root = PathNode(ROOT_NUMBER, None, b"")
        self._by_place: WeakValueDictionary[tuple[int, bytes], PathNode] = WeakValueDictionary()
        self._by_number: WeakValueDictionary[int, PathNode] = WeakValueDictionary()

    # -- what a subclass gives --------------------------------------------------------------

    @abstractmethod
    async def stat(self, path: bytes) -> Stat:
        """Return the attributes of `path` (`lstat`). ENOENT, ENOTDIR."""

    @abstractmethod
    async def readdir_path(self, path: bytes) -> Sequence[bytes]:
        """Return all names in the directory. ENOENT, ENOTDIR."""

    @abstractmethod
    async def open_path(self, path: bytes, flags: int, caller: Caller) -> Handle:
        """Open the regular file `path`. ENOENT, EISDIR, EROFS."""

    async def readlink_path(self, path: bytes) -> bytes:
        """Return the target of the symlink `path`. EINVAL."""
        raise fail(errno.EINVAL, path)

    async def setattr_path(self, path: bytes, changes: SetAttr, caller: Caller) -> Stat:
        """Change attributes and return all of them."""
        raise fail(errno.EROFS, path)

    async def create_path(self, path: bytes, mode: int, flags: int, caller: Caller) -> Handle:
        """Make the regular file `path` and open it; it does not exist when called."""
        raise fail(errno.EROFS, path)

    async def mkdir_path(self, path: bytes, mode: int, caller: Caller) -> None:
        """Make the directory `path`."""
        raise fail(errno.EROFS, path)

    async def symlink_path(self, path: bytes, target: bytes, caller: Caller) -> None:
        """Make the symlink `path`."""
        raise fail(errno.EROFS, path)

    async def unlink_path(self, path: bytes) -> None:
        """Remove what is not a directory."""
        raise fail(errno.EROFS, path)

    async def rmdir_path(self, path: bytes) -> None:
        """Remove an empty directory."""
        raise fail(errno.EROFS, path)

    async def rename_path(self, path: bytes, new_path: bytes, flags: int) -> None:
        """Rename, replacing what `rename(2)` allows."""
        raise fail(errno.EROFS, path)

    async def getxattr_path(self, path: bytes, name: bytes) -> bytes:
        """Return an extended attribute's value. ENODATA."""
        raise fail(errno.EOPNOTSUPP, path)

    async def listxattr_path(self, path: bytes) -> Sequence[bytes]:
        """Return the names of all extended attributes."""
        return ()

    # -- nodes and paths ------------------------------------------------------------------

    @property
    def root(self) -> Node:
        return self._root

    def path_of(self, node: Node) -> bytes:
        """Return the node's present path; ESTALE if its file was removed."""
        assert isinstance(node, PathNode)
        parts: list[bytes] = []
        while node is not self._root:
            if node.parent is None:
                raise fail(errno.ESTALE)
            parts.append(node.name)
            node = node.parent
        return b"/".join(reversed(parts))

    def _join(self, parent: Node, name: bytes) -> bytes:
        path = self.path_of(parent)
        return path + b"/" + name if path else name

    def _node_at(self, parent: Node, name: bytes) -> PathNode:
        node = self._by_place.get((parent.number, name))
        if node is None:
            assert isinstance(parent, PathNode)
            number = short_key(self._join(parent, name)) % NUMBER_LIMIT
            while number <= ROOT_NUMBER or number in self._by_number:
                number = (number + 1) % NUMBER_LIMIT
            node = PathNode(number, parent, name)
            self._by_place[parent.number, name] = node
            self._by_number[number] = node
        return node

    def _drop(self, parent: Node, name: bytes) -> PathNode | None:
        node = self._by_place.pop((parent.number, name), None)
        if node is not None:
            node.parent = None
        return node

    def _place(self, node: PathNode, parent: Node, name: bytes) -> None:
        assert isinstance(parent, PathNode)
        node.parent, node.name = parent, name
        self._by_place[parent.number, name] = node

    # -- the contract, by paths -----------------------------------------------------------

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        try:
            attributes = await self.stat(self._join(parent, name))
        except FileNotFoundError:
            self._drop(parent, name)
            raise
        return Entry(self._node_at(parent, name), attributes)

    async def getattr(self, node: Node) -> Stat:
        return await self.stat(self.path_of(node))

    async def readdir(self, node: Node) -> Sequence[bytes]:
        return await self.readdir_path(self.path_of(node))

    async def readlink(self, node: Node) -> bytes:
        return await self.readlink_path(self.path_of(node))

    async def open(self, node: Node, flags: int, caller: Caller) -> Handle:
        return await self.open_path(self.path_of(node), flags, caller)

    async def statfs(self) -> StatFs:
        """Return zeros: there is no room to speak of unless a subclass knows better."""
        return StatFs(4096, 0, 0, 0, 0, 0)

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        return await self.getxattr_path(self.path_of(node), name)

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        return await self.listxattr_path(self.path_of(node))

    async def setattr(self, node: Node, changes: SetAttr, caller: Caller) -> Stat:
        return await self.setattr_path(self.path_of(node), changes, caller)

    async def create(
        self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Entry, Handle]:
        handle = await self.create_path(self._join(parent, name), mode, flags, caller)
        return await self.lookup(parent, name), handle

    async def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> Entry:
        if not stat_module.S_ISREG(mode):
            raise fail(errno.EPERM, name)
        entry, handle = await self.create(parent, name, mode & 0o7777, 0, caller)
        await handle.release()
        return entry

    async def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        await self.mkdir_path(self._join(parent, name), mode, caller)
        return await self.lookup(parent, name)

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        await self.symlink_path(self._join(parent, name), target, caller)
        return await self.lookup(parent, name)

    async def unlink(self, parent: Node, name: bytes) -> None:
        await self.unlink_path(self._join(parent, name))
        self._drop(parent, name)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        await self.rmdir_path(self._join(parent, name))
        self._drop(parent, name)

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        await self.rename_path(self._join(parent, name), self._join(new_parent, new_name), flags)
        moved = self._drop(parent, name)
        replaced = self._drop(new_parent, new_name)
        if moved is not None:
            self._place(moved, new_parent, new_name)
        if flags & 2 and replaced is not None:  # RENAME_EXCHANGE: the other one moved as well
            self._place(replaced, parent, name)
