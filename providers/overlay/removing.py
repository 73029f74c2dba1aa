"""Removing names, with a whiteout where a lower would shine through.

The whiteout replaces the file in one rename; for a directory they are exchanged, and what was
in it (nothing but whiteouts) is removed from the work directory afterwards. So after a crash
the name is there with all it had, or gone.

Concurrency: the overlay's turn is held.
"""

from __future__ import annotations

import errno

from providers.overlay import merge
from providers.overlay.copyup import upper_directory
from providers.overlay.hardlinks import lost_lower_name
from providers.overlay.making import EXCHANGE, Located, locate
from providers.overlay.nodes import OverlayNode
from providers.overlay.union import Union
from vfsd.errors import fail
from vfsd.provider import Stat


async def unlink(union: Union, parent: OverlayNode, name: bytes) -> None:
    """Remove a name that is not a directory. ENOENT, EISDIR."""
    union.refresh(parent)
    if parent.plain and not parent.below and parent.upper is not None and not union.partial:
        # All there is to know is in the upper: no whiteouts, nothing below.
        await union.upper_provider.unlink(parent.upper, name)
        return
    located = await locate(union, parent, name)
    if located.entry is None:
        raise fail(errno.ENOENT, name)
    node = located.entry.node
    assert isinstance(node, OverlayNode)
    if node.is_directory:
        raise fail(errno.EISDIR, name)
    if located.lower:
        await _cover(union, parent, name, located)
    else:
        directory = await upper_directory(union, parent, name)
        await union.upper_provider.unlink(directory, name)
    await lost_name(union, parent, name, node, located, located.entry.stat)


async def _cover(union: Union, parent: OverlayNode, name: bytes, located: Located) -> None:
    """Hide what the lowers have at a name, in place of the file that the upper may have there."""
    upper = union.need_upper()
    provider = upper.provider
    directory = await upper_directory(union, parent, name)
    parent.plain = False
    if located.in_upper:
        await provider.rename(upper.work, await upper.staged_whiteout(), directory, name, 0)
    else:
        await provider.put_whiteout(directory, name)
    parent.cover(name)


async def lost_name(
    union: Union,
    parent: OverlayNode,
    name: bytes,
    node: OverlayNode,
    located: Located,
    stat: Stat,
) -> None:
    """Note that a file that is not a directory has lost this name; `stat` is from before."""
    if (union.hard or stat.nlink > 1) and not located.in_upper:
        await lost_lower_name(union, node, stat)
    if node.parent is parent and node.name == name:
        node.parent, node.name = None, b""
    if stat.nlink <= 1:
        node.removed = True
        if union.partial:
            union.drop_partial(node)


async def rmdir(union: Union, parent: OverlayNode, name: bytes) -> None:
    """Remove an empty directory. ENOENT, ENOTDIR, ENOTEMPTY."""
    union.refresh(parent)
    located = await locate(union, parent, name)
    if located.entry is None:
        raise fail(errno.ENOENT, name)
    node = located.entry.node
    assert isinstance(node, OverlayNode)
    if not node.is_directory:
        raise fail(errno.ENOTDIR, name)
    if not await merge.is_empty(union, node):
        raise fail(errno.ENOTEMPTY, name)
    await remove_directory(union, parent, name, located)
    if located.lower:
        parent.cover(name)
    node.removed = True
    node.parent, node.name = None, b""


async def remove_directory(
    union: Union, parent: OverlayNode, name: bytes, located: Located
) -> None:
    """Take an empty directory away, with the whiteouts in it."""
    assert located.entry is not None
    node = located.entry.node
    assert isinstance(node, OverlayNode)
    upper = union.need_upper()
    provider = upper.provider
    directory = await upper_directory(union, parent, name)
    node.unknown()
    if not located.in_upper:
        parent.plain = False
        await provider.put_whiteout(directory, name)
        return
    assert node.upper is not None
    if located.lower:
        parent.plain = False
        stage = await upper.staged_whiteout()
        await provider.rename(upper.work, stage, directory, name, EXCHANGE)
        await upper.discard_directory(stage, node.upper)
    elif node.plain:
        await provider.rmdir(directory, name)
    else:
        stage = upper.stage()
        await provider.rename(directory, name, upper.work, stage, 0)
        await upper.discard_directory(stage, node.upper)
