"""What a name stands for in the merged tree, and what a directory lists.

The upper is asked first, where it may have something (`OverlayNode.lacks`), then the lowers
(search.py).

Concurrency: changes no layer; safe beside everything but the steps of a change that `Turn.tear`
covers, for which the provider waits.

Source: Linux Documentation/filesystems/overlayfs.rst; fs/overlayfs/namei.c.
"""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from providers.overlay import marks
from providers.overlay.layers import Below, Layer
from providers.overlay.nodes import OverlayNode
from providers.overlay.origin import read_origin
from providers.overlay.search import (
    GONE,
    Found,
    all_sealed,
    find_below,
    merged_index,
    number_below,
    redirected,
    search,
)
from providers.overlay.union import Union
from vfsd.errors import fail
from vfsd.provider import Entry, Node, Stat

S_IFMT = stat_module.S_IFMT
DIRECTORY, CHARACTER_DEVICE = stat_module.S_IFDIR, stat_module.S_IFCHR
KIND = 0o170000
"""The file type bits of a mode: what `S_IFMT` masks, without a call for each name."""


async def find(union: Union, parent: OverlayNode, name: bytes) -> Entry:
    """Return what `name` stands for. ENOENT, ENOTDIR, ESTALE."""
    if parent.kind != DIRECTORY:
        raise fail(errno.ENOTDIR)
    if parent.epoch != union.epoch:
        union.refresh(parent)
    if parent.upper is not None and not parent.lacks(name):
        if not parent.below:  # what is missing there is missing, and the upper says so
            entry = await union.upper_provider.lookup(parent.upper, name)
            return await in_upper(union, parent, name, entry)
        try:
            entry = await union.upper_provider.lookup(parent.upper, name)
        except FileNotFoundError:
            pass
        else:
            return await in_upper(union, parent, name, entry)
    if not parent.below:
        raise fail(errno.ENOENT, name)
    found, stat = await find_below(union, parent, name)
    if stat is None:
        raise fail(errno.ENOENT, name)
    return await from_below(union, parent, name, found, stat)


async def in_upper(
    union: Union, parent: OverlayNode, name: bytes, entry: Entry, found: Found | None = None
) -> Entry:
    """Return the entry for what the upper has at that place. ENOENT for a whiteout.

    `found` is what the lowers have there, if somebody looked already.
    """
    inner, stat = entry
    if stat.rdev == 0 and S_IFMT(stat.mode) == stat_module.S_IFCHR:
        raise fail(errno.ENOENT, name)
    node = union.nodes.of_upper(inner.number)
    if node is None or node.kind != S_IFMT(stat.mode) or node.epoch != union.epoch:
        node = await _adopt(union, parent, name, inner, stat, found)
    elif node.below and not all_sealed(node.below):
        # What was brought up here and is neither opaque nor redirected has no marks that count.
        known = marks.NONE if node.others is not None else await _marks(union, inner)
        node.below = await _directories(union, parent, name, known, found)
        note_lowers(union, node)
    node.parent, node.name = parent, name
    if node.below or union.hard:
        stat = union.shown(node, stat)
    return Entry(node, stat)


async def _marks(union: Union, inner: Node) -> marks.Marks:
    return await marks.read(union.upper_provider, inner)


async def _adopt(
    union: Union,
    parent: OverlayNode,
    name: bytes,
    inner: Node,
    stat: Stat,
    lower: Found | None,
) -> OverlayNode:
    """Make the node of a file in the upper that nobody holds."""
    kind = S_IFMT(stat.mode)
    below: tuple[Below, ...] = ()
    if kind == DIRECTORY:
        found = await _marks(union, inner)
        origin = read_origin(found.own)
        below = await _directories(union, parent, name, found, lower)
        if origin is None and below:
            origin = await number_below(union, below[0])
    else:
        origin = await note_of(union, inner)
    known = union.nodes.of_upper(inner.number)
    if known is not None and known.kind == kind and known.epoch == union.epoch:
        return known  # someone was quicker
    number = union.lowers.minted.number(0, inner.number) if origin is None else origin
    if number in union.nodes.by_number:
        number = union.lowers.minted.fresh()  # its origin's number is in use again
    node = OverlayNode(number, kind, union.epoch)
    node.upper = inner
    node.below = below
    union.nodes.add(node)
    note_lowers(union, node)
    return node


async def note_of(union: Union, inner: Node) -> int | None:
    """Return the number that a file in the upper had before it was copied up, if it was."""
    upper = union.upper
    assert upper is not None
    known = upper.copies.get(inner.number)
    if known is not None or (upper.seals and upper.fresh):
        return known
    name = union.flavour.named(marks.OWN)
    return read_origin(await marks.own(upper.provider, inner, (name,)))


async def _directories(
    union: Union, parent: OverlayNode, name: bytes, known: marks.Marks, found: Found | None
) -> tuple[Below, ...]:
    """Return the directories below one of the upper, with which it is merged."""
    if known.opaque:
        return ()
    if known.redirect is not None:
        stack, name = await redirected(union, parent.below, known.redirect, None)
        below, stat = await search(union, stack, name)
    elif found is not None:
        below, stat = found
    elif parent.below:
        below, stat = await find_below(union, parent, name)
    else:
        return ()
    if stat is None or not stat_module.S_ISDIR(stat.mode):
        return ()
    return tuple(below)


async def from_below(
    union: Union, parent: OverlayNode, name: bytes, found: list[Below], stat: Stat
) -> Entry:
    """Return the entry for what was found in the lowers."""
    top = found[0]
    tag = top.layer.tag
    if tag:
        number = union.lowers.minted.number(tag, top.node.number)
    else:
        number = await number_below(union, top)
    if union.hard and number in union.hard and S_IFMT(stat.mode) != DIRECTORY:
        return await _hard_linked(union, parent, name, top, number, stat)
    return _seen_below(union, parent, name, found, number, stat)


def _seen_below(
    union: Union, parent: OverlayNode, name: bytes, found: list[Below], number: int, stat: Stat
) -> Entry:
    """Return the entry for what has that number, and is no hard link that was changed."""
    top = found[0]
    kind = S_IFMT(stat.mode)
    node = union.nodes.by_number.get(number)
    if node is not None:
        union.refresh(node)
        if node.kind != kind or not _same(node, top):
            number, node = _another(union, top, kind)
    if node is None:
        node = OverlayNode(number, kind, union.epoch)
        node.below = tuple(found)
        union.nodes.add(node)
        note_lowers(union, node)
    elif kind == DIRECTORY and not all_sealed(found):
        node.below = tuple(found)
        note_lowers(union, node)
    node.parent, node.name = parent, name
    if kind == DIRECTORY or node.upper is not None or union.hard:
        stat = union.shown(node, stat)
    return Entry(node, stat)


def _alone_below(
    union: Union, parent: OverlayNode, name: bytes, layer: Layer, inner: Node, stat: Stat
) -> Entry:
    """Return the entry for what is in the bottom layer alone: most of a listing, so made to cost
    little; nothing in `union.hard`."""
    number = union.lowers.minted.number(layer.tag, inner.number)
    kind = stat.mode & KIND
    nodes = union.nodes
    if nodes.by_number.get(number) is not None:
        return _seen_below(union, parent, name, [Below(layer, inner)], number, stat)
    node = OverlayNode(number, kind, union.epoch)
    node.below = (tuple.__new__(Below, (layer, inner, False)),)
    node.parent, node.name = parent, name
    nodes.by_number[number] = node
    if kind == DIRECTORY:
        stat = union.shown(node, stat)
    return tuple.__new__(Entry, (node, stat))


def _same(node: OverlayNode, top: Below) -> bool:
    return (
        node.upper is None
        and bool(node.below)
        and not node.removed
        and node.below[0].layer is top.layer
        and node.below[0].node.number == top.node.number
    )


def _another(union: Union, top: Below, kind: int) -> tuple[int, OverlayNode | None]:
    """Return number and node for a lower file whose number a different file has.

    Only a lower that changed behind the overlay's back leads here.
    """
    key = (top.layer.tag, top.node.number)
    node = union.nodes.by_lower.get(key)
    if node is not None and node.kind == kind and _same(node, top):
        return node.number, node
    number = union.lowers.minted.fresh()
    node = OverlayNode(number, kind, union.epoch)
    node.below = (top,)
    union.nodes.add(node)
    union.nodes.by_lower[key] = node
    return number, node


async def _hard_linked(
    union: Union, parent: OverlayNode, name: bytes, top: Below, number: int, stat: Stat
) -> Entry:
    """Return the entry for another name of a lower file that was changed under one of them."""
    hard = union.hard[number]
    node = union.nodes.by_number.get(number)
    if node is not None:
        union.refresh(node)
    else:
        node = OverlayNode(number, S_IFMT(stat.mode), union.epoch)
        if hard.node is None:
            node.below = (top,)
        elif hard.epoch == union.epoch:
            node.upper = hard.node
        else:
            node.below = (Below(union.family[hard.epoch], hard.node),)
        union.nodes.add(node)
    node.parent, node.name = parent, name
    provider, inner = union.reading(node)
    return Entry(node, union.shown(node, await provider.getattr(inner)))


def note_lowers(union: Union, node: OverlayNode) -> None:
    """Remember which directory shows what, for lowers that tell of changes.

    What is in one lower only is found by its number (changes.py).
    """
    if node.kind != DIRECTORY or (len(node.below) == 1 and node.upper is None):
        return
    for each in node.below:
        if not each.layer.sealed:
            union.nodes.by_lower[each.layer.tag, each.node.number] = node


async def names_in(union: Union, node: OverlayNode) -> list[bytes]:
    """Return all names in a directory: the upper's first, then the lowers'. ENOTDIR, ESTALE."""
    if node.kind != DIRECTORY:
        raise fail(errno.ENOTDIR)
    union.refresh(node)
    upper, stack = node.upper, node.below
    names: list[bytes] = []
    present: Sequence[bytes] = ()
    if upper is not None:
        covered = node.covered or ()
        if node.others is not None and not node.others:
            present = tuple(covered)
        else:
            provider = union.upper_provider
            present = await provider.readdir(upper)
            if node.plain:
                names.extend(present)
            else:
                asked = [name for name in present if name not in covered] if covered else present
                entries = await provider.lookup_many(upper, asked)
                for name, entry in zip(asked, entries, strict=True):
                    if entry is not None and not marks.is_whiteout(entry.stat):
                        names.append(name)
                node.plain = len(names) == len(present)
    if stack:
        index = node.index
        if index is None:
            if upper is None and len(stack) == 1 and stack[0].layer.bottom:
                return list(await stack[0].layer.provider.readdir(stack[0].node))
            index = await merged_index(stack)
            if node.below is stack and all_sealed(stack):
                node.index = index
        if present:
            hidden = set(present)
            names.extend(name for name in index if name not in hidden)
        else:
            names.extend(index)
    return names


async def is_empty(union: Union, node: OverlayNode) -> bool:
    """Say whether a directory shows no names; of the upper's, not all need to be looked at."""
    union.refresh(node)
    upper, covered = node.upper, node.covered
    if upper is None or not covered:
        return not await names_in(union, node)
    hidden: AbstractSet[bytes] = covered
    if node.others is None or node.others:
        provider = union.upper_provider
        present = await provider.readdir(upper)
        others = [name for name in present if name not in covered]
        for entry in await provider.lookup_many(upper, others):
            if entry is not None and not marks.is_whiteout(entry.stat):
                return False
        hidden = set(present)
    below = node.index
    if below is None:
        below = await merged_index(node.below) if node.below else {}
    return below.keys() <= hidden


async def find_many(
    union: Union, parent: OverlayNode, names: Sequence[bytes]
) -> list[Entry | None]:
    """Return an entry per name, None where there is none: a page of a listing."""
    if parent.kind != DIRECTORY:
        raise fail(errno.ENOTDIR)
    union.refresh(parent)
    found: list[Entry | None] = [None] * len(names)
    asking: Sequence[int] = range(len(names))
    if parent.upper is not None:
        missing: list[int] = []
        there: Sequence[int] = asking
        if parent.others is not None:
            # Whiteouts that are known need no look, nor do names at which nothing can stand.
            covered, others = parent.covered or (), parent.others
            there = [place for place in asking if names[place] in others]
            missing = [
                place
                for place in asking
                if names[place] not in others and names[place] not in covered
            ]
        entries = []
        if there:
            wanted = [names[place] for place in there]
            entries = await union.upper_provider.lookup_many(parent.upper, wanted)
        for place, entry in zip(there, entries, strict=True):
            if entry is None:
                missing.append(place)
            elif not marks.is_whiteout(entry.stat):
                found[place] = await in_upper(union, parent, names[place], entry)
        if not parent.below:
            return found
        asking = missing
    stack = parent.below
    if len(stack) == 1 and stack[0].layer.bottom:
        layer, directory, _ = stack[0]
        wanted = [names[place] for place in asking]
        try:
            entries = await layer.provider.lookup_many(directory, wanted)
        except OSError as error:
            if layer.sealed or parent.upper is None or error.errno not in GONE:
                raise
            return found
        plain = layer.tag and not union.hard
        for place, entry in zip(asking, entries, strict=True):
            if entry is None:
                continue
            inner, stat = entry
            if stat.mode & KIND == CHARACTER_DEVICE and marks.is_whiteout(stat):
                continue
            if plain:
                found[place] = _alone_below(union, parent, names[place], layer, inner, stat)
            else:
                below = [Below(layer, inner)]
                found[place] = await from_below(union, parent, names[place], below, stat)
        return found
    for place in asking:
        below, top = await find_below(union, parent, names[place])
        if top is not None:
            found[place] = await from_below(union, parent, names[place], below, top)
    return found
