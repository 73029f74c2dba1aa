"""Completing a layer, so that it can be stored: it then needs nothing but the layers below.

Concurrency: the overlay's turn is held, which `complete` and `finish` take.
"""

from __future__ import annotations

import logging
import os

import trio

from providers.overlay import merge
from providers.overlay.ahead import LargeBelow
from providers.overlay.copydata import copy_range
from providers.overlay.largefirst import in_turn
from providers.overlay.making import locate, name_up
from providers.overlay.nodes import OverlayNode
from providers.overlay.union import Union
from providers.overlay.upper import ROOT
from vfsd.provider import Node, SetAttr

log = logging.getLogger(__name__)


async def complete(union: Union) -> None:
    """Bring up all that the writable layer refers to."""

    async def change() -> None:
        await link_all(union)
        for number in tuple(union.partial):
            await fill(union, number)

    await in_turn(union, change)


async def finish(union: Union) -> None:
    """Leave a layer on disk that other programs show as it was shown here."""
    with trio.CancelScope(shield=True):
        try:
            await in_turn(union, lambda: link_all(union))
        except OSError:
            log.exception("names of hard-linked files could not be completed in the upper")


async def fill(union: Union, number: int) -> None:
    """Copy what a file that was copied up in part still lacks."""
    partial = union.partial[number]
    base, node = partial.base, Node(number)
    source = await base.layer.provider.open(base.node, os.O_RDONLY, ROOT)
    try:
        before = await union.upper_provider.getattr(node)
        target = await union.upper_provider.open(node, os.O_WRONLY, ROOT)
        try:
            for present, start, end in partial.runs(0, before.size):
                if not present:
                    await copy_range(source, target, start, end)
        finally:
            await target.release()
        times = SetAttr(atime_ns=before.atime_ns, mtime_ns=before.mtime_ns)
        await union.upper_provider.setattr(node, times, ROOT)
    finally:
        await source.release()
    del union.partial[number]


async def link_all(union: Union) -> None:
    """Bring up every name that a copied file still has in the lowers only.

    Where they stand is not known, so this looks through the whole tree; only if there are any.
    `LargeBelow`, with all large files there are, once the rest is brought up.
    """
    large: list[OverlayNode] = []
    # Those of a sealed layer are copied again: what is sealed gets no more names.
    wanted = {number for number, hard in union.hard.items() if hard.node is not None}
    waiting = [union.root] if wanted else []
    while waiting:
        node = waiting.pop()
        if not node.below:
            continue  # all the upper's
        names = await merge.names_in(union, node)
        entries = await merge.find_many(union, node, names)
        for name, entry in zip(names, entries, strict=True):
            if entry is None:
                continue
            child = entry.node
            assert isinstance(child, OverlayNode)
            if child.is_directory:
                waiting.append(child)
            elif child.number in wanted:
                located = await locate(union, node, name)
                if located.entry is not None and not located.in_upper:
                    try:
                        await name_up(union, node, name, located)
                    except LargeBelow as met:
                        large.extend(met.nodes)
    if large:
        raise LargeBelow(*large)
