"""The overlay provider: the contract on a merged tree of layers.

Each method that changes something takes the turn and does what the module of its kind says;
those that look go straight to merge.py and the layers.

What this is *not*: the kernel's overlayfs, with which it shares the format of layers; a place
that keeps snapshots by name (vfsd/snapshots). Where it differs on purpose: directories of the
lowers can be renamed, hard links survive copy-up, and open files follow it.

Concurrency: changes come one after another (turn.py), each atomic; looking waits for none of
them, unless a change on slow storage is between two steps.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

import trio

from providers.overlay import changing, explaining, making, marks, merge, removing, renaming
from providers.overlay.assembling import assemble, open_layers
from providers.overlay.changes import Relays
from providers.overlay.handle import OverlayHandle, open_node
from providers.overlay.largefirst import in_turn
from providers.overlay.marks import USER, Flavour
from providers.overlay.nodes import OverlayNode
from providers.overlay.options import parse_options
from providers.overlay.storing import complete, finish
from providers.overlay.union import Union
from providers.overlay.upper import Upper
from providers.overlay.versions import branch, paused, same_file
from vfsd.errors import UserError, fail
from vfsd.provider import (
    Caller,
    Entry,
    Handle,
    Node,
    OpenSource,
    Provider,
    SetAttr,
    Stat,
    StatFs,
    Traits,
)


class OverlayProvider(Provider):
    """See the module; make one with `over` or `from_sources`."""

    def __init__(self, union: Union, spare: Upper | None) -> None:
        """Show `union`; `spare` is an empty upper to fork for forks of sealed layers."""
        super().__init__()
        self._union = union
        self._spare = spare
        self._closed = False
        union.kept = self.kept
        union.lowers.holders += 1
        self._relays = Relays(union, self.report)
        upper = union.upper
        if upper is not None:
            upper.provider.add_keeper(self._keeps)

    @classmethod
    async def over(
        cls,
        upper: Provider | None,
        lowers: Sequence[Provider],
        *,
        spare: Provider | None = None,
        flavour: Flavour = USER,
        sync: bool = True,
    ) -> Self:
        """Merge `lowers`, the topmost first, below `upper`; None: a read-only view.

        The overlay owns them from then on, also on an error. `spare` is an empty provider that
        can fork, for forks where the upper cannot; with `sync`, a copy's data is durable before it
        is seen. UserError for an upper that is none.
        """
        opened = [each for each in (upper, spare) if each is not None]
        try:
            return cls(*await assemble(upper, lowers, spare, flavour, sync))
        except BaseException:
            with trio.CancelScope(shield=True):
                for each in (*lowers, *opened):
                    await each.aclose()
            raise

    @classmethod
    async def from_sources(
        cls, source: str | None, options: Mapping[str, str], open_source: OpenSource
    ) -> Self:
        """Open the layers that `options` name (options.py) and merge them."""
        parsed = parse_options(source, options)
        upper, lowers, spare = await open_layers(parsed, open_source)
        return await cls.over(upper, lowers, spare=spare, flavour=parsed.flavour, sync=parsed.sync)

    @classmethod
    async def from_options(cls, source: str | None, options: Mapping[str, str]) -> Self:
        parse_options(source, options)
        raise UserError("an overlay cannot be made here, where no layers can be opened")

    # -- what it is -----------------------------------------------------------------------

    @property
    def traits(self) -> Traits:
        union = self._union
        lowers = [layer.provider.traits for layer in union.lowers.layers]
        sealed = all(each.immutable for each in lowers)
        told = all(each.immutable or each.watch for each in lowers)
        upper = None if union.upper is None else union.upper.provider.traits
        blocks = any(each.may_block for each in lowers)
        return Traits(
            writable=union.writable and upper is not None and upper.writable,
            immutable=sealed and not union.writable,
            watch=told,
            hard_links=True,
            xattrs=True,
            may_block=blocks or (upper is not None and upper.may_block),
            fsync=upper is not None and upper.fsync,
        )

    @property
    def root(self) -> OverlayNode:
        return self._union.root

    def describe(self) -> str:
        return explaining.describe(self._union)

    def statistics(self) -> Mapping[str, int | float | str]:
        return explaining.statistics(self._union)

    # -- life -----------------------------------------------------------------------------

    def attached(self, mountpoint: bytes | None, prefix: bytes) -> None:
        for layer in self._union.lowers.layers:
            layer.provider.attached(mountpoint, prefix)

    async def watch(self) -> None:
        """Run the watching of every lower that may change."""
        await self._union.lowers.watch()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        union = self._union
        self._relays.close()
        upper = union.upper
        if upper is not None:
            if upper.seals:
                await finish(union)
            upper.provider.remove_keeper(self._keeps)
            if not upper.seals:
                await upper.provider.aclose()
        await union.lowers.release()

    def _keeps(self, inner: int) -> bool:
        """Say whether a file of the upper is still in somebody's hands here."""
        node = self._union.nodes.of_upper(inner)
        return node is not None and (bool(node.opens) or self.kept(node.number))

    def forget(self, node: Node) -> None:
        assert isinstance(node, OverlayNode)
        union = self._union
        if node.upper is not None and union.upper is not None:
            if union.partial:
                union.drop_partial(node)
            union.upper.provider.forget(node.upper)
        elif node.below:
            node.below[0].layer.provider.forget(node.below[0].node)

    # -- looking --------------------------------------------------------------------------

    async def _whole(self) -> None:
        """Wait while a change is between two steps."""
        torn = self._union.turn.torn
        while torn is not None:
            await torn.wait()
            torn = self._union.turn.torn

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        assert isinstance(parent, OverlayNode)
        if self._union.turn.torn is not None:
            await self._whole()
        if parent.removed:
            raise fail(errno.ENOENT, name)
        return await merge.find(self._union, parent, name)

    async def lookup_many(self, parent: Node, names: Sequence[bytes]) -> list[Entry | None]:
        assert isinstance(parent, OverlayNode)
        if self._union.turn.torn is not None:
            await self._whole()
        if parent.removed:
            return [None] * len(names)
        return await merge.find_many(self._union, parent, names)

    async def getattr(self, node: Node) -> Stat:
        assert isinstance(node, OverlayNode)
        union = self._union
        if node.removed:
            union.check_there(node)
        provider, inner = union.reading(node)
        stat = await provider.getattr(inner)
        if node.below or node.removed or union.hard:
            return union.shown(node, stat)
        return stat

    async def readdir(self, node: Node) -> Sequence[bytes]:
        assert isinstance(node, OverlayNode)
        if self._union.turn.torn is not None:
            await self._whole()
        if node.removed:
            self._union.check_there(node)
            return []
        return await merge.names_in(self._union, node)

    async def readlink(self, node: Node) -> bytes:
        assert isinstance(node, OverlayNode)
        if node.kind != stat_module.S_IFLNK:
            raise fail(errno.EINVAL)
        provider, inner = self._union.reading(node)
        return await provider.readlink(inner)

    async def open(self, node: Node, flags: int, caller: Caller) -> Handle:
        assert isinstance(node, OverlayNode)
        return await open_node(self._union, node, flags, caller)

    async def statfs(self) -> StatFs:
        union = self._union
        if union.upper is not None:
            return await union.upper.provider.statfs()
        return await union.root_below[0].layer.provider.statfs()

    async def fsyncdir(self, node: Node, *, datasync: bool) -> None:
        assert isinstance(node, OverlayNode)
        union = self._union
        union.refresh(node)
        if node.upper is not None and union.upper is not None and union.upper.writable:
            await union.upper.provider.fsyncdir(node.upper, datasync=datasync)

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        assert isinstance(node, OverlayNode)
        provider, inner = self._union.reading(node)
        return await provider.getxattr(inner, marks.stored(name))

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        assert isinstance(node, OverlayNode)
        provider, inner = self._union.reading(node)
        names = await provider.listxattr(inner)
        if not any(name.startswith(marks.PREFIXES) for name in names):
            return names
        return [seen for seen in map(marks.shown, names) if seen is not None]

    async def explain(self, node: Node) -> Mapping[str, bytes]:
        assert isinstance(node, OverlayNode)
        return await explaining.explain(self._union, node)

    # -- changing -------------------------------------------------------------------------

    async def setattr(self, node: Node, changes: SetAttr, caller: Caller) -> Stat:
        assert isinstance(node, OverlayNode)
        return await changing.setattr_of(self._union, node, changes, caller)

    async def create(
        self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Entry, Handle]:
        assert isinstance(parent, OverlayNode)
        union = self._union
        while True:
            try:
                async with self._union.turn_for(parent):
                    entry, handle = await making.create(union, parent, name, mode, flags, caller)
            except FileExistsError:
                if flags & os.O_EXCL:
                    raise
            else:
                upper = union.need_upper()
                if upper.seals:
                    node = entry.node
                    assert isinstance(node, OverlayNode)
                    handle = OverlayHandle(union, node, handle, flags, caller)
                return entry, handle
            try:
                entry = await merge.find(union, parent, name)
            except FileNotFoundError:
                continue  # someone removed it meanwhile
            handle = await self.open(entry.node, flags, caller)
            return Entry(entry.node, await self.getattr(entry.node)), handle

    async def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> Entry:
        assert isinstance(parent, OverlayNode)
        async with self._union.turn_for(parent):
            return await making.mknod(self._union, parent, name, mode, rdev, caller)

    async def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        assert isinstance(parent, OverlayNode)
        async with self._union.turn_for(parent):
            return await making.mkdir(self._union, parent, name, mode, caller)

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        assert isinstance(parent, OverlayNode)
        async with self._union.turn_for(parent):
            return await making.symlink(self._union, parent, name, target, caller)

    async def link(self, node: Node, parent: Node, name: bytes) -> Entry:
        assert isinstance(node, OverlayNode)
        assert isinstance(parent, OverlayNode)
        union = self._union
        return await in_turn(union, lambda: making.link(union, node, parent, name))

    async def unlink(self, parent: Node, name: bytes) -> None:
        assert isinstance(parent, OverlayNode)
        union = self._union
        async with union.turn_to_remove(parent, name):
            making.check_parent(union, parent)
            await removing.unlink(union, parent, name)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        assert isinstance(parent, OverlayNode)
        async with self._union.turn:
            making.check_parent(self._union, parent)
            await removing.rmdir(self._union, parent, name)

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        assert isinstance(parent, OverlayNode)
        assert isinstance(new_parent, OverlayNode)
        union = self._union
        await in_turn(
            union, lambda: renaming.rename(union, parent, name, new_parent, new_name, flags)
        )

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        assert isinstance(node, OverlayNode)
        await changing.setxattr(self._union, node, name, value)

    async def removexattr(self, node: Node, name: bytes) -> None:
        assert isinstance(node, OverlayNode)
        await changing.removexattr(self._union, node, name)

    # -- versions -------------------------------------------------------------------------

    def snapshot(self) -> OverlayProvider:
        """Return this tree as it is now, sealed. O(1). EBUSY while a change is half-way."""
        return OverlayProvider(branch(self._union, self._spare, writable=False), self._spare)

    def fork(self) -> OverlayProvider:
        """Return a writable tree that starts as this one is now. O(1). EBUSY as `snapshot`."""
        return OverlayProvider(branch(self._union, self._spare, writable=True), self._spare)

    def pause(self) -> AbstractAsyncContextManager[None]:
        return paused(self._union)

    def unchanged(self, node: Node, other: Provider, other_node: Node) -> bool:
        if not isinstance(other, OverlayProvider):
            return False
        assert isinstance(node, OverlayNode)
        assert isinstance(other_node, OverlayNode)
        return same_file(self._union, node, other._union, other_node)

    async def layer(self) -> tuple[Provider, Node] | None:
        """Complete the writable layer and return where it is, so that it can be stored.

        All of it is then in the kernel's format and needs nothing but the layers below: large
        files have all their data, and hard links all their names. None if nothing was changed.
        The provider stays this overlay's. Meant for a fork that nobody else uses.
        """
        union = self._union
        upper = union.need_upper()
        await complete(union)
        if upper.root is None:
            return None
        return upper.provider, upper.root
