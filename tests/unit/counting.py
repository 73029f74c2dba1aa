"""A small provider for tests of the tree: directories and symlinks only, all in dicts."""

import errno
import stat
from collections.abc import Sequence

from vfsd.attributes import Caller, Stat, StatFs
from vfsd.errors import fail
from vfsd.provider import Entry, Handle, Node, Provider, Traits


class Directory(Node):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.entries: dict[bytes, Node] = {}


class Link(Node):
    def __init__(self, number: int, target: bytes) -> None:
        super().__init__(number)
        self.target = target


class CountingProvider(Provider):
    def __init__(self, *, writable: bool = True) -> None:
        super().__init__()
        self._root = Directory(1)
        self._count = 1
        self.writable = writable
        self.room = 1000
        self.closed = False

    @property
    def traits(self) -> Traits:
        return Traits(writable=self.writable, watch=True)

    @property
    def root(self) -> Directory:
        return self._root

    def _entry(self, node: Node) -> Entry:
        kind = stat.S_IFDIR if isinstance(node, Directory) else stat.S_IFLNK
        return Entry(node, Stat(kind | 0o755, 1, 0, 0, 0, 0, 0, 0, 0, 0))

    def _take(self) -> int:
        self._count += 1
        return self._count

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        if not isinstance(parent, Directory):
            raise fail(errno.ENOTDIR, name)
        if name not in parent.entries:
            raise fail(errno.ENOENT, name)
        return self._entry(parent.entries[name])

    async def getattr(self, node: Node) -> Stat:
        return self._entry(node).stat

    async def readdir(self, node: Node) -> Sequence[bytes]:
        assert isinstance(node, Directory)
        return list(node.entries)

    async def readlink(self, node: Node) -> bytes:
        assert isinstance(node, Link)
        return node.target

    async def open(self, node: Node, flags: int, caller: Caller) -> Handle:
        raise fail(errno.EISDIR)

    async def statfs(self) -> StatFs:
        return StatFs(4096, 0, 0, 0, 0, 0)

    async def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        assert isinstance(parent, Directory)
        if not self.writable:
            raise fail(errno.EROFS)
        if not self.room:
            raise fail(errno.ENOSPC)
        self.room -= 1
        if name in parent.entries:
            raise fail(errno.EEXIST, name)
        parent.entries[name] = node = Directory(self._take())
        return self._entry(node)

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        assert isinstance(parent, Directory)
        parent.entries[name] = node = Link(self._take(), target)
        return self._entry(node)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        assert isinstance(parent, Directory)
        del parent.entries[name]

    async def aclose(self) -> None:
        self.closed = True
