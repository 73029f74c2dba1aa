"""A provider whose every change is noted, so that it can be done again after a crash.

The change is made first and noted in the same step, so the journal has the order in which the
changes were made. A provider that suspends while it changes something gets one change at a time.

What it is *not*: what becomes of the notes (notes.py, journal.py).

Concurrency: as `inner`'s; changes of one that may suspend wait for each other.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import trio

from vfsd.attributes import Caller, SetAttr, Stat, Traits
from vfsd.contract import Entry, Handle, Node, Provider
from vfsd.errors import fail
from vfsd.persist.notes import Notes
from vfsd.readonly import ReadOnlyView
from vfsd.reloading import HasLimits


class JournaledHandle(Handle):
    """An open file whose changes are noted; fsync is a sync of the journal."""

    __slots__ = (
        "_append",
        "_caller",
        "_inner",
        "_node",
        "_tree",
        "direct_io",
        "keep_cache",
        "past_cache",
    )

    def __init__(
        self, tree: Journaled, inner: Handle, node: Node, flags: int, caller: Caller
    ) -> None:
        self._tree = tree
        self._inner = inner
        self._node = node
        self._append = bool(flags & os.O_APPEND)
        self._caller = (caller.uid, caller.gid)
        self.direct_io = inner.direct_io
        self.keep_cache = inner.keep_cache
        self.past_cache = inner.past_cache

    async def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        return await self._inner.read(offset, size)

    def at_once(self, limit_bytes: int) -> bytes | bytearray | memoryview | None:
        return self._inner.at_once(limit_bytes)

    async def write(self, offset: int, data: bytes) -> int:
        return await self._write("append" if self._append else "write", offset, data)

    async def write_back(self, offset: int, data: bytes) -> int:
        return await self._write("back", offset, data)

    async def _write(self, kind: str, offset: int, data: bytes) -> int:
        async with self._tree.changing():
            data = bytes(data)
            known = await self._tree.notes.explain(self._node)
            write = self._inner.write_back if kind == "back" else self._inner.write
            count = await write(offset, data)
            if known:
                number, times = self._node.number, await self._tree.times(self._node)
                note = self._tree.notes.note
                note(kind, number, offset, data[:count], *self._caller, times=times)
        await self._tree.relieve()
        return count

    async def getattr(self) -> Stat:
        return await self._inner.getattr()

    async def fsync(self, *, datasync: bool) -> None:
        await self._inner.fsync(datasync=datasync)
        await self._tree.notes.sync()

    async def release(self) -> None:
        await self._inner.release()


class Journaled(ReadOnlyView):
    """`inner`, which is this view's from then on, with notes of what changes in it."""

    def __init__(self, inner: Provider, notes: Notes, *, suspends: bool) -> None:
        super().__init__(inner)
        self.notes = notes
        self._turn = trio.Lock() if suspends else None

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Have the turn to change something, where changes can come between each other."""
        if self._turn is None:
            yield
        else:
            async with self._turn:
                yield

    async def times(self, *nodes: Node) -> list[int]:
        """Return the files' numbers, each with its time of modification."""
        told: list[int] = []
        for node in nodes:
            told += (node.number, (await self.inner.getattr(node)).mtime_ns)
        return told

    async def relieve(self) -> None:
        """Have what is noted written, if it is much; an error is told by the next fsync."""
        if self.notes.is_full:
            await self.relieve_now()

    async def relieve_now(self) -> None:
        """Have all that is noted written; it is then there after a crash of the daemon alone."""
        with suppress(OSError):
            await self.notes.sync(durable=False)

    @property
    def traits(self) -> Traits:
        return replace(self.inner.traits, fsync=True)

    def set_limits(self, options: Mapping[str, str]) -> None:
        """As `inner` does it."""
        if not isinstance(self.inner, HasLimits):
            raise fail(errno.EOPNOTSUPP)
        self.inner.set_limits(options)

    async def watch(self) -> None:
        await self.inner.watch()

    async def aclose(self) -> None:
        await self.inner.aclose()

    def forget(self, node: Node) -> None:
        self.notes.forget(node.number)
        self.inner.forget(node)

    # -- looking, and remembering what the names were -----------------------------------------

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        entry = await self.inner.lookup(parent, name)
        self.notes.saw(parent, name, entry.node.number)
        return entry

    async def lookup_many(self, parent: Node, names: Sequence[bytes]) -> list[Entry | None]:
        entries = await self.inner.lookup_many(parent, names)
        for name, entry in zip(names, entries, strict=True):
            if entry is not None:
                self.notes.saw(parent, name, entry.node.number)
        return entries

    async def open(self, node: Node, flags: int, caller: Caller) -> Handle:
        async with self.changing():
            known = flags & os.O_TRUNC and await self.notes.explain(node)
            handle = await self.inner.open(node, flags, caller)
            if known:
                times = await self.times(node)
                self.notes.note("empty", node.number, caller.uid, caller.gid, times=times)
        return JournaledHandle(self, handle, node, flags, caller)

    async def fsyncdir(self, node: Node, *, datasync: bool) -> None:
        await self.notes.sync()

    # -- changing -------------------------------------------------------------------------

    async def setattr(self, node: Node, changes: SetAttr, caller: Caller) -> Stat:
        async with self.changing():
            known = await self.notes.explain(node)
            stat = await self.inner.setattr(node, changes, caller)
            if known:
                who, times = (caller.uid, caller.gid), (node.number, stat.mtime_ns)
                self.notes.note("set", node.number, list(changes), *who, times=times)
            return stat

    async def create(
        self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Entry, Handle]:
        async with self.changing():
            await self.notes.explain(parent)
            entry, handle = await self.inner.create(parent, name, mode, flags, caller)
            kept = flags & (os.O_EXCL | os.O_TRUNC)
            who = (caller.uid, caller.gid)
            number = entry.node.number
            times = await self.times(parent, entry.node)
            self.notes.note("create", parent.number, name, mode, kept, *who, number, times=times)
            self.notes.made(parent, name, number)
        return entry, JournaledHandle(self, handle, entry.node, flags, caller)

    async def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> Entry:
        async with self.changing():
            await self.notes.explain(parent)
            entry = await self.inner.mknod(parent, name, mode, rdev, caller)
            return await self._made("mknod", parent, name, (mode, rdev), caller, entry)

    async def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        async with self.changing():
            await self.notes.explain(parent)
            entry = await self.inner.mkdir(parent, name, mode, caller)
            return await self._made("mkdir", parent, name, (mode,), caller, entry)

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        async with self.changing():
            await self.notes.explain(parent)
            entry = await self.inner.symlink(parent, name, target, caller)
            return await self._made("symlink", parent, name, (target,), caller, entry)

    async def _made(
        self,
        kind: str,
        parent: Node,
        name: bytes,
        how: tuple[int | bytes, ...],
        caller: Caller,
        entry: Entry,
    ) -> Entry:
        number = entry.node.number
        who, times = (caller.uid, caller.gid), await self.times(parent, entry.node)
        self.notes.note(kind, parent.number, name, *how, *who, number, times=times)
        self.notes.made(parent, name, number)
        return entry

    async def link(self, node: Node, parent: Node, name: bytes) -> Entry:
        async with self.changing():
            await self.notes.explain(node)
            await self.notes.explain(parent)
            entry = await self.inner.link(node, parent, name)
            times = await self.times(parent)
            self.notes.note("link", node.number, parent.number, name, times=times)
            self.notes.saw(parent, name, node.number)
            return entry

    async def unlink(self, parent: Node, name: bytes) -> None:
        async with self.changing():
            await self.notes.explain(parent)
            await self.inner.unlink(parent, name)
            times = await self.times(parent)
            self.notes.note("unlink", parent.number, name, times=times)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        async with self.changing():
            await self.notes.explain(parent)
            await self.inner.rmdir(parent, name)
            times = await self.times(parent)
            self.notes.note("rmdir", parent.number, name, times=times)

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        async with self.changing():
            await self.notes.explain(parent)
            await self.notes.explain(new_parent)
            await self.inner.rename(parent, name, new_parent, new_name, flags)
            places = (parent.number, name, new_parent.number, new_name)
            times = await self.times(parent, new_parent)
            self.notes.note("rename", *places, flags, times=times)
            for directory, each in ((new_parent, new_name), (parent, name)):
                # What is where now, for the next journal; a hint, so it may be missing.
                try:
                    entry = await self.inner.lookup(directory, each)
                except OSError:
                    continue
                self.notes.saw(directory, each, entry.node.number)

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        async with self.changing():
            known = await self.notes.explain(node)
            await self.inner.setxattr(node, name, value)
            if known:
                self.notes.note("xattr", node.number, name, value)

    async def removexattr(self, node: Node, name: bytes) -> None:
        async with self.changing():
            known = await self.notes.explain(node)
            await self.inner.removexattr(node, name)
            if known:
                self.notes.note("unxattr", node.number, name)
