"""Making names: files, directories, symlinks, special files and links.

Where the lowers have nothing at the place, it is one call on the upper. Where a whiteout stands,
the new file is made in the work directory and renamed over it; a new directory is made opaque
first, since what was deleted below must not shine through.

Concurrency: the overlay's turn is held.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import trio

from providers.overlay import marks, merge
from providers.overlay.copyup import bring_up, keep_times, upper_directory
from providers.overlay.hardlinks import lost_lower_name
from providers.overlay.nodes import OverlayNode
from providers.overlay.search import Found, find_below
from providers.overlay.union import Union
from vfsd.errors import fail
from vfsd.provider import Caller, Entry, Handle, Identity, Node

EXCHANGE = 2
NOTHING: Found = ([], None)

T = TypeVar("T")
Make = Callable[[Node, bytes, Caller], Awaitable[T]]
"""Makes a file in a directory of the upper, at a free name."""


class Located(NamedTuple):
    """What stands at a place, and on which side."""

    entry: Entry | None
    """What is seen there."""
    upper: Entry | None
    """What the upper has there, a whiteout included."""
    lower: bool
    """The lowers would show something there."""

    @property
    def whiteout(self) -> bool:
        return self.upper is not None and marks.is_whiteout(self.upper.stat)

    @property
    def in_upper(self) -> bool:
        return self.upper is not None and not marks.is_whiteout(self.upper.stat)


async def locate(union: Union, parent: OverlayNode, name: bytes) -> Located:
    """Look at one place on both sides. ENOTDIR, ESTALE."""
    if not parent.is_directory:
        raise fail(errno.ENOTDIR)
    union.refresh(parent)
    upper: Entry | None = None
    entry: Entry | None = None
    found, stat = NOTHING
    if parent.below:
        found, stat = await find_below(union, parent, name)
    if parent.upper is not None and not parent.lacks(name):
        try:
            upper = await union.upper_provider.lookup(parent.upper, name)
        except FileNotFoundError:
            upper = None
        if upper is not None and not marks.is_whiteout(upper.stat):
            entry = await merge.in_upper(union, parent, name, upper, (found, stat))
    if stat is not None and upper is None:
        entry = await merge.from_below(union, parent, name, found, stat)
    return Located(entry, upper, stat is not None)


def check_parent(union: Union, parent: OverlayNode) -> None:
    """Raise unless names may be made in the directory. EROFS, ENOTDIR, ENOENT."""
    union.need_upper()
    if not parent.is_directory:
        raise fail(errno.ENOTDIR)
    if parent.removed:
        raise fail(errno.ENOENT)


async def make(
    union: Union, parent: OverlayNode, name: bytes, caller: Caller, call: Make[T]
) -> tuple[T, Located | None]:
    """Make something new at a free name; also return what was hidden there. EEXIST."""
    check_parent(union, parent)
    union.refresh(parent)
    located: Located | None = None
    if parent.below and (await find_below(union, parent, name))[1] is not None:
        located = await locate(union, parent, name)
        if located.entry is not None:
            raise fail(errno.EEXIST, name)
    directory = await upper_directory(union, parent, name)
    if located is None or not located.whiteout:
        try:
            return await call(directory, name, caller), None
        except FileExistsError:
            located = await locate(union, parent, name)
            if not located.whiteout:
                raise
    return await _over_whiteout(union, directory, name, caller, call, located), located


async def _over_whiteout(
    union: Union,
    directory: Node,
    name: bytes,
    caller: Caller,
    call: Make[T],
    located: Located,
) -> T:
    upper = union.need_upper()
    provider = upper.provider
    above = await provider.getattr(directory)
    if above.mode & stat_module.S_ISGID:
        caller = Identity(caller.uid, above.gid, caller.pid)
    stage = upper.stage()
    try:
        made = await call(upper.work, stage, caller)
        entry = made[0] if isinstance(made, tuple) and not isinstance(made, Entry) else made
        assert isinstance(entry, Entry)
        if not stat_module.S_ISDIR(entry.stat.mode):
            await provider.rename(upper.work, stage, directory, name, 0)
            return made
        if located.lower:
            await provider.setxattr(entry.node, union.flavour.named(marks.OPAQUE), b"y")
        await provider.rename(upper.work, stage, directory, name, EXCHANGE)
        await provider.unlink(upper.work, stage)
    except BaseException:
        with trio.CancelScope(shield=True):
            await upper.discard(stage)
        raise
    return made


def new_node(union: Union, parent: OverlayNode, name: bytes, entry: Entry) -> Entry:
    """Make the node of what was just made in the upper."""
    inner, stat = entry
    number = inner.number
    copies = union.need_upper().copies
    if copies:
        copies.pop(number, None)  # the number of a copy that is gone
    if number >= 1 << 40:
        number = union.lowers.minted.number(0, number)
    if number in union.nodes.by_number:
        number = union.lowers.minted.fresh()
    node = OverlayNode(number, stat_module.S_IFMT(stat.mode), union.epoch)
    node.upper = inner
    node.plain = True
    node.parent, node.name = parent, name
    union.nodes.add(node)
    return Entry(node, stat)


async def create(
    union: Union, parent: OverlayNode, name: bytes, mode: int, flags: int, caller: Caller
) -> tuple[Entry, Handle]:
    """Make and open a regular file that must not be there. EEXIST."""
    provider = union.need_upper().provider
    flags |= os.O_CREAT | os.O_EXCL

    async def call(directory: Node, name: bytes, caller: Caller) -> tuple[Entry, Handle]:
        return await provider.create(directory, name, mode, flags, caller)

    (entry, handle), _ = await make(union, parent, name, caller, call)
    return new_node(union, parent, name, entry), handle


async def mkdir(union: Union, parent: OverlayNode, name: bytes, mode: int, caller: Caller) -> Entry:
    """Make a directory. EEXIST."""
    provider = union.need_upper().provider

    async def call(directory: Node, name: bytes, caller: Caller) -> Entry:
        wanted = mode
        if directory is union.need_upper().work:
            assert parent.upper is not None
            wanted |= (await provider.getattr(parent.upper)).mode & stat_module.S_ISGID
        return await provider.mkdir(directory, name, wanted, caller)

    entry, _ = await make(union, parent, name, caller, call)
    return new_node(union, parent, name, entry)


async def mknod(
    union: Union, parent: OverlayNode, name: bytes, mode: int, rdev: int, caller: Caller
) -> Entry:
    """Make a special file. EEXIST; EPERM for 0:0, which would be a whiteout."""
    provider = union.need_upper().provider
    if rdev == 0 and stat_module.S_ISCHR(mode):
        raise fail(errno.EPERM, name)

    async def call(directory: Node, name: bytes, caller: Caller) -> Entry:
        return await provider.mknod(directory, name, mode, rdev, caller)

    entry, _ = await make(union, parent, name, caller, call)
    return new_node(union, parent, name, entry)


async def symlink(
    union: Union, parent: OverlayNode, name: bytes, target: bytes, caller: Caller
) -> Entry:
    """Make a symlink. EEXIST."""
    provider = union.need_upper().provider

    async def call(directory: Node, name: bytes, caller: Caller) -> Entry:
        return await provider.symlink(directory, name, target, caller)

    entry, _ = await make(union, parent, name, caller, call)
    return new_node(union, parent, name, entry)


async def link(union: Union, node: OverlayNode, parent: OverlayNode, name: bytes) -> Entry:
    """Give a file another name. EEXIST, EPERM, ENOENT."""
    upper = union.need_upper()
    provider = upper.provider
    if node.is_directory:
        raise fail(errno.EPERM)
    if node.removed:
        raise fail(errno.ENOENT)
    check_parent(union, parent)
    located = await locate(union, parent, name)
    if located.entry is not None:
        raise fail(errno.EEXIST, name)
    inner = await bring_up(union, node)

    async def call(directory: Node, name: bytes, caller: Caller) -> Entry:
        return await provider.link(inner, directory, name)

    entry, _ = await make(union, parent, name, Identity(0, 0), call)
    if node.parent is None:
        node.parent, node.name = parent, name
    return Entry(node, union.shown(node, entry.stat))


async def name_up(union: Union, parent: OverlayNode, name: bytes, located: Located) -> Node:
    """Make sure that the upper has the file itself under this very name; return it."""
    assert located.entry is not None
    node = located.entry.node
    assert isinstance(node, OverlayNode)
    if located.in_upper:
        assert node.upper is not None
        return node.upper
    if node.upper is None:
        node.parent, node.name = parent, name
        return await bring_up(union, node)
    # Another name of the file was brought up before: this one joins it.
    provider = union.upper_provider
    directory = await upper_directory(union, parent, name)
    before = await provider.getattr(directory)
    await provider.link(node.upper, directory, name)
    await keep_times(provider, directory, before)
    await lost_lower_name(union, node, located.entry.stat)
    return node.upper
