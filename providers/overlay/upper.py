"""The writable side: where the layers of the upper stand in its provider.

The upper's provider holds, in its root directory:

    layers/1/, layers/2/, ...   the layers, each a tree in the kernel's format; the one with the
                                highest number is written to, the others are sealed
    index/N/                    for layer N: files with names that stand only in the lowers
                                (hardlinks.py), by their number in hexadecimal
    work/                       what is being made; emptied at start

So a layer can be given to the kernel's overlayfs as it is. A file is made in ``work`` and
renamed into the layer, so that a crash leaves all of it or nothing. A layer's own directory is
made with the first change (copyup.py), which is why sealing costs nothing.

Concurrency: changed while the overlay's turn is held.
"""

from __future__ import annotations

from contextlib import suppress

import trio

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.provider import Identity, Node, Provider

LAYERS, WORK, INDEX = b"layers", b"work", b"index"
ROOT = Identity(0, 0)


class Upper:
    """See the module."""

    def __init__(self, provider: Provider, *, seals: bool) -> None:
        self.provider = provider
        self.seals = seals
        """Snapshots are made by sealing the layer, not by the provider's own `snapshot`."""
        self.writable = True
        self.partial = False
        """Large files are copied up range by range."""
        self.syncs = False
        """Data is durable before a copy replaces what it is a copy of."""
        self.one_step = True
        """Small files are tried by `put_copy`; no more, once it was not done and data is synced."""
        self.fresh = False
        """Nothing was copied up into it before this overlay began."""
        self.copies: dict[int, int] = {}
        """Files on disk that were copied up since: their numbers before that, by those now."""
        self.number = 1
        """Which of the layers is written to; it need not exist yet."""
        self.root: Node | None = None
        self.layers = self.work = self.indexes = provider.root
        self.index: Node | None = None
        self.writing = 0
        """Changes under way that do not take the turn."""
        self.paused: trio.Event | None = None
        """While there, such changes do not begin; set when they may."""
        self._quiet = trio.Event()
        self._staged = 0

    @classmethod
    async def open(cls, provider: Provider, *, seals: bool) -> tuple[Upper, list[Node]]:
        """Return the upper in `provider` and the roots of its sealed layers, lowest first.

        UserError for a provider that holds something else.
        """
        if not provider.traits.xattrs:
            raise UserError(
                f"{provider.describe()} keeps no extended attributes, which an upper needs; give "
                "one that does",
                ExitCode.USAGE,
            )
        upper = cls(provider, seals=seals)
        upper.partial = not provider.traits.may_block
        names = set(await provider.readdir(provider.root))
        foreign = names - {LAYERS, WORK, INDEX}
        if foreign:
            raise UserError(
                f"{provider.describe()} is no overlay's upper: it holds "
                f"{min(foreign).decode(errors='replace')!r}; give an empty directory, or one "
                "that an overlay made",
                ExitCode.REFUSED,
            )
        upper.layers = await upper._directory(provider.root, LAYERS)
        upper.work = await upper._directory(provider.root, WORK)
        upper.indexes = await upper._directory(provider.root, INDEX)
        for name in await provider.readdir(upper.work):
            await upper.discard(name)
        try:
            await upper.discard(await upper.staged_whiteout())
        except OSError as error:
            raise UserError(
                f"{provider.describe()} cannot hold whiteouts ({error.strerror}), which an upper "
                "needs; give a directory on another file system, or upper=memory",
                ExitCode.USAGE,
            ) from error
        numbers = sorted(int(n) for n in await provider.readdir(upper.layers) if n.isdigit())
        roots: list[Node] = []
        for number in numbers:
            roots.append((await provider.lookup(upper.layers, b"%d" % number)).node)
        if numbers:
            upper.number = numbers[-1]
            upper.root = roots.pop()
        else:
            upper.fresh = True
        return upper, roots

    def clone(self, provider: Provider, *, writable: bool) -> Upper:
        """Return the same in a snapshot or fork of the provider, which keeps node numbers."""
        other = Upper(provider, seals=self.seals)
        other.writable = writable
        other.partial, other.fresh = self.partial, self.fresh
        other.one_step = self.one_step
        other.number = self.number
        other.root = None if self.root is None else Node(self.root.number)
        other.layers, other.work = Node(self.layers.number), Node(self.work.number)
        other.indexes = Node(self.indexes.number)
        other.index = None if self.index is None else Node(self.index.number)
        other._staged = self._staged
        return other

    def ended(self) -> None:
        """One of `writing` is done."""
        self.writing -= 1
        if not self.writing:
            self._quiet.set()

    async def quiet(self) -> None:
        """Wait until none is under way; not for those that begin later, unless `paused`."""
        while self.writing:
            self._quiet = trio.Event()
            await self._quiet.wait()

    async def resumed(self) -> None:
        """Wait for the end of a pause, if there is one."""
        while self.paused is not None:
            await self.paused.wait()

    async def _directory(self, parent: Node, name: bytes) -> Node:
        with suppress(FileExistsError):
            await self.provider.mkdir(parent, name, 0o755, ROOT)
        return (await self.provider.lookup(parent, name)).node

    def stage(self) -> bytes:
        """Return a free name in the work directory."""
        self._staged += 1
        return b"%x" % self._staged

    async def index_directory(self) -> Node:
        """Return the writable layer's index, which is made if missing."""
        if self.index is None:
            self.index = await self._directory(self.indexes, b"%d" % self.number)
        return self.index

    async def staged_whiteout(self) -> bytes:
        """Make a whiteout in the work directory, to be renamed into place."""
        name = self.stage()
        await self.provider.put_whiteout(self.work, name)
        return name

    async def discard(self, name: bytes) -> None:
        """Remove what stands in the work directory, with all below it; what is gone is gone."""
        with suppress(FileNotFoundError):
            try:
                await self.provider.unlink(self.work, name)
            except IsADirectoryError:
                node = (await self.provider.lookup(self.work, name)).node
                await self.discard_directory(name, node)

    async def discard_directory(self, name: bytes, node: Node) -> None:
        """Remove the directory `node`, which stands there in the work directory."""
        with suppress(FileNotFoundError):
            await self.provider.clear(node)
            await self.provider.rmdir(self.work, name)
