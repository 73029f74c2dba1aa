"""A read-only view of a provider: read-only belongs to the attachment, not to the files.

The same provider may be attached twice, once through this view, and cannot be changed through
it. It holds by construction: the view has no way to mutate, since every mutating method is the
contract's own, which raises EROFS, and `open` refuses every flag that writes.

Concurrency: stateless.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from vfsd.attributes import Caller, SetAttr, Stat, StatFs, Traits
from vfsd.contract import Entry, Handle, Keeper, Listener, Node, Provider
from vfsd.errors import fail

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND


class ReadOnlyHandle(Handle):
    """An open file that can only be read: what the inner handle might allow stays shut."""

    __slots__ = ("_inner", "direct_io", "keep_cache", "knows_version")

    def __init__(self, inner: Handle) -> None:
        self._inner = inner
        self.direct_io = inner.direct_io
        self.keep_cache = inner.keep_cache
        self.knows_version = inner.knows_version

    async def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        return await self._inner.read(offset, size)

    def at_once(self, limit_bytes: int) -> bytes | bytearray | memoryview | None:
        return self._inner.at_once(limit_bytes)

    async def getattr(self) -> Stat:
        return await self._inner.getattr()

    async def fsync(self, *, datasync: bool) -> None:
        await self._inner.fsync(datasync=datasync)

    async def release(self) -> None:
        await self._inner.release()


class ReadOnlyView(Provider):
    """All of `inner` that looks, and nothing that changes."""

    def __init__(self, inner: Provider) -> None:
        super().__init__()
        self.inner = inner

    @property
    def traits(self) -> Traits:
        return replace(self.inner.traits, writable=False)

    @property
    def root(self) -> Node:
        return self.inner.root

    def describe(self) -> str:
        return self.inner.describe()

    def statistics(self) -> Mapping[str, int | float | str]:
        return self.inner.statistics()

    def forget(self, node: Node) -> None:
        self.inner.forget(node)

    def subscribe(self, listener: Listener) -> None:
        self.inner.subscribe(listener)

    def unsubscribe(self, listener: Listener) -> None:
        self.inner.unsubscribe(listener)

    def attached(self, mountpoint: bytes | None, prefix: bytes) -> None:
        self.inner.attached(mountpoint, prefix)

    def add_keeper(self, keeper: Keeper) -> None:
        self.inner.add_keeper(keeper)

    def remove_keeper(self, keeper: Keeper) -> None:
        self.inner.remove_keeper(keeper)

    def kept(self, number: int) -> bool:
        return self.inner.kept(number)

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        return await self.inner.lookup(parent, name)

    async def lookup_many(self, parent: Node, names: Sequence[bytes]) -> list[Entry | None]:
        return await self.inner.lookup_many(parent, names)

    async def getattr(self, node: Node) -> Stat:
        return await self.inner.getattr(node)

    async def readdir(self, node: Node) -> Sequence[bytes]:
        return await self.inner.readdir(node)

    async def readlink(self, node: Node) -> bytes:
        return await self.inner.readlink(node)

    async def open(self, node: Node, flags: int, caller: Caller) -> Handle:
        if flags & WRITE_FLAGS:
            raise fail(errno.EROFS)
        return ReadOnlyHandle(await self.inner.open(node, flags, caller))

    async def statfs(self) -> StatFs:
        return await self.inner.statfs()

    async def fsyncdir(self, node: Node, *, datasync: bool) -> None:
        await self.inner.fsyncdir(node, datasync=datasync)

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        return await self.inner.getxattr(node, name)

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        return await self.inner.listxattr(node)

    async def explain(self, node: Node) -> Mapping[str, bytes]:
        return await self.inner.explain(node)

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        raise fail(errno.EROFS)

    async def removexattr(self, node: Node, name: bytes) -> None:
        raise fail(errno.EROFS)

    async def setattr(self, node: Node, changes: SetAttr, caller: Caller) -> Stat:
        raise fail(errno.EROFS)

    def snapshot(self) -> Provider:
        return self.inner.snapshot()

    def pause(self) -> AbstractAsyncContextManager[None]:
        return self.inner.pause()

    def fork(self) -> Provider:
        return self.inner.fork()

    def unchanged(self, node: Node, other: Provider, other_node: Node) -> bool:
        return self.inner.unchanged(node, other, other_node)
