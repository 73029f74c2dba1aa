"""Paths over one provider, so that checks read like a shell session.

A path is `bytes` relative to the root; symlinks are never followed. Nothing here hides a
promise of the contract: each method is the one call of the provider that its name says, after
a walk with `lookup`.

Concurrency: as the provider's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from vfsd.provider import (
    Caller,
    Entry,
    Handle,
    Identity,
    Node,
    Provider,
    SetAttr,
    Stat,
    Traits,
)

ROOT = Identity(0, 0)
USER = Identity(1000, 1001)


class Files:
    """The provider under test, by paths; `provider` is there for what has no short form."""

    def __init__(self, provider: Provider, caller: Caller = ROOT) -> None:
        self.provider = provider
        self.caller = caller

    @property
    def traits(self) -> Traits:
        return self.provider.traits

    @property
    def root(self) -> Node:
        return self.provider.root

    # -- looking --------------------------------------------------------------------------

    async def node(self, path: bytes) -> Node:
        """Walk to `path` and return its node."""
        node = self.root
        for name in path.split(b"/") if path else []:
            node = (await self.provider.lookup(node, name)).node
        return node

    async def place(self, path: bytes) -> tuple[Node, bytes]:
        """Return the node of the directory that holds `path`, and the last name."""
        return await self.node(os.path.dirname(path)), os.path.basename(path)

    async def entry(self, path: bytes) -> Entry:
        parent, name = await self.place(path)
        return await self.provider.lookup(parent, name)

    async def stat(self, path: bytes) -> Stat:
        return await self.provider.getattr(await self.node(path))

    async def names(self, path: bytes = b"") -> list[bytes]:
        """Return the listing of the directory, sorted."""
        return sorted(await self.provider.readdir(await self.node(path)))

    async def exists(self, path: bytes) -> bool:
        try:
            await self.entry(path)
        except FileNotFoundError:
            return False
        return True

    async def readlink(self, path: bytes) -> bytes:
        return await self.provider.readlink(await self.node(path))

    # -- data -----------------------------------------------------------------------------

    @asynccontextmanager
    async def opened(
        self, path: bytes, flags: int = os.O_RDONLY, caller: Caller | None = None
    ) -> AsyncIterator[Handle]:
        """Open the existing file at `path`, and release it at the end."""
        handle = await self.provider.open(await self.node(path), flags, caller or self.caller)
        async with releasing(handle):
            yield handle

    async def get(self, path: bytes) -> bytes:
        """Return all of a file's data."""
        async with self.opened(path) as handle:
            return await read_all(handle)

    async def put(self, path: bytes, data: bytes = b"", mode: int = 0o644) -> Entry:
        """Make or replace the file at `path`, and return its entry as it is then."""
        parent, name = await self.place(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        entry, handle = await self.provider.create(parent, name, mode, flags, self.caller)
        async with releasing(handle):
            if data:
                await handle.write(0, data)
        return Entry(entry.node, await self.provider.getattr(entry.node))

    # -- changing -------------------------------------------------------------------------

    async def create(
        self, path: bytes, flags: int = os.O_RDWR | os.O_CREAT, mode: int = 0o644
    ) -> tuple[Entry, Handle]:
        parent, name = await self.place(path)
        return await self.provider.create(parent, name, mode, flags, self.caller)

    async def mkdir(self, path: bytes, mode: int = 0o755) -> Entry:
        parent, name = await self.place(path)
        return await self.provider.mkdir(parent, name, mode, self.caller)

    async def mknod(self, path: bytes, mode: int, rdev: int = 0) -> Entry:
        parent, name = await self.place(path)
        return await self.provider.mknod(parent, name, mode, rdev, self.caller)

    async def symlink(self, path: bytes, target: bytes) -> Entry:
        parent, name = await self.place(path)
        return await self.provider.symlink(parent, name, target, self.caller)

    async def link(self, path: bytes, new_path: bytes) -> Entry:
        node = await self.node(path)
        parent, name = await self.place(new_path)
        return await self.provider.link(node, parent, name)

    async def unlink(self, path: bytes) -> None:
        await self.provider.unlink(*await self.place(path))

    async def rmdir(self, path: bytes) -> None:
        await self.provider.rmdir(*await self.place(path))

    async def rename(self, path: bytes, new_path: bytes, flags: int = 0) -> None:
        parent, name = await self.place(path)
        new_parent, new_name = await self.place(new_path)
        await self.provider.rename(parent, name, new_parent, new_name, flags)

    async def setattr(self, path: bytes, changes: SetAttr, caller: Caller | None = None) -> Stat:
        return await self.provider.setattr(await self.node(path), changes, caller or self.caller)


@asynccontextmanager
async def releasing(handle: Handle) -> AsyncIterator[Handle]:
    """Release `handle` at the end, exactly once, cancelled or not."""
    try:
        yield handle
    finally:
        with trio.CancelScope(shield=True):
            await handle.release()


async def read_all(handle: Handle) -> bytes:
    """Return the file's data from its start, in pieces as the kernel asks for them."""
    pieces: list[bytes] = []
    offset = 0
    while piece := bytes(await handle.read(offset, 1 << 17)):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces)


async def listing(files: Files, path: bytes = b"") -> dict[bytes, tuple[object, ...]]:
    """Describe the whole tree below `path`: type, data or target, and attributes, by path."""
    found: dict[bytes, tuple[object, ...]] = {}
    for name in await files.names(path):
        child = path + b"/" + name if path else name
        entry = await files.entry(child)
        kind = entry.stat.mode & 0o170000
        content: object = None
        if kind == 0o100000:
            content = await files.get(child)
        elif kind == 0o120000:
            content = await files.readlink(child)
        elif kind == 0o040000:
            found.update(await listing(files, child))
        stat = entry.stat
        found[child] = (entry.node.number, stat.mode, stat.nlink, stat.uid, stat.gid, content)
    return found
