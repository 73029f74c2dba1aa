"""An archive as a `TreeView`: how a packed layer is read without being unpacked.

Marks of a layer show, as in a directory that holds one.

What it is *not*: the archive (vfsd/archive/reader.py), which also checks what is read: damage is
`vfsd.archive.damage.Damage`, where it is found.

Concurrency: blocking calls, one thread at a time.
"""

from __future__ import annotations

import errno
import io
import os
import stat as stat_module
from collections.abc import Mapping
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from vfsd.archive.layout import ROOT_NODE, Inode
from vfsd.archive.reader import Archive, stat_of
from vfsd.archive.tree import ArchiveTree, Readable
from vfsd.errors import fail
from vfsd.snapshots.view import Item

DIRECTORIES_MAX = 4096
"""Directories whose place is remembered; others are walked to again."""


class _Node(NamedTuple):
    number: int
    inode: Inode


class PackedView:
    """See the module. `close` closes the archive; also a context manager."""

    def __init__(self, archive: ArchiveTree, source: object = None) -> None:
        """Show `archive`, which is the view's from then on.

        `source`, where not None, names it: views of the same one share every file's `source`.
        """
        self._archive = archive
        self._key = object()
        self._source = source
        self._directories: dict[bytes, _Node] = {}
        self._scanned: tuple[bytes | None, dict[bytes, _Node]] = None, {}
        """The directory that was scanned last: who lists one goes on to its files."""

    @classmethod
    def at(cls, path: str | bytes | os.PathLike[str], source: object = None) -> Self:
        """Open the archive at `path`. OSError, UserError, Damage."""
        return cls(Archive.open(path), source)

    def close(self) -> None:
        """Close the archive; once."""
        self._archive.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def item(self, path: bytes) -> Item:
        """Return the file at `path` (`lstat`). ENOENT, ENOTDIR."""
        return self._item(self._find(path))

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """Return the files in the directory `path`, by name. ENOENT, ENOTDIR."""
        node = self._directory(path)
        found = {}
        nodes = {}
        for name, each in self._archive.scan(node.number, node.inode):
            nodes[name] = below = _Node(each.number, each.inode)
            found[name] = self._item(below)
            if stat_module.S_ISDIR(each.inode.mode):
                self._remember(path + b"/" + name if path else name, below)
        self._scanned = path, nodes
        return found

    def readlink(self, path: bytes) -> bytes:
        """Return the symlink's target, as stored. EINVAL if it is none."""
        inode = self._find(path).inode
        if not stat_module.S_ISLNK(inode.mode):
            raise fail(errno.EINVAL, path)
        return self._archive.target(inode)

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """Return all extended attributes, a layer's marks among them."""
        return self._archive.xattrs(self._find(path).inode)

    def open(self, path: bytes) -> BinaryIO:
        """Open the regular file for reading; the caller closes it. EINVAL for another type."""
        inode = self._find(path).inode
        if not stat_module.S_ISREG(inode.mode):
            raise fail(errno.EINVAL, path)
        return PackedFile(self._archive.content(inode))

    def _find(self, path: bytes) -> _Node:
        if not path:
            return self._directory(b"")
        above, _, name = path.rpartition(b"/")
        scanned, nodes = self._scanned
        if scanned == above and (known := nodes.get(name)) is not None:
            return known
        parent = self._directory(above)
        found = self._archive.lookup(parent.number, parent.inode, name)
        if found is None:
            raise fail(errno.ENOENT, path)
        return _Node(found.number, found.inode)

    def _directory(self, path: bytes) -> _Node:
        known = self._directories.get(path)
        if known is not None:
            return known
        if not path:
            return self._remember(b"", _Node(ROOT_NODE, self._archive.inode(ROOT_NODE)))
        # Up to the nearest one that is known, then down: paths may be very deep.
        names: list[bytes] = []
        above = path
        while above and above not in self._directories:
            above, _, name = above.rpartition(b"/")
            names.append(name)
        node = self._directory(above)
        while names:
            name = names.pop()
            found = self._archive.lookup(node.number, node.inode, name)
            if found is None:
                raise fail(errno.ENOENT, path)
            if not stat_module.S_ISDIR(found.inode.mode):
                raise fail(errno.ENOTDIR, path)
            above = above + b"/" + name if above else name
            node = self._remember(above, _Node(found.number, found.inode))
        return node

    def _remember(self, path: bytes, node: _Node) -> _Node:
        if len(self._directories) >= DIRECTORIES_MAX:
            self._directories.clear()
        self._directories[path] = node
        return node

    def _item(self, node: _Node) -> Item:
        source = None if self._source is None else (self._source, node.number)
        return Item(stat_of(node.inode), (self._key, node.number), source)


class PackedFile(io.BufferedIOBase, BinaryIO):
    """A file of an archive; it can tell its holes."""

    def __init__(self, content: Readable) -> None:
        self._content = content
        self._offset = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._offset

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._content.size}
        self._offset = max(0, origins[whence] + offset)
        return self._offset

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._content.size - self._offset)
        data = bytes(
            self._content.read(self._offset, left if size is None or size < 0 else min(size, left))
        )
        self._offset += len(data)
        return data

    def next_data(self, offset: int) -> int | None:
        """Return the first place from `offset` on that is in no hole, None if all is one."""
        for extent in self._content.extents:
            if offset < extent.offset + extent.length:
                return max(offset, extent.offset)
        return None

    def next_hole(self, offset: int) -> int:
        """Return where the data at `offset` ends."""
        for extent in self._content.extents:
            if extent.offset <= offset < extent.offset + extent.length:
                return extent.offset + extent.length
        return offset
