"""Renaming, directories of the lowers included: never EXDEV.

What is moved must stand in the upper. A file is copied up where it is; a directory that has
lowers is *completed*: everything below it is copied up in place, and it is made opaque, after
which it is the upper's alone. None of these steps changes what is seen, so a failure or a crash
between them does no harm. With marks in the namespace ``trusted.`` the directory is not copied:
it gets a redirect instead, which the kernel follows too.

Then the names are moved. A whiteout that must stay at the old place gets there in the same
step, by exchanging the file with a whiteout that stands at the new place. Where the new place
is taken this takes two steps; a crash between them leaves the file under both names, as
rename(2) allows, or for directories the empty one that is replaced at the old place.

Concurrency: the overlay's turn is held; it is torn between those two steps.
"""

from __future__ import annotations

import errno

from providers.overlay import marks, merge
from providers.overlay.ahead import LargeBelow
from providers.overlay.copyup import bring_up, keep_times, upper_directory
from providers.overlay.making import EXCHANGE, Located, check_parent, locate, name_up
from providers.overlay.nodes import OverlayNode
from providers.overlay.removing import lost_name, remove_directory
from providers.overlay.union import Union
from vfsd.errors import fail
from vfsd.provider import Entry, Node

NOREPLACE = 1


async def rename(
    union: Union,
    parent: OverlayNode,
    name: bytes,
    new_parent: OverlayNode,
    new_name: bytes,
    flags: int,
) -> None:
    """Rename; see the contract."""
    union.need_upper()
    if flags not in (0, NOREPLACE, EXCHANGE):
        raise fail(errno.EINVAL)
    check_parent(union, parent)
    check_parent(union, new_parent)
    source = await locate(union, parent, name)
    if source.entry is None:
        raise fail(errno.ENOENT, name)
    target = await locate(union, new_parent, new_name)
    node = _node(source.entry)
    other = None if target.entry is None else _node(target.entry)
    if flags == NOREPLACE and other is not None:
        raise fail(errno.EEXIST, new_name)
    if flags == EXCHANGE and other is None:
        raise fail(errno.ENOENT, new_name)
    if node is other:
        return
    _check_no_ring(node, new_parent)
    if other is not None and flags == EXCHANGE:
        _check_no_ring(other, parent)
    elif other is not None:
        await _check_replaceable(union, node, other, new_name)
    await _own(union, parent, name, source)
    if flags == EXCHANGE:
        assert other is not None
        await _own(union, new_parent, new_name, target)
        await _exchange(union, parent, name, source, new_parent, new_name, target)
        return
    await _move(union, parent, name, source, new_parent, new_name, target)


def _node(entry: Entry) -> OverlayNode:
    assert isinstance(entry.node, OverlayNode)
    return entry.node


def _check_no_ring(node: OverlayNode, directory: OverlayNode) -> None:
    """Raise EINVAL if the directory is, or is below, the node that is about to move there."""
    current: OverlayNode | None = directory
    while node.is_directory and current is not None:
        if current is node:
            raise fail(errno.EINVAL)
        current = current.parent


async def _check_replaceable(
    union: Union, node: OverlayNode, other: OverlayNode, name: bytes
) -> None:
    if other.is_directory and not node.is_directory:
        raise fail(errno.EISDIR, name)
    if node.is_directory and not other.is_directory:
        raise fail(errno.ENOTDIR, name)
    if other.is_directory and await merge.names_in(union, other):
        raise fail(errno.ENOTEMPTY, name)


async def _own(union: Union, parent: OverlayNode, name: bytes, located: Located) -> None:
    """Make the file the upper's alone, where it is; nothing changes to the eye."""
    assert located.entry is not None
    node = _node(located.entry)
    await name_up(union, parent, name, located)
    if not node.is_directory or not node.below:
        return
    if union.flavour.redirects:
        await _redirect(union, node)
    else:
        await complete(union, node)


async def complete(union: Union, top: OverlayNode) -> None:
    """Copy up all that is below a directory, and let nothing shine through any more.

    `LargeBelow`, with all large files there are, once the rest is copied.
    """
    large: list[OverlayNode] = []
    waiting: list[tuple[OverlayNode, bool]] = [(top, False)]
    while waiting:
        node, filled = waiting.pop()
        if filled:
            if not large:
                await _close_off(union, node)
            continue
        waiting.append((node, True))
        if not node.below:
            continue
        for name in await merge.names_in(union, node):
            located = await locate(union, node, name)
            if located.entry is None:
                continue
            try:
                await name_up(union, node, name, located)
            except LargeBelow as met:
                large.extend(met.nodes)
            child = _node(located.entry)
            if child.is_directory and child.below:
                waiting.append((child, False))
    if large:
        raise LargeBelow(*large)


async def _close_off(union: Union, node: OverlayNode) -> None:
    """Make a directory opaque of which the upper has everything."""
    if not node.below:
        return
    provider = union.upper_provider
    upper = await bring_up(union, node)
    before = await provider.getattr(upper)
    await provider.setxattr(upper, union.flavour.named(marks.OPAQUE), b"y")
    node.below, node.index = (), None
    node.unknown()
    if not node.plain:
        names = await provider.readdir(upper)
        entries = await provider.lookup_many(upper, names)
        for name, entry in zip(names, entries, strict=True):
            if entry is not None and marks.is_whiteout(entry.stat):
                await provider.unlink(upper, name)
        node.plain = True
        await keep_times(provider, upper, before)


async def _redirect(union: Union, node: OverlayNode) -> None:
    """Note on a directory under which path the layers below have it."""
    provider = union.upper_provider
    upper = await bring_up(union, node)
    if (await marks.read(provider, upper)).redirect is not None:
        return  # it moved before; what is below still has it where it had it then
    names: list[bytes] = []
    current: OverlayNode | None = node
    while current is not None and current is not union.root:
        union.refresh(current)
        if current is not node and current.upper is not None:
            known = (await marks.read(provider, current.upper)).redirect
            if known is not None:
                names.append(known.lstrip(b"/"))
                break
        names.append(current.name)
        current = current.parent
    path = b"/" + b"/".join(reversed(names))
    if len(path) > 255:
        await complete(union, node)  # longer than the kernel takes by default
        return
    node.unknown()  # from here on its marks are read
    await provider.setxattr(upper, union.flavour.named(marks.REDIRECT), path)


async def _hide_below(union: Union, located: Located, covers: bool) -> None:
    """Make a directory opaque that comes to stand over something of the lowers."""
    assert located.entry is not None
    node = _node(located.entry)
    if covers and node.is_directory and not node.below:
        assert node.upper is not None
        name = union.flavour.named(marks.OPAQUE)
        await union.upper_provider.setxattr(node.upper, name, b"y")


async def _exchange(
    union: Union,
    parent: OverlayNode,
    name: bytes,
    source: Located,
    new_parent: OverlayNode,
    new_name: bytes,
    target: Located,
) -> None:
    assert source.entry is not None
    assert target.entry is not None
    await _hide_below(union, source, target.lower)
    await _hide_below(union, target, source.lower)
    directory = await upper_directory(union, parent, name)
    new_directory = await upper_directory(union, new_parent, new_name)
    await union.upper_provider.rename(directory, name, new_directory, new_name, EXCHANGE)
    _node(source.entry).place(new_parent, new_name)
    _node(target.entry).place(parent, name)


async def _move(
    union: Union,
    parent: OverlayNode,
    name: bytes,
    source: Located,
    new_parent: OverlayNode,
    new_name: bytes,
    target: Located,
) -> None:
    assert source.entry is not None
    node = _node(source.entry)
    upper = union.need_upper()
    provider = upper.provider
    directory = await upper_directory(union, parent, name)
    new_directory = await upper_directory(union, new_parent, new_name)
    await _hide_below(union, source, target.lower)
    stands = target.in_upper
    if target.entry is not None and _node(target.entry).is_directory:
        other = _node(target.entry)
        if stands and not (other.plain and not source.lower):
            union.turn.tear()
            await remove_directory(union, new_parent, new_name, target)
            stands = False
        elif not stands:
            union.turn.tear()
            await upper.provider.put_whiteout(new_directory, new_name)
            new_parent.plain = False
    if not source.lower:
        await _move_away(union, directory, name, new_directory, new_name, node)
    elif stands or (target.entry is not None and not node.is_directory):
        await _move_and_cover(union, directory, name, new_directory, new_name, node)
        parent.plain = False
    else:
        # One step: the file and a whiteout at the new place, which hides nothing that was seen.
        if not await _has(union, new_directory, new_name):
            await upper.provider.put_whiteout(new_directory, new_name)
        await provider.rename(directory, name, new_directory, new_name, EXCHANGE)
        parent.plain = False
    if target.entry is not None:
        other = _node(target.entry)
        if other.is_directory:
            other.removed = True
            other.parent, other.name = None, b""
        else:
            await lost_name(union, new_parent, new_name, other, target, target.entry.stat)
    node.place(new_parent, new_name)


async def _has(union: Union, directory: Node, name: bytes) -> bool:
    try:
        await union.upper_provider.lookup(directory, name)
    except FileNotFoundError:
        return False
    return True


async def _move_away(
    union: Union,
    directory: Node,
    name: bytes,
    new_directory: Node,
    new_name: bytes,
    node: OverlayNode,
) -> None:
    """Rename where nothing must be left at the old place."""
    provider = union.upper_provider
    if node.is_directory:
        try:
            found = await provider.lookup(new_directory, new_name)
        except FileNotFoundError:
            pass
        else:
            if marks.is_whiteout(found.stat):
                # A directory cannot replace a whiteout, but change places with it.
                await provider.rename(directory, name, new_directory, new_name, EXCHANGE)
                await provider.unlink(directory, name)
                return
    await provider.rename(directory, name, new_directory, new_name, 0)


async def _move_and_cover(
    union: Union,
    directory: Node,
    name: bytes,
    new_directory: Node,
    new_name: bytes,
    node: OverlayNode,
) -> None:
    """Replace the file at the new place, then leave a whiteout at the old one."""
    upper = union.need_upper()
    provider = upper.provider
    assert node.upper is not None
    union.turn.tear()
    whiteout = await upper.staged_whiteout()
    stage = upper.stage()
    await provider.link(node.upper, upper.work, stage)
    await provider.rename(upper.work, stage, new_directory, new_name, 0)
    await provider.rename(upper.work, whiteout, directory, name, 0)
