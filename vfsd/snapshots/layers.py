"""Layers over each other, name by name: what shows, from where, and what hides what is below.

The one place that knows the rules of merging. `LayeredView` (layered.py) shows the result as a
tree; merging.py writes it as a new layer.

A *level* of a directory is a layer that has a part of it. The top level gives its attributes;
each further one adds names, until a level is opaque, or a layer has a whiteout or another type
of file at its path. The lowest tree may be a *base*: a plain tree, in which a 0:0 device is
just that.

What it is *not*: a cache; each call asks the trees again.

Concurrency: as the trees that it is given.

Source: Linux overlayfs.rst; fs/overlayfs/namei.c, `ovl_lookup_single` for what ends a search.
"""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from vfsd.errors import fail
from vfsd.snapshots.marks import (
    OPAQUE_HOLDS_WHITEOUTS,
    OPAQUE_YES,
    has_whiteout_mark,
    is_device_whiteout,
    leads_elsewhere,
    may_be_file_whiteout,
    opacity,
)
from vfsd.snapshots.view import Item, TreeView


class Level(NamedTuple):
    """A tree that has a part of a directory, by its index, and its opaque mark there."""

    layer: int
    opacity: bytes = b""


class Merged(NamedTuple):
    """What stands at a path: a file, or that it was deleted (`item` is None).

    `levels` has one element for all but directories, and none for a deletion. `closed` says
    that nothing below the layers at hand can show through here.
    """

    item: Item | None
    levels: tuple[Level, ...]
    closed: bool


class Layers:
    """Trees over each other, top first: layers that show their marks, then perhaps a base."""

    def __init__(self, layers: Sequence[TreeView], base: TreeView | None = None) -> None:
        self.trees: tuple[TreeView, ...] = (*layers, *(() if base is None else (base,)))
        self._marked = len(layers)

    def root(self) -> Merged:
        """Return the root, to which every tree contributes.

        A mark on a layer's root counts for nothing, as in the kernel: a layer is over whatever
        the chain has below it.
        """
        levels = []
        for index in range(len(self.trees)):
            found = self._opacity(index, b"")
            levels.append(Level(index, found if found == OPAQUE_HOLDS_WHITEOUTS else b""))
        item = self.trees[0].item(b"")
        return Merged(_shared(item, levels), tuple(levels), False)

    def lookup(self, path: bytes, parents: Iterable[Level]) -> Merged | None:
        """Return what stands at `path`, whose parent directory has these levels."""
        return self._decide(path, self._candidates(path, parents))

    def scan(self, path: bytes, levels: Iterable[Level]) -> Mapping[bytes, Merged]:
        """Return what stands in a directory, deletions included, by name."""
        found: dict[bytes, list[tuple[Level, Item]]] = {}
        for level in levels:
            for name, item in self._listing(level.layer, path).items():
                found.setdefault(name, []).append((level, item))
        merged = {}
        for name, candidates in found.items():
            result = self._decide(path + b"/" + name if path else name, candidates)
            if result is not None:
                merged[name] = result
        return merged

    def _listing(self, index: int, path: bytes) -> Mapping[bytes, Item]:
        try:
            return self.trees[index].scan(path)
        except (FileNotFoundError, NotADirectoryError):
            # A base is not sealed: what was a directory a moment ago may be gone.
            if index < self._marked:
                raise
            return {}

    def _candidates(self, path: bytes, parents: Iterable[Level]) -> Iterator[tuple[Level, Item]]:
        for level in parents:
            try:
                yield level, self.trees[level.layer].item(path)
            except (FileNotFoundError, NotADirectoryError):
                continue

    def _decide(self, path: bytes, candidates: Iterable[tuple[Level, Item]]) -> Merged | None:
        levels: list[Level] = []
        top: Item | None = None
        closed = False
        for parent, item in candidates:
            index = parent.layer
            if self._is_whiteout(path, parent, item):
                closed = True
                break
            if not stat_module.S_ISDIR(item.stat.mode):
                if top is None:
                    return Merged(item, (Level(index),), True)
                closed = True
                break
            level = Level(index, self._opacity(index, path))
            levels.append(level)
            top = top or item
            if level.opacity == OPAQUE_YES:
                closed = True
                break
        if top is None:
            return Merged(None, (), True) if closed else None
        return Merged(_shared(top, levels), tuple(levels), closed)

    def _is_whiteout(self, path: bytes, parent: Level, item: Item) -> bool:
        if parent.layer >= self._marked:
            return False
        if is_device_whiteout(item.stat):
            return True
        return (
            parent.opacity == OPAQUE_HOLDS_WHITEOUTS
            and may_be_file_whiteout(item.stat)
            and has_whiteout_mark(self.trees[parent.layer].xattrs(path))
        )

    def _opacity(self, index: int, path: bytes) -> bytes:
        if index >= self._marked:
            return b""
        found = self.trees[index].xattrs(path)
        if leads_elsewhere(found):
            # Shown without what it stands for, the directory would seem to have lost files.
            raise fail(errno.EPERM, path)
        return opacity(found)


def _shared(item: Item, levels: Sequence[Level]) -> Item:
    # A directory of several parts is no layer's own subtree.
    return item if len(levels) == 1 else item._replace(source=None)
