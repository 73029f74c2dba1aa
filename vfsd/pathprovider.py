"""A provider for authors who think in paths: `stat`, `readdir_path` and `open_path` are enough.

A path is `bytes` relative to the root, without a leading slash; the root is ``b""``. The base
keeps the nodes, one object per file while anyone holds it, and what the contract asks of any
provider: EROFS first when not writable, EEXIST, the numbers, files that are open without a name.

**Numbers** are derived from the directory's number and the name, so that they are the same at
the next start. A file keeps its number through renames; that of an unheld one is remembered for
the last `EXCEPTIONS_LIMIT` that differ from the derived one.

**Files without a name** answer `getattr` through an open handle, and `setattr` and `open` where
the subclass says how (`setattr_unlinked`, `open_unlinked`); they are ESTALE once nothing is
open. That a door still keeps a node (`kept`) changes nothing: to open each file before its last
name goes, in case somebody opens it afterwards, would cost every unlink an open and a release.

What it is *not*: a cache. Each call reaches the subclass. Hard links are not for path
providers, since two paths are two files here.

Concurrency: the node table changes between awaits only. What makes or removes a name holds that
name, so that the look whether it exists and the change are one step for all doors; renames come
one after the other, and who found nothing while one ran looks again. A call may still reach the
file that took a path after the call began, as with any path.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

import trio

from vfsd.attributes import Caller, SetAttr, Stat, StatFs
from vfsd.contract import ROOT_NUMBER, Entry, Handle, Node
from vfsd.errors import fail
from vfsd.pathfiles import PathFiles
from vfsd.pathnodes import Numbers, OpenFile, PathNode, Place

WRITING = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
EXCHANGE = 2

T = TypeVar("T")


class PathProvider(PathFiles):
    """Subclass with `stat`, `readdir_path` and `open_path`; override the rest to be writable.

    What to write and what it raises stands in `PathFiles`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._root = PathNode(ROOT_NUMBER, None, b"")
        self._by_place: WeakValueDictionary[Place, PathNode] = WeakValueDictionary()
        self._numbers = Numbers()
        self._claims: WeakValueDictionary[Place, trio.Lock] = WeakValueDictionary()
        self._renaming = trio.Lock()
        self._renames = 0

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
        place = parent.number, name
        node = self._by_place.get(place)
        if node is None:
            assert isinstance(parent, PathNode)
            node = PathNode(self._numbers.find(place), parent, name)
            self._by_place[place] = node
            self._numbers.held[node.number] = node
        return node

    def _drop(self, place: Place) -> None:
        """The file left `place`, and has no other."""
        self._numbers.drop(place)
        node = self._by_place.pop(place, None)
        if node is not None:
            node.parent = None

    async def _reach(self, node: Node, act: Callable[[bytes], Awaitable[T]]) -> T:
        """Return `act` of the node's path; ESTALE if there is nothing."""
        while True:
            seen = self._renames
            path = self.path_of(node)
            try:
                return await act(path)
            except FileNotFoundError:
                if await self._renamed_since(seen):
                    continue
                assert isinstance(node, PathNode)
                if node.parent is not None:
                    place = node.parent.number, node.name
                    if self._by_place.get(place) is node:
                        self._drop(place)
                raise fail(errno.ESTALE, path) from None

    async def _renamed_since(self, seen: int) -> bool:
        """Once no rename runs, say whether one did since `_renames` was `seen`."""
        if self._renaming.locked():
            async with self._renaming:
                return True
        return self._renames != seen

    # -- the contract, by paths: looking --------------------------------------------------

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        place = parent.number, name
        while True:
            seen, known = self._renames, self._by_place.get(place)
            try:
                attributes = await self.stat(self._join(parent, name))
            except FileNotFoundError:
                if await self._renamed_since(seen):
                    continue
                # Not what was made there meanwhile.
                if self._by_place.get(place) is known:
                    self._drop(place)
                raise
            return Entry(self._node_at(parent, name), attributes)

    async def getattr(self, node: Node) -> Stat:
        try:
            return await self._reach(node, self.stat)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        assert isinstance(node, PathNode)
        with node.borrowed() as handle:
            return await handle.getattr()

    async def readdir(self, node: Node) -> Sequence[bytes]:
        return await self._reach(node, self.readdir_path)

    async def readlink(self, node: Node) -> bytes:
        return await self._reach(node, self.readlink_path)

    async def open(self, node: Node, flags: int, caller: Caller) -> Handle:
        if flags & WRITING:
            self._check_writable()
        assert isinstance(node, PathNode)
        try:
            handle = await self._reach(node, lambda path: self.open_path(path, flags, caller))
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            with node.borrowed() as other:
                handle = await self.open_unlinked(other, flags, caller)
        return OpenFile(handle, node, flags)

    async def statfs(self) -> StatFs:
        """Return zeros: there is no room to speak of unless a subclass knows better."""
        return StatFs(4096, 0, 0, 0, 0, 0)

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        if not self.traits.xattrs:
            raise fail(errno.EOPNOTSUPP)
        return await self._reach(node, lambda path: self.getxattr_path(path, name))

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        if not self.traits.xattrs:
            return ()
        return await self._reach(node, self.listxattr_path)

    # -- the contract, by paths: changing -------------------------------------------------

    def _check_writable(self, name: bytes | None = None) -> None:
        if not self.traits.writable:
            raise fail(errno.EROFS, name)

    @asynccontextmanager
    async def _claimed(self, *places: Place) -> AsyncIterator[None]:
        """Hold the names: nobody else makes or removes them. EROFS if not writable."""
        self._check_writable(places[0][1])
        held: list[trio.Lock] = []
        try:
            for place in sorted(set(places)):
                lock = self._claims.get(place)
                if lock is None:
                    lock = self._claims[place] = trio.Lock()
                await _acquire(lock)
                held.append(lock)
            yield
        finally:
            for lock in held:
                lock.release()

    def _changing(self, parent: Node, name: bytes) -> bytes:
        """Return the path of a name that is about to change. ENOENT if `parent` was removed."""
        try:
            return self._join(parent, name)
        except OSError:
            raise fail(errno.ENOENT, name) from None

    async def _find(self, parent: Node, name: bytes) -> Entry | None:
        """Return what has the claimed `name`, if anything. ENOENT if `parent` was removed."""
        self._changing(parent, name)
        try:
            return await self.lookup(parent, name)
        except FileNotFoundError:
            return None

    @asynccontextmanager
    async def _making(self, parent: Node, name: bytes) -> AsyncIterator[bytes]:
        """Hold `name`, which is free, and give its path. EEXIST."""
        async with self._claimed((parent.number, name)):
            if await self._find(parent, name) is not None:
                raise fail(errno.EEXIST, name)
            yield self._changing(parent, name)

    async def setattr(self, node: Node, changes: SetAttr, caller: Caller) -> Stat:
        self._check_writable()
        try:
            return await self._reach(node, lambda path: self.setattr_path(path, changes, caller))
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        assert isinstance(node, PathNode)
        with node.borrowed() as handle:
            return await self.setattr_unlinked(handle, changes, caller)

    async def create(
        self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Entry, Handle]:
        async with self._claimed((parent.number, name)):
            found = await self._find(parent, name)
            if found is not None:
                node = found.node
                handle = await self._open_found(found, name, flags, caller)
            else:
                path = self._changing(parent, name)
                inner = await self.create_path(path, mode, flags, caller)
                node = self._node_at(parent, name)
                handle = OpenFile(inner, node, flags)
            try:
                return Entry(node, await handle.getattr()), handle
            except BaseException:
                await _release(handle)
                raise

    async def _open_found(self, found: Entry, name: bytes, flags: int, caller: Caller) -> Handle:
        """Open what was to be made and exists already."""
        if flags & os.O_EXCL:
            raise fail(errno.EEXIST, name)
        if stat_module.S_ISDIR(found.stat.mode):
            raise fail(errno.EISDIR, name)
        if stat_module.S_ISLNK(found.stat.mode):
            # Never followed: doors resolve links, and a subclass might follow it out of its tree.
            raise fail(errno.ELOOP, name)
        return await self.open(found.node, flags & ~os.O_CREAT, caller)

    async def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> Entry:
        if not stat_module.S_ISREG(mode):
            async with self._making(parent, name):
                raise fail(errno.EPERM, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        entry, handle = await self.create(parent, name, mode & 0o7777, flags, caller)
        await _release(handle)
        return entry

    async def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        async with self._making(parent, name) as path:
            await self.mkdir_path(path, mode, caller)
            return await self.lookup(parent, name)

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        async with self._making(parent, name) as path:
            await self.symlink_path(path, target, caller)
            return await self.lookup(parent, name)

    async def link(self, node: Node, parent: Node, name: bytes) -> Entry:
        self._check_writable(name)
        raise fail(errno.EPERM, name)

    async def unlink(self, parent: Node, name: bytes) -> None:
        async with self._claimed((parent.number, name)):
            await self.unlink_path(self._changing(parent, name))
            self._drop((parent.number, name))

    async def rmdir(self, parent: Node, name: bytes) -> None:
        async with self._claimed((parent.number, name)):
            await self.rmdir_path(self._changing(parent, name))
            self._drop((parent.number, name))

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        old, new = (parent.number, name), (new_parent.number, new_name)
        async with self._claimed(old, new):
            # After the names: whoever holds this waits for nothing that is held here.
            await _acquire(self._renaming)
            try:
                path, new_path = self._changing(parent, name), self._changing(new_parent, new_name)
                await self.rename_path(path, new_path, flags)
                if old != new:
                    self._move(old, new, parent, new_parent, exchange=bool(flags & EXCHANGE))
            finally:
                self._renames += 1
                self._renaming.release()

    def _move(
        self, old: Place, new: Place, parent: Node, new_parent: Node, *, exchange: bool
    ) -> None:
        """Let nodes and numbers follow a rename that happened."""
        moved, replaced = self._leave(old), self._leave(new)
        self._arrive(new, new_parent, *moved)
        if exchange:
            self._arrive(old, parent, *replaced)

    def _leave(self, place: Place) -> tuple[PathNode | None, int]:
        node = self._by_place.get(place)
        number = self._numbers.find(place) if node is None else node.number
        self._drop(place)
        return node, number

    def _arrive(self, place: Place, parent: Node, node: PathNode | None, number: int) -> None:
        self._numbers.note(place, number)
        if node is not None:
            assert isinstance(parent, PathNode)
            node.parent, node.name = parent, place[1]
            self._by_place[place] = node

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        self._check_xattrs_writable()
        await self._reach(node, lambda path: self.setxattr_path(path, name, value))

    async def removexattr(self, node: Node, name: bytes) -> None:
        self._check_xattrs_writable()
        await self._reach(node, lambda path: self.removexattr_path(path, name))

    def _check_xattrs_writable(self) -> None:
        self._check_writable()
        if not self.traits.xattrs:
            raise fail(errno.EOPNOTSUPP)


async def _acquire(lock: trio.Lock) -> None:
    """Take the lock, without a trip through the scheduler when nobody has it."""
    try:
        lock.acquire_nowait()
    except trio.WouldBlock:
        await lock.acquire()


async def _release(handle: Handle) -> None:
    with trio.CancelScope(shield=True):
        await handle.release()
