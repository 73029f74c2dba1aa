"""A stored tree, read back into an empty one in memory.

A thread reads the store; the event loop, where the tree lives, takes what it read in batches.

What it is *not*: an overlay over stored layers, which begins at once and reads later
(assembly.open_stored); a tree in memory has its quota and its speed because it is in memory.

Concurrency: `load` is for the event loop, everything named `_read…` for its thread.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Hashable, Iterator
from typing import NamedTuple

import trio

from vfsd.archive.writer import Hole
from vfsd.attributes import Identity, SetAttr, Stat
from vfsd.contract import Node, Provider
from vfsd.snapshots.packing import pieces
from vfsd.snapshots.view import TreeView

BATCH_BYTES = 1 << 21
BATCH_FILES = 512
ROOT = Identity(0, 0)

Piece = tuple[int, bytes]
"""Data, and where in its file it stands."""


class Loaded(NamedTuple):
    """A file, or a further part of one."""

    path: bytes
    stat: Stat
    first: bytes | None = None
    """The path of the file that this is one more name of."""
    target: bytes = b""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    data: tuple[Piece, ...] = ()
    is_more: bool = False


async def load(view: TreeView, tree: Provider) -> int:
    """Make all that `view` shows in the empty `tree`; return how many files. ENOSPC, Damaged."""
    filling = _Filling(tree)

    def read() -> None:
        batch: list[Loaded] = []
        size_bytes = 0
        for each in _read_all(view):
            batch.append(each)
            size_bytes += sum(len(data) for _, data in each.data)
            if size_bytes >= BATCH_BYTES or len(batch) >= BATCH_FILES:
                trio.from_thread.run(filling.fill, batch)
                batch, size_bytes = [], 0
        trio.from_thread.run(filling.fill, batch)

    await trio.to_thread.run_sync(read)
    await filling.finish()
    return filling.count


def _read_all(view: TreeView) -> Iterator[Loaded]:
    root = view.item(b"")
    yield Loaded(b"", root.stat, xattrs=tuple(view.xattrs(b"").items()))
    known: dict[Hashable, bytes] = {}
    waiting = [b""]
    while waiting:
        above = waiting.pop()
        for name, item in sorted(view.scan(above).items()):
            path = above + b"/" + name if above else name
            stat = item.stat
            if stat_module.S_ISDIR(stat.mode):
                waiting.append(path)
            elif stat.nlink > 1 and known.setdefault(item.identity, path) != path:
                yield Loaded(path, stat, first=known[item.identity])
                continue
            target = view.readlink(path) if stat_module.S_ISLNK(stat.mode) else b""
            yield Loaded(path, stat, target=target, xattrs=tuple(view.xattrs(path).items()))
            if stat_module.S_ISREG(stat.mode):
                yield from _read_data(view, path, stat)


def _read_data(view: TreeView, path: bytes, stat: Stat) -> Iterator[Loaded]:
    offset = 0
    with view.open(path) as file:
        for piece in pieces(file, stat):
            if isinstance(piece, Hole):
                offset += piece.length
                continue
            yield Loaded(path, stat, data=((offset, bytes(piece)),), is_more=True)
            offset += len(piece)


class _Filling:
    """Makes files; in the event loop."""

    def __init__(self, tree: Provider) -> None:
        self._tree = tree
        self._directories: dict[bytes, Node] = {b"": tree.root}
        self._times: list[tuple[Node, Stat]] = []
        self._linked: dict[bytes, Node] = {}
        self._last = b""
        self._node = tree.root
        self.count = 0

    async def fill(self, batch: list[Loaded]) -> None:
        """Make the files of a batch, in its order."""
        for each in batch:
            if each.is_more:
                await self._write(each)
            else:
                await self._make(each)
                self.count += 1

    async def finish(self) -> None:
        """Set the times that the filling has changed."""
        for node, stat in reversed(self._times):
            times = SetAttr(atime_ns=stat.atime_ns, mtime_ns=stat.mtime_ns)
            await self._tree.setattr(node, times, ROOT)

    async def _make(self, file: Loaded) -> None:
        above, _, name = file.path.rpartition(b"/")
        parent, stat = self._directories[above], file.stat
        caller = Identity(stat.uid, stat.gid)
        mode = stat.mode & 0o7777
        if file.first is not None:
            await self._tree.link(self._linked[file.first], parent, name)
            return
        if not file.path:
            node = self._tree.root
        elif stat_module.S_ISDIR(stat.mode):
            node = (await self._tree.mkdir(parent, name, mode, caller)).node
            self._directories[file.path] = node
        elif stat_module.S_ISLNK(stat.mode):
            node = (await self._tree.symlink(parent, name, file.target, caller)).node
        else:
            node = (await self._tree.mknod(parent, name, stat.mode, stat.rdev, caller)).node
        if stat.nlink > 1 and not stat_module.S_ISDIR(stat.mode):
            self._linked[file.path] = node
        for key, value in file.xattrs:
            await self._tree.setxattr(node, key, value)
        # By root and in full: what a setgid directory gives its files is not what they had.
        owned = SetAttr(uid=stat.uid, gid=stat.gid)
        await self._tree.setattr(node, owned, ROOT)
        if stat_module.S_ISREG(stat.mode):
            await self._tree.setattr(node, SetAttr(mode=mode, size=stat.size), ROOT)
        elif not stat_module.S_ISLNK(stat.mode):
            await self._tree.setattr(node, SetAttr(mode=mode), ROOT)
        self._node = node
        self._times.append((node, stat))

    async def _write(self, file: Loaded) -> None:
        handle = await self._tree.open(self._node, os.O_WRONLY, ROOT)
        try:
            for offset, data in file.data:
                done = 0
                while done < len(data):
                    done += await handle.write_back(offset + done, data[done:])
        finally:
            await handle.release()
