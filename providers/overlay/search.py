"""What the lowers have at a place: one file, or directories that are merged, top first.

The layers are asked from the top. A file or a whiteout ends the search; a directory goes on
into the layers below, until one is opaque, and under another name after a redirect.

Where all lowers of a directory are sealed, its merged listing is kept with the node, so that a
look-up asks only layers that have the name: chains of many layers cost no more than short ones.
Lowers that may change are asked each time; where a directory has vanished from one meanwhile,
that lower no longer takes part.

Concurrency: changes nothing but what the node remembers.

Source: Linux Documentation/filesystems/overlayfs.rst; fs/overlayfs/namei.c.
"""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Iterable, Sequence

from providers.overlay import marks
from providers.overlay.layers import Below, Layer
from providers.overlay.nodes import OverlayNode
from providers.overlay.origin import read_origin
from providers.overlay.union import Union
from vfsd.errors import fail
from vfsd.provider import Node, Stat

S_IFMT = stat_module.S_IFMT
DIRECTORY = stat_module.S_IFDIR
GONE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)

Found = tuple[list[Below], Stat | None]
"""What the lowers have at a place: a file, or directories, top first; or nothing."""


async def find_below(union: Union, parent: OverlayNode, name: bytes) -> Found:
    """Return what the lowers have at a place."""
    stack = parent.below
    index = parent.index
    if index is not None:
        places = index.get(name)
        if places is None:
            return [], None
        return await search(union, stack, name, places)
    if len(stack) > 1 and all_sealed(stack):
        index = await merged_index(stack)
        if parent.below is stack:
            parent.index = index
        places = index.get(name)
        return ([], None) if places is None else await search(union, stack, name, places)
    found = await search(union, stack, name)
    if found[1] is None and len(stack) == 1 and stack[0].layer.sealed:
        index = await merged_index(stack)  # the next absence costs nothing
        if parent.below is stack:
            parent.index = index
    return found


def all_sealed(stack: Iterable[Below]) -> bool:
    return all(each.layer.sealed for each in stack)


async def search(
    union: Union, stack: Sequence[Below], name: bytes, places: Sequence[int] | None = None
) -> Found:
    """Look for `name` in each directory of `stack`, or only at the given `places` of it."""
    if len(stack) == 1 and stack[0].layer.bottom:
        return await _in_bottom(stack[0], name)
    found: list[Below] = []
    first: Stat | None = None
    waiting = list(range(len(stack)) if places is None else places)
    waiting.reverse()
    while waiting:
        place = waiting.pop()
        layer, directory, xattr_whiteouts = stack[place]
        provider = layer.provider
        try:
            inner, stat = await provider.lookup(directory, name)
        except FileNotFoundError:
            continue
        except OSError as error:
            if not layer.sealed and error.errno in GONE:
                continue
            raise
        kind = S_IFMT(stat.mode)
        if kind != DIRECTORY:
            if (
                first is not None
                or marks.is_whiteout(stat)
                or (xattr_whiteouts and await _is_xattr_whiteout(layer, inner, stat))
            ):
                break
            return [Below(layer, inner)], stat
        if first is None:
            first = stat
        if layer.bottom:
            found.append(Below(layer, inner))
            break
        known = await marks.read(provider, inner)
        found.append(Below(layer, inner, known.xattr_whiteouts))
        if known.opaque:
            break
        if known.redirect is not None:
            rest = stack[place + 1 :]
            stack, name = await redirected(union, rest, known.redirect, layer)
            waiting = list(range(len(stack)))
            waiting.reverse()
    return found, first


async def _in_bottom(directory: Below, name: bytes) -> Found:
    """Look for `name` where nothing is below: most of what there is, so made to cost little."""
    layer = directory.layer
    try:
        inner, stat = await layer.provider.lookup(directory.node, name)
    except FileNotFoundError:
        return [], None
    except OSError as error:
        if not layer.sealed and error.errno in GONE:
            return [], None
        raise
    if stat.rdev == 0 and marks.is_whiteout(stat):
        return [], None
    return [tuple.__new__(Below, (layer, inner, False))], stat


async def _is_xattr_whiteout(layer: Layer, inner: Node, stat: Stat) -> bool:
    if stat.size or S_IFMT(stat.mode) != stat_module.S_IFREG:
        return False
    return await marks.has(layer.provider, inner, marks.WHITEOUT)


async def redirected(
    union: Union, rest: Sequence[Below], redirect: bytes, layer: Layer | None
) -> tuple[Sequence[Below], bytes]:
    """Return where the layers below have a renamed directory: directories, and the name there.

    A path that does not start with a slash is a name beside it. EIO for nonsense.
    """
    names = [each for each in redirect.split(b"/") if each]
    if not names or b".." in names or b"." in names:
        raise fail(errno.EIO, redirect)
    if not redirect.startswith(b"/"):
        if len(names) > 1:
            raise fail(errno.EIO, redirect)
        return rest, names[0]
    stack: Sequence[Below] = union.root_below
    if layer is not None:
        position = next(i for i, each in enumerate(stack) if each.layer is layer)
        stack = stack[position + 1 :]
    for each in names[:-1]:
        stack, stat = await search(union, stack, each)
        if stat is None or not stat_module.S_ISDIR(stat.mode):
            return (), names[-1]
    return stack, names[-1]


async def number_below(union: Union, below: Below) -> int:
    """Return the number of a file in a lower."""
    layer = below.layer
    if not layer.tag:
        upper = union.upper
        known = None if upper is None else upper.copies.get(below.node.number)
        if known is not None:
            return known
        name = union.flavour.named(marks.OWN)
        origin = read_origin(await marks.own(layer.provider, below.node, (name,)))
        if origin is not None:
            return origin
    return union.lowers.minted.number(layer.tag, below.node.number)


async def merged_index(stack: Sequence[Below]) -> dict[bytes, tuple[int, ...]]:
    """Return each name that the lowers show in a directory, and where in `stack` it stands."""
    if len(stack) == 1 and stack[0].layer.bottom and stack[0].layer.sealed:
        return dict.fromkeys(await stack[0].layer.provider.readdir(stack[0].node), (0,))
    index: dict[bytes, tuple[int, ...]] = {}
    ended: set[bytes] = set()
    for place, (layer, directory, xattr_whiteouts) in enumerate(stack):
        try:
            names = await layer.provider.readdir(directory)
            if layer.bottom:
                for name in names:
                    if name not in ended:
                        index[name] = (*index.get(name, ()), place)
                break
            entries = await layer.provider.lookup_many(directory, names)
        except OSError as error:
            if not layer.sealed and error.errno in GONE:
                continue
            raise
        for name, entry in zip(names, entries, strict=True):
            if entry is None or name in ended:
                continue
            stat = entry.stat
            if marks.is_whiteout(stat) or (
                xattr_whiteouts and await _is_xattr_whiteout(layer, entry.node, stat)
            ):
                ended.add(name)
                continue
            index[name] = (*index.get(name, ()), place)
    return index
