"""The archive provider: the contract on a file that vfsd/archive reads.

Everything is as the archive says: symlinks as stored, owners, times (an archive keeps one, which
is shown as all three). A node's number is its number in the archive.

What it is *not*: the format (vfsd/archive), or what keeps it from blocking (access.py).

Concurrency: most calls are answered in one step, from the page cache; see access.py.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Self

import trio

from providers.archive.access import EXPECTED, Access
from providers.archive.handle import ArchiveHandle
from providers.archive.options import Options, parse_options
from vfsd.archive.damage import Damage
from vfsd.archive.layout import DIRECTORY, REGULAR, SYMLINK, Inode
from vfsd.archive.opened import is_archive, open_tree
from vfsd.archive.reader import stat_of
from vfsd.archive.tree import ArchiveTree
from vfsd.errors import UserError, fail
from vfsd.exitcodes import ExitCode
from vfsd.provider import (
    ROOT_NUMBER,
    Caller,
    Entry,
    Node,
    Provider,
    Stat,
    StatFs,
    Traits,
)

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
BLOCK = 4096

_TRAITS = Traits(
    writable=False, immutable=True, watch=True, hard_links=True, xattrs=True, may_block=True
)


class ArchiveNode(Node):
    """A node with its record, so that looking at it again costs nothing."""

    __slots__ = ("inode",)

    def __init__(self, number: int, inode: Inode) -> None:
        self.number = number
        self.inode = inode


class ArchiveProvider(Provider):
    """See the module; make one with `from_options`."""

    def __init__(self, source: str, tree: ArchiveTree, options: Options) -> None:
        """Serve `tree`, which `aclose` closes; `source` names it. Damage."""
        super().__init__()
        self._source = source
        self._tree = tree
        self._access = Access(tree, source)
        self._owner = options.owner
        self._root = ArchiveNode(ROOT_NUMBER, tree.inode(ROOT_NUMBER))
        self._lookup = tree.lookup

    @classmethod
    def recognises(cls, source: str) -> bool:
        return is_archive(source)

    @classmethod
    async def from_options(cls, source: str | None, options: Mapping[str, str]) -> Self:
        """Serve the archive `source`; the only option is owner=."""
        if not source:
            raise UserError(
                "the archive provider needs a file; give its path, or archive:FILE",
                ExitCode.USAGE,
            )
        parsed = parse_options(options)
        return await trio.to_thread.run_sync(cls._opened, source, parsed)

    @classmethod
    def _opened(cls, source: str, options: Options) -> Self:
        tree = open_tree(source)
        try:
            made = cls(source, tree, options)
            tree.hurry()
            return made
        except Damage as damage:
            tree.close()
            raise damage.user_error(source) from damage
        except BaseException:
            tree.close()
            raise

    @property
    def traits(self) -> Traits:
        return _TRAITS

    @property
    def root(self) -> ArchiveNode:
        return self._root

    def describe(self) -> str:
        return f"archive {self._source}"

    def statistics(self) -> Mapping[str, int | float | str]:
        self._access.note_replaced()
        return {
            **self._tree.statistics(),
            "disk_waits": self._access.waits,
            "damaged_reads": self._access.damaged,
        }

    async def aclose(self) -> None:
        self._tree.close()

    # -- looking --------------------------------------------------------------------------

    def _stat(self, inode: Inode) -> Stat:
        if self._owner is not None:
            inode = inode._replace(uid=self._owner[0], gid=self._owner[1])
        return stat_of(inode)

    def _entry(self, parent: ArchiveNode, name: bytes) -> Entry | None:
        found = self._lookup(parent.number, parent.inode, name)
        if found is None:
            return None
        return Entry(ArchiveNode(*found), self._stat(found.inode))

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        directory = _directory(parent)
        try:
            entry = self._entry(directory, name)
        except EXPECTED as error:
            entry = await self._access.again(error, lambda: self._entry(directory, name))
        if entry is None:
            raise fail(errno.ENOENT, name)
        return entry

    async def lookup_many(self, parent: Node, names: Sequence[bytes]) -> list[Entry | None]:
        directory = _directory(parent)
        entries: list[Entry | None] = []
        for name in names:
            try:
                entries.append(self._entry(directory, name))
            except EXPECTED as error:
                entries.append(await self._look_again(error, directory, name))
        return entries

    async def _look_again(
        self, error: Exception, directory: ArchiveNode, name: bytes
    ) -> Entry | None:
        return await self._access.again(error, lambda: self._entry(directory, name))

    async def getattr(self, node: Node) -> Stat:
        assert isinstance(node, ArchiveNode)
        return self._stat(node.inode)

    async def readdir(self, node: Node) -> Sequence[bytes]:
        directory = _directory(node)
        self._access.note_replaced()
        return await self._access.run(lambda: self._tree.names(directory.number, directory.inode))

    async def readlink(self, node: Node) -> bytes:
        assert isinstance(node, ArchiveNode)
        if node.inode.kind != SYMLINK:
            raise fail(errno.EINVAL)
        return await self._access.run(lambda: self._tree.target(node.inode))

    async def open(self, node: Node, flags: int, caller: Caller) -> ArchiveHandle:
        assert isinstance(node, ArchiveNode)
        inode = node.inode
        if flags & WRITE_FLAGS:
            raise fail(errno.EROFS)
        if inode.kind != REGULAR:
            codes = {DIRECTORY: errno.EISDIR, SYMLINK: errno.ELOOP}
            raise fail(codes.get(inode.kind, errno.ENXIO))
        try:
            content = self._tree.content(inode)
        except EXPECTED as error:
            content = await self._access.again(error, lambda: self._tree.content(inode))
        return ArchiveHandle(self._access, content, self._stat(inode))

    async def statfs(self) -> StatFs:
        blocks = -(-self._tree.length // BLOCK)
        return StatFs(BLOCK, blocks, 0, 0, self._tree.count, 0)

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        assert isinstance(node, ArchiveNode)
        if not node.inode.xattrs:
            raise fail(errno.ENODATA)
        xattrs = await self._access.run(lambda: self._tree.xattrs(node.inode))
        if name not in xattrs:
            raise fail(errno.ENODATA)
        return xattrs[name]

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        assert isinstance(node, ArchiveNode)
        return list(await self._access.run(lambda: self._tree.xattrs(node.inode)))

    async def explain(self, node: Node) -> Mapping[str, bytes]:
        """Return the digest of a file's content, as the archive stores it."""
        assert isinstance(node, ArchiveNode)
        inode = node.inode
        if inode.kind != REGULAR or not any(inode.digest):
            return {}
        return {"digest": b"xxh3-128:" + inode.digest.hex().encode()}

    # -- changing -------------------------------------------------------------------------

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        raise fail(errno.EROFS)

    async def removexattr(self, node: Node, name: bytes) -> None:
        raise fail(errno.EROFS)


def _directory(node: Node) -> ArchiveNode:
    assert isinstance(node, ArchiveNode)
    if node.inode[0] & 0o170000 != DIRECTORY:
        raise fail(errno.ENOTDIR)
    return node
