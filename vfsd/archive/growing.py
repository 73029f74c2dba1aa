"""The tree of an archive in the making: names, what they stand for, and their numbers.

Numbers are given at the end, so that names may come in any order (tar) and what is written
does not depend on it: breadth first, a directory's names in ascending order. So the nodes of
one directory are neighbours, and a directory's number is above its parent's.

Concurrency: for one thread at a time.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import NamedTuple

from vfsd.archive.contentwriter import Placed
from vfsd.archive.layout import NAME_MAX
from vfsd.errors import fail

NOTHING = Placed(0, 0, 0, 0, 0, 0, bytes(16))


class Attributes(NamedTuple):
    """What a writer is told about a file of any type; `mode` is as `st_mode`."""

    mode: int
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    rdev: int = 0


class Grown:
    """A node: `placed` is where its content is (no directory's), `xattrs` which block."""

    __slots__ = ("attributes", "links", "number", "placed", "xattrs")

    def __init__(self, attributes: Attributes, placed: Placed, xattrs: int) -> None:
        self.attributes = attributes
        self.placed = placed
        self.xattrs = xattrs
        self.links = 1
        self.number = 0


class Folder(Grown):
    """A directory; `told` unless it was made only because something stands in it."""

    __slots__ = ("names", "parent", "told")

    def __init__(self, attributes: Attributes, parent: Folder | None, *, told: bool) -> None:
        super().__init__(attributes, NOTHING, 0)
        self.names: dict[bytes, Grown] = {}
        self.parent = parent or self
        self.told = told


class Growing:
    """The tree; paths are relative, the root is ``b""``."""

    def __init__(self, implied: Attributes) -> None:
        """`implied` are the attributes of directories that nobody tells."""
        self._implied = implied
        self.root = Folder(implied, None, told=False)
        self._last: tuple[bytes, Folder] = (b"", self.root)
        self.further: set[tuple[int, bytes]] = set()
        """Names that are further ones of a node, by the number of their directory."""

    def add(self, path: bytes, node: Grown) -> None:
        """Give `node` its name. EEXIST, ENOTDIR, EINVAL or ENAMETOOLONG for a bad one."""
        folder, name = self._place(path)
        if name in folder.names:
            raise fail(errno.EEXIST, path)
        folder.names[name] = node

    def add_folder(self, path: bytes, attributes: Attributes, xattrs: int) -> None:
        """Make a directory, or tell the attributes of one that something stands in already."""
        folder = self._folder(path)
        if folder.told:
            raise fail(errno.EEXIST, path)
        folder.told = True
        folder.attributes = attributes
        folder.xattrs = xattrs

    def find(self, path: bytes) -> Grown:
        """Return what has that name. ENOENT."""
        node: Grown = self.root
        for name in path.split(b"/") if path else ():
            if not isinstance(node, Folder) or name not in node.names:
                raise fail(errno.ENOENT, path)
            node = node.names[name]
        return node

    def number(self) -> Iterator[Grown]:
        """Give every node its number and yield them in that order."""
        folders, count = [self.root], 1
        self.root.number = 1
        self.root.links = 2
        yield self.root
        for folder in folders:
            for name in sorted(folder.names):
                node = folder.names[name]
                if node.number:
                    self.further.add((folder.number, name))
                    continue
                count += 1
                node.number = count
                if isinstance(node, Folder):
                    folders.append(node)
                    node.links = 2
                    folder.links += 1
                yield node

    def _place(self, path: bytes) -> tuple[Folder, bytes]:
        directory, slash, name = path.rpartition(b"/")
        _check(name, path)
        if slash and not directory:
            raise fail(errno.EINVAL, path)
        return self._folder(directory), name

    def _folder(self, path: bytes) -> Folder:
        if self._last[0] == path:
            return self._last[1]
        folder = self.root
        for name in path.split(b"/") if path else ():
            inner = folder.names.get(name)
            if inner is None:
                _check(name, path)
                inner = folder.names[name] = Folder(self._implied, folder, told=False)
            if not isinstance(inner, Folder):
                raise fail(errno.ENOTDIR, path)
            folder = inner
        self._last = path, folder
        return folder


def _check(name: bytes, path: bytes) -> None:
    if not name or name in (b".", b"..") or b"\0" in name:
        raise fail(errno.EINVAL, path)
    if len(name) > NAME_MAX:
        raise fail(errno.ENAMETOOLONG, path)
