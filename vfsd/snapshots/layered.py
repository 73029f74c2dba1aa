"""A chain of layers over an optional base as one `TreeView`: what a fork of it would show.

A directory that only one layer, or only the base, contributes to keeps that tree's `source`:
two views that share it compare equal there without being read.

What it is *not*: writable, or served; the overlay provider serves. The rules of merging stand
in layers.py.

Concurrency: blocking calls, one thread at a time. Which trees have a part of a directory is
remembered for those seen lately. Layers are sealed; a base may change, and is asked for its
files each time, but a directory that appears in it later may stay unseen by a view that
remembers its absence.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Self

from vfsd.errors import fail
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.layers import Layers, Merged
from vfsd.snapshots.marks import as_seen, leads_elsewhere
from vfsd.snapshots.view import Item, TreeView

REMEMBERED_DIRECTORIES_MAX = 4096


class LayeredView:
    """See the module. Closes what it opened itself; also a context manager."""

    def __init__(self, layers: Sequence[TreeView], base: TreeView | None = None) -> None:
        """Show `layers`, top first, over `base`. Layers must show their marks, the base none."""
        if not layers and base is None:
            raise fail(errno.EINVAL)
        self._layers = Layers(layers, base)
        self._marked = len(layers)
        self._directories: dict[bytes, Merged] = {}
        self._last: tuple[bytes, Merged] | None = None
        self._held = ExitStack()

    @classmethod
    def of(
        cls,
        layers: Iterable[str | bytes | os.PathLike[str]],
        base: str | bytes | os.PathLike[str] | None = None,
    ) -> Self:
        """Open directories: the layers' trees, top first, and the base's."""
        with ExitStack() as opening:
            trees = [
                opening.enter_context(HostTree(each, marks=True, kind="layer", sealed=True))
                for each in layers
            ]
            below = None if base is None else opening.enter_context(HostTree(base))
            view = cls(trees, below)
            view.hold(opening.pop_all())
        return view

    def hold(self, opened: ExitStack) -> None:
        """Close what `opened` holds when the view is closed."""
        self._held = opened

    def close(self) -> None:
        """Close what is held. May be called twice."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def item(self, path: bytes) -> Item:
        """Return the file at `path` (`lstat`). ENOENT, ENOTDIR."""
        return self._shown(path)[0]

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """Return the files in the directory `path`, by name. ENOENT, ENOTDIR."""
        item, merged = self._shown(path)
        if not stat_module.S_ISDIR(item.stat.mode):
            raise fail(errno.ENOTDIR, path)
        found = {}
        for name, each in self._layers.scan(path, merged.levels).items():
            if each.item is not None:
                found[name] = each.item
                if stat_module.S_ISDIR(each.item.stat.mode):
                    self._remember(path + b"/" + name if path else name, each)
        return found

    def readlink(self, path: bytes) -> bytes:
        """Return the symlink's target, as stored. EINVAL if it is none."""
        return self._tree(path).readlink(path)

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """Return the extended attributes, without the overlay's own marks."""
        return as_seen(self._tree(path).xattrs(path))

    def open(self, path: bytes) -> BinaryIO:
        """Open the regular file for reading; the caller closes it. EINVAL for another type."""
        merged = self._shown(path)[1]
        tree = self._layers.trees[merged.levels[0].layer]
        if merged.levels[0].layer < self._marked and leads_elsewhere(tree.xattrs(path)):
            raise fail(errno.EPERM, path)
        return tree.open(path)

    def _tree(self, path: bytes) -> TreeView:
        return self._layers.trees[self._shown(path)[1].levels[0].layer]

    def _shown(self, path: bytes) -> tuple[Item, Merged]:
        merged = self._find(path)
        if merged is None or merged.item is None:
            raise fail(errno.ENOENT, path)
        return merged.item, merged

    def _find(self, path: bytes) -> Merged | None:
        """Return what stands at `path` now; the way there may be as it was remembered."""
        # Attributes, data and target of a file are asked for one after the other.
        if self._last is not None and self._last[0] == path:
            return self._last[1]
        merged = self._search(path)
        # What the base has part in is asked again: it is not sealed.
        if merged is not None and merged.levels and merged.levels[-1].layer < self._marked:
            self._last = path, merged
        return merged

    def _search(self, path: bytes) -> Merged | None:
        if not path:
            return self._remember(b"", self._layers.root())
        known = self._directories.get(path)
        if known is not None and known.levels[-1].layer < self._marked:
            return known
        above = self._nearest(path)
        at = len(above) + 1 if above else 0
        merged: Merged | None = self._directories.get(above) or self._find(b"")
        while merged is not None and merged.item is not None:
            if not stat_module.S_ISDIR(merged.item.stat.mode):
                raise fail(errno.ENOTDIR, path)
            cut = path.find(b"/", at)
            here = path if cut < 0 else path[:cut]
            merged = self._layers.lookup(here, merged.levels)
            if merged is not None and merged.item and stat_module.S_ISDIR(merged.item.stat.mode):
                self._remember(here, merged)
            if cut < 0:
                break
            at = cut + 1
        return merged

    def _nearest(self, path: bytes) -> bytes:
        above = path.rpartition(b"/")[0]
        while above and above not in self._directories:
            above = above.rpartition(b"/")[0]
        return above

    def _remember(self, path: bytes, merged: Merged) -> Merged:
        if len(self._directories) >= REMEMBERED_DIRECTORIES_MAX:
            self._directories.clear()
        self._directories[path] = merged
        return merged
