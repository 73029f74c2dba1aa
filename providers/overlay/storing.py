"""Completing a layer, so that it can be stored: it then needs nothing but the layers below.

Concurrency: the overlay's turn is held.
"""

from __future__ import annotations

import os

from providers.overlay.copyup import copy_range
from providers.overlay.union import Union
from providers.overlay.upper import ROOT
from vfsd.provider import Node, SetAttr


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
