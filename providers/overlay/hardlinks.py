"""Hard links across copy-up: all names of a lower file go on to be one file.

The lowers cannot be asked for a file's other names. So when a file with several names is
copied up under one of them, the copy is also linked into the upper's index under the file's
number; another name, when it is looked up and found in a lower, leads there. How many names
still stand only in the lowers (`Hard.pending`) is noted on the copy; link counts are true.

In the kernel's overlayfs such a name shows the lower's old content until it is brought up,
which storing.py does (when the overlay is closed, and before a layer is stored).

A file that only lost names is not copied for that: the count is kept in memory, and after a
restart it is the lower's again.

Concurrency: the overlay's turn is held.
"""

from __future__ import annotations

from contextlib import suppress

from providers.overlay import marks
from providers.overlay.nodes import OverlayNode
from providers.overlay.origin import origin_note, read_origin, read_pending
from providers.overlay.union import Hard, Union
from providers.overlay.upper import Upper
from vfsd.provider import Node, Stat


def index_name(number: int) -> bytes:
    """Return the name in the index of the file with that number."""
    return b"%x" % number


async def index_copy(
    union: Union, upper: Upper, stage: bytes, node: OverlayNode, copy: Node, nlink: int
) -> bool:
    """Enter a finished copy into the index; True if it has no other place in the upper.

    Whoever places it there as well has taken one name from `pending` by that.
    """
    placed = node.parent is not None
    pending = nlink - 1 if placed else nlink
    await _note(union, upper, copy, node.number, pending)
    index = await upper.index_directory()
    name = index_name(node.number)
    with suppress(FileNotFoundError):
        await upper.provider.unlink(index, name)  # left by a copy-up that a crash ended
    if placed:
        await upper.provider.link(copy, index, name)
    else:
        await upper.provider.rename(upper.work, stage, index, name, 0)
    union.hard[node.number] = Hard(pending, copy, union.epoch)
    return not placed


async def _note(union: Union, upper: Upper, copy: Node, number: int, pending: int) -> None:
    note = origin_note(number, pending)
    with suppress(OSError):  # of a symlink or FIFO the count is kept in memory only
        await upper.provider.setxattr(copy, union.flavour.named(marks.OWN), note)


async def lost_lower_name(union: Union, node: OverlayNode, stat: Stat) -> None:
    """Note that a name that stands only in a lower is gone, or now stands in the upper too.

    `stat` is the file's as it was shown before.
    """
    number = node.number
    hard = union.hard.get(number)
    if hard is None:
        if stat.nlink > 1 and node.upper is None:
            union.hard[number] = Hard(stat.nlink - 1, None, union.epoch)
        return
    pending = hard.pending - 1
    union.hard[number] = hard._replace(pending=pending)
    if hard.node is None:
        if pending <= 0:
            del union.hard[number]
        return
    if hard.epoch != union.epoch:
        return
    upper = union.need_upper()
    if pending > 0:
        await _note(union, upper, hard.node, number, pending)
        return
    await _note(union, upper, hard.node, number, 0)
    with suppress(FileNotFoundError):
        await upper.provider.unlink(await upper.index_directory(), index_name(number))
    del union.hard[number]


async def load(union: Union) -> None:
    """Read the index of each layer of the upper, after a restart."""
    upper = union.upper
    if upper is None or upper.fresh:
        return
    provider = upper.provider
    layers = sorted(int(name) for name in await provider.readdir(upper.indexes) if name.isdigit())
    # The writable layer has the highest number; sealed ones come before it, in order.
    for layer in layers:
        epoch = union.epoch - (upper.number - layer)
        if epoch < 0 or layer > upper.number:
            continue
        directory = (await provider.lookup(upper.indexes, b"%d" % layer)).node
        if layer == upper.number:
            upper.index = directory
        for name in await provider.readdir(directory):
            entry = await provider.lookup(directory, name)
            note = await marks.own(provider, entry.node, (union.flavour.named(marks.OWN),))
            number, pending = read_origin(note), read_pending(note)
            if number is None or not pending or index_name(number) != name:
                if layer == upper.number:
                    await provider.unlink(directory, name)
                continue
            if entry.stat.nlink < 2 and pending < 1:
                continue
            union.hard[number] = Hard(pending, entry.node, epoch)
