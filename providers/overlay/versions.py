"""Seal, snapshot, fork: another overlay over the same layers.

Over an upper that has snapshots of its own (memory), a snapshot or fork of the overlay is one
of the upper, over the same lowers. Otherwise the upper's layer is *sealed*: it becomes the
topmost lower, and the next change begins a new one. Both take one step, whatever the size of
the tree. What is known of hard links and of files that are copied in part is taken along.

A fork of sealed layers writes to memory: to a fork of `spare`, an empty upper that is kept
ready for that.

Concurrency: but for `paused` nothing here suspends. While a change is half-way on storage that
blocks, there is no moment to seal: EBUSY. `paused` makes one: changes that are under way end,
and others wait.
"""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from providers.overlay.layers import Below, Layer
from providers.overlay.nodes import OverlayNode
from providers.overlay.union import Union
from providers.overlay.upper import Upper
from vfsd.errors import fail


@asynccontextmanager
async def paused(union: Union) -> AsyncIterator[None]:
    """Within it no change is half-way, and none begins; looking goes on."""
    upper = union.upper
    if upper is None or not upper.writable or not upper.seals:
        yield
        return
    async with union.turn:
        union.turn.cancellable(True)
        upper.paused = trio.Event()
        try:
            await upper.quiet()
            with union.turn.uncommitted():
                yield
        finally:
            upper.paused.set()
            upper.paused = None


def seal(union: Union) -> None:
    """Make the writable layer the topmost lower, if anything was ever written to it. EBUSY."""
    upper = union.upper
    if upper is None or not upper.writable:
        return
    if upper.writing or union.turn.committed:
        raise fail(errno.EBUSY)
    if upper.root is None:
        return
    layer = Layer(upper.provider, upper.root, 0, sealed=True, bottom=False)
    union.family = (*union.family, layer)
    union.root_below = (Below(layer, upper.root), *union.root_below)
    union.epoch = len(union.family)
    upper.root = upper.index = None
    upper.number += 1
    union.refresh(union.root)


def branch(union: Union, spare: Upper | None, *, writable: bool) -> Union:
    """Return the same tree as it is now; with `writable`, one that can be changed apart.

    EOPNOTSUPP without a `spare` where one is needed, EBUSY.
    """
    upper = union.upper
    if upper is not None and upper.seals:
        seal(union)
        upper = None
    if upper is not None:
        provider = upper.provider.fork() if writable else upper.provider.snapshot()
        upper = upper.clone(provider, writable=writable)
    elif writable:
        if spare is None:
            raise fail(errno.EOPNOTSUPP)
        upper = spare.clone(spare.provider.fork(), writable=True)
    other = Union(upper, union.lowers, union.family, union.flavour, union.root_below)
    other.hard = dict(union.hard)
    other.partial = dict(union.partial) if upper is not None else {}
    return other


def same_file(one: Union, node: OverlayNode, two: Union, other: OverlayNode) -> bool:
    """Say whether a node is known to be the same in both, as `Provider.unchanged` means it."""
    one.refresh(node)
    two.refresh(other)
    if len(node.below) != len(other.below) or node.number != other.number:
        return False
    for mine, theirs in zip(node.below, other.below, strict=True):
        if mine.layer is not theirs.layer or mine.node.number != theirs.node.number:
            return False
    if one.hard or two.hard:
        mine_hard, their_hard = one.hard.get(node.number), two.hard.get(node.number)
        pending = [None if each is None else each.pending for each in (mine_hard, their_hard)]
        if pending[0] != pending[1]:
            return False
    if node.upper is None or other.upper is None:
        return node.upper is None and other.upper is None and bool(node.below)
    return one.upper_provider.unchanged(node.upper, two.upper_provider, other.upper)
