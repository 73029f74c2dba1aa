"""Changing attributes: of the copy in the upper, which is made first where there is none.

Concurrency: takes the overlay's turn itself, where a copy has to be made.
"""

from __future__ import annotations

import errno
import stat as stat_module

from providers.overlay import marks
from providers.overlay.ahead import Ahead
from providers.overlay.copyup import bring_up
from providers.overlay.largefirst import in_turn
from providers.overlay.nodes import OverlayNode
from providers.overlay.union import Union
from vfsd.errors import fail
from vfsd.provider import Caller, Node, SetAttr, Stat


async def setattr_of(union: Union, node: OverlayNode, changes: SetAttr, caller: Caller) -> Stat:
    """Change attributes and return all of them; what is cut off is not copied."""
    upper = union.need_upper()
    if upper.paused is not None:
        await upper.resumed()
    if node.removed:
        union.check_there(node)
    if changes.size is not None and node.kind != stat_module.S_IFREG:
        raise fail(errno.EISDIR if node.is_directory else errno.EINVAL)
    union.refresh(node)
    inner = node.upper
    if inner is None or union.partial:
        async with Ahead(union, node, changes.size) as ahead, union.turn:
            inner = await bring_up(union, node, limit_bytes=changes.size, ahead=ahead)
            stat = await union.upper_provider.setattr(inner, changes, caller)
            _cut(union, inner, changes.size)
    else:
        upper.writing += 1  # no seal may come in between
        try:
            stat = await upper.provider.setattr(inner, changes, caller)
        finally:
            upper.ended()
    return union.shown(node, stat)


def _cut(union: Union, inner: Node, size: int | None) -> None:
    """What was cut off does not come back from the lower when the file grows again."""
    partial = union.partial.get(inner.number)
    if partial is not None and size is not None and size < partial.base_size:
        union.partial[inner.number] = partial._replace(base_size=size)


async def setxattr(union: Union, node: OverlayNode, name: bytes, value: bytes) -> None:
    """Set an attribute; one that would look like a mark is stored under another name."""
    union.need_upper()
    async with Ahead(union, node) as ahead, union.turn:
        inner = await bring_up(union, node, ahead=ahead)
        await union.upper_provider.setxattr(inner, marks.stored(name), value)


async def removexattr(union: Union, node: OverlayNode, name: bytes) -> None:
    """Remove an attribute. ENODATA, before a copy is made."""
    union.need_upper()

    async def change() -> None:
        provider, place = union.reading(node)
        await provider.getxattr(place, marks.stored(name))
        inner = await bring_up(union, node)
        await union.upper_provider.removexattr(inner, marks.stored(name))

    await in_turn(union, change)
