"""Changes from a journal, done again in a tree that is as it was before them.

A file's times are those of the changes, not of their repetition; only the time of the last change
of attributes (ctime) is that of the start.

What it is *not*: the reading (journal.py).

Concurrency: for one task; nobody else uses the tree yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from vfsd.attributes import Identity, SetAttr
from vfsd.contract import ROOT_NUMBER, Node, Provider
from vfsd.snapshots.refusals import Damaged

ROOT = Identity(0, 0)


class Replaying:
    """Does the changes of one journal again, one by one."""

    def __init__(self, tree: Provider) -> None:
        self._tree = tree
        self._nodes: dict[int, Node] = {ROOT_NUMBER: tree.root}
        self._times_ns: dict[int, int] = {}
        self.count = 0

    async def run(self, changes: Iterable[list[Any]], path: str) -> None:
        """Do `changes` again. Damaged if one of them cannot be done."""
        for change in changes:
            try:
                kind, times, *arguments = change
                await getattr(self, f"_{kind}")(*arguments)
                self._times_ns.update(zip(times[::2], times[1::2], strict=True))
            except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise Damaged(
                    f"change {self.count + 1} in {path} cannot be done again ({error!r}), so it"
                    " does not go with the tree that was stored; nothing was changed"
                ) from error
            self.count += 1
        for number, time_ns in self._times_ns.items():
            try:
                await self._tree.setattr(self._nodes[number], SetAttr(mtime_ns=time_ns), ROOT)
            except OSError:
                continue  # it is gone by now

    async def _at(self, number: int, path: list[bytes]) -> None:
        node = self._tree.root
        for name in path:
            node = (await self._tree.lookup(node, name)).node
        self._nodes[number] = node

    async def _write(self, number: int, offset: int, data: bytes, *who: int) -> None:
        await self._put(number, offset, data, who, os.O_WRONLY)

    async def _append(self, number: int, offset: int, data: bytes, *who: int) -> None:
        await self._put(number, offset, data, who, os.O_WRONLY | os.O_APPEND)

    async def _back(self, number: int, offset: int, data: bytes, *who: int) -> None:
        await self._put(number, offset, data, who, os.O_WRONLY, back=True)

    async def _put(
        self,
        number: int,
        offset: int,
        data: bytes,
        who: tuple[int, ...],
        flags: int,
        *,
        back: bool = False,
    ) -> None:
        handle = await self._tree.open(self._nodes[number], flags, Identity(*who))
        try:
            write = handle.write_back if back else handle.write
            if await write(offset, data) != len(data):
                raise ValueError("a write was shorter than before")
        finally:
            await handle.release()

    async def _empty(self, number: int, *who: int) -> None:
        await self._tree.setattr(self._nodes[number], SetAttr(size=0), Identity(*who))

    async def _set(self, number: int, changes: list[int | None], *who: int) -> None:
        wanted = SetAttr(*changes)
        await self._tree.setattr(self._nodes[number], wanted, Identity(*who))

    async def _create(self, parent: int, name: bytes, mode: int, flags: int, *who: int) -> None:
        *ids, number = who
        directory = self._nodes[parent]
        flags |= os.O_RDWR
        entry, handle = await self._tree.create(directory, name, mode, flags, Identity(*ids))
        await handle.release()
        self._nodes[number] = entry.node

    async def _mknod(self, parent: int, name: bytes, mode: int, rdev: int, *who: int) -> None:
        *ids, number = who
        node = self._nodes[parent]
        entry = await self._tree.mknod(node, name, mode, rdev, Identity(*ids))
        self._nodes[number] = entry.node

    async def _mkdir(self, parent: int, name: bytes, mode: int, *who: int) -> None:
        *ids, number = who
        entry = await self._tree.mkdir(self._nodes[parent], name, mode, Identity(*ids))
        self._nodes[number] = entry.node

    async def _symlink(self, parent: int, name: bytes, target: bytes, *who: int) -> None:
        *ids, number = who
        entry = await self._tree.symlink(self._nodes[parent], name, target, Identity(*ids))
        self._nodes[number] = entry.node

    async def _link(self, number: int, parent: int, name: bytes) -> None:
        await self._tree.link(self._nodes[number], self._nodes[parent], name)

    async def _unlink(self, parent: int, name: bytes) -> None:
        await self._tree.unlink(self._nodes[parent], name)

    async def _rmdir(self, parent: int, name: bytes) -> None:
        await self._tree.rmdir(self._nodes[parent], name)

    async def _rename(
        self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int
    ) -> None:
        source, target = self._nodes[parent], self._nodes[new_parent]
        await self._tree.rename(source, name, target, new_name, flags)

    async def _xattr(self, number: int, name: bytes, value: bytes) -> None:
        await self._tree.setxattr(self._nodes[number], name, value)

    async def _unxattr(self, number: int, name: bytes) -> None:
        await self._tree.removexattr(self._nodes[number], name)
