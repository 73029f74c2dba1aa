"""Copying a small file up in one step, where the upper's provider has one (`put_copy`).

It spares making the file elsewhere, opening, marking and renaming it as calls of their own: what
that gains stands in docs/PERFORMANCE.md, "A copy-up in one step". All that is not ordinary goes
the long way (copyup.py): hard links, directories, large files, what fails.

Concurrency: the overlay's turn is held.
"""

from __future__ import annotations

import stat as stat_module

from providers.overlay import marks
from providers.overlay.copydata import CHUNK, ZEROS, xattrs_of
from providers.overlay.layers import Below
from providers.overlay.nodes import OverlayNode
from providers.overlay.origin import origin_note
from providers.overlay.partial import read_fully
from providers.overlay.union import Union
from vfsd.provider import FileCopy, Handle, Stat


async def put_at_once(
    union: Union, node: OverlayNode, source: Below, origin: Handle, stat: Stat
) -> Handle | None:
    """Put a copy of the regular file `origin`, with `stat`, into the upper; return it open.

    None, with nothing changed, where it has to go the long way.
    """
    if stat.nlink != 1 or stat.size > CHUNK or node.kind != stat_module.S_IFREG:
        return None
    upper, parent = union.need_upper(), node.parent
    if not upper.one_step or node.removed:
        return None
    if parent is None or parent.upper is None or parent.epoch != union.epoch:
        return None
    kept = await xattrs_of(source)
    data = await read_fully(origin, 0, stat.size)
    if len(data) != stat.size or (data and data == ZEROS[: len(data)]):
        return None  # it changed, or is a hole
    note = union.flavour.named(marks.OWN), origin_note(node.number)
    parent.touched(node.name)
    made = await upper.provider.put_copy(
        *(parent.upper, node.name, FileCopy(stat, data, (*kept, note))),
        (upper.work, upper.stage()),
        sync=upper.syncs,
    )
    if made is None:
        # What lies on a disk always takes several steps; to read each file for nothing need not be.
        upper.one_step = not upper.syncs
        return None
    union.copied_bytes += len(data)
    union.brought_up(node, made[0].node)
    return made[1]
