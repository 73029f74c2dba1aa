"""The verb remove_tree: a file, or a directory with all below it.

Concurrency: what others make in the tree meanwhile is removed as far as it is seen; a
directory that is not empty at its end is ENOTEMPTY. What was removed before an error stays so.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Iterator
from dataclasses import dataclass

import trio

from vfsd.contract import Node
from vfsd.control.pathverbs import RemoveTree
from vfsd.control.work import CHECKPOINT_EVERY, Work
from vfsd.tree import Attachment, Place

TELL_EVERY = 1024
"""Removed files after which the kernel's caches are settled and progress is told."""


@dataclass(slots=True)
class _Level:
    parent: Node
    name: bytes
    node: Node
    names: Iterator[bytes]


async def remove_tree(work: Work, verb: RemoveTree) -> object:
    """Return how many files and directories were removed. EBUSY if an attach point is below."""
    parent, name = await work.tree.resolve_parent(verb.path)
    # A name is pinned if an attach point stands anywhere below it, so one check is enough.
    parent.attachment.check_unpinned(parent.node, name)
    return await _Removal(work, parent.attachment).run(parent.node, name)


class _Removal:
    def __init__(self, work: Work, attachment: Attachment) -> None:
        self._work = work
        self._attachment = attachment
        self._levels: list[_Level] = []
        self._removed = 0

    async def run(self, parent: Node, name: bytes) -> int:
        await self._visit(parent, name)
        while self._levels:
            level = self._levels[-1]
            child = next(level.names, None)
            if child is not None:
                await self._visit(level.node, child)
                continue
            self._levels.pop()
            with self._attachment.leaving((level.parent, level.name)):
                await self._attachment.provider.rmdir(level.parent, level.name)
            await self._told(level.parent, level.name, level.node)
        return self._removed

    async def _visit(self, parent: Node, name: bytes) -> None:
        provider = self._attachment.provider
        try:
            entry = await provider.lookup(parent, name)
            if stat_module.S_ISDIR(entry.stat.mode):
                self._attachment.check_unpinned(parent, name)
                names = iter(await provider.readdir(entry.node))
                self._levels.append(_Level(parent, name, entry.node, names))
                return
            await provider.unlink(parent, name)
        except FileNotFoundError:
            if not self._levels:
                raise
            return  # somebody else removed it: that is what was wanted
        await self._told(parent, name, entry.node)

    async def _told(self, parent: Node, name: bytes, node: Node) -> None:
        self._work.edits.entry(Place(self._attachment, parent), name)
        self._work.edits.attributes(Place(self._attachment, node))
        self._removed += 1
        if self._removed % TELL_EVERY == 0:
            await self._work.edits.settle()
            await self._work.send_part(self._removed)
        elif self._removed % CHECKPOINT_EVERY == 0:
            await trio.lowlevel.checkpoint()
