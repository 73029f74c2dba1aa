"""What changed from one version of a tree to a later one, as the tree of a layer.

The layer holds what is new or changed in full, a whiteout for each name that is gone, and the
directories on the way. A directory in place of another file, or of another directory, is marked
opaque. A renamed directory is new in full where it is now: layers have no redirects. A file with
several names that is in the layer by one of them is in it by all, so that it stays one file.

What stays the same is known from `Provider.unchanged`, without being read; what a provider does
not know to be unchanged counts as changed. Both versions' directories are walked, so the work
follows their number of files, and what is kept the number of changes.

What it is *not*: the writing (storing.py).

Concurrency: for the thread that uses both views.
"""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Hashable, Mapping
from typing import BinaryIO

from vfsd.attributes import Stat
from vfsd.contract import Entry
from vfsd.errors import fail
from vfsd.snapshots.frozen import FrozenView
from vfsd.snapshots.marks import OPAQUE, OPAQUE_YES
from vfsd.snapshots.view import Item

_WHITEOUT = Stat(stat_module.S_IFCHR, 1, 0, 0, 0, 0, 0, 0, 0, 0)


class _Part:
    """A directory that both versions have: what of it goes into the layer."""

    __slots__ = ("gone", "opaque", "parts", "whole")

    def __init__(self) -> None:
        self.parts: dict[bytes, _Part] = {}
        """Directories that are in both."""
        self.whole: set[bytes] = set()
        """New or changed files, and directories that are new with all that is in them."""
        self.opaque: set[bytes] = set()
        """Those of `whole` that are directories where something else was."""
        self.gone: set[bytes] = set()

    def __bool__(self) -> bool:
        return bool(self.parts or self.whole or self.gone)


class Delta:
    """A `TreeView` of the layer that makes `new` of `old`."""

    def __init__(self, new: FrozenView, old: FrozenView) -> None:
        """Compare two versions, which takes as long as listing both."""
        self._new = new
        self._old = old
        self._links: dict[Hashable, list[bytes]] = {}
        """Files with several names that did not change, by identity: their paths."""
        self._root = self._compare()
        self._complete_links()

    def item(self, path: bytes) -> Item:
        """Return the file at `path` (`lstat`). ENOENT, ENOTDIR."""
        part, name = self._find(path)
        if part is not None and name in part.gone:
            return _whiteout(path)
        if part is not None and name and name not in part.whole and name not in part.parts:
            raise fail(errno.ENOENT, path)
        return self._new.item(path)

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """Return the files in the directory `path`, by name. ENOENT, ENOTDIR."""
        part = self._part(path)
        found = self._new.scan(path)
        if part is None:
            return found
        items = {
            name: item for name, item in found.items() if name in part.whole or name in part.parts
        }
        for name in part.gone:
            items[name] = _whiteout(path + b"/" + name if path else name)
        return items

    def readlink(self, path: bytes) -> bytes:
        """Return the symlink's target, as stored. EINVAL if it is none."""
        return self._new.readlink(path)

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """Return the extended attributes, the layer's marks among them."""
        part, name = self._find(path)
        if part is not None and name in part.gone:
            return {}
        xattrs = self._new.xattrs(path)
        if part is not None and name in part.opaque:
            return {**xattrs, OPAQUE: OPAQUE_YES}
        return xattrs

    def open(self, path: bytes) -> BinaryIO:
        """Open the regular file for reading; the caller closes it. EINVAL for another type."""
        return self._new.open(path)

    # -- finding --------------------------------------------------------------------------

    def _find(self, path: bytes) -> tuple[_Part | None, bytes]:
        """Return the part that decides about `path`, None where all below is new; and a name."""
        if not path:
            return self._root, b""
        above, _, name = path.rpartition(b"/")
        return self._part(above), name

    def _part(self, path: bytes) -> _Part | None:
        """Return the part at the directory `path`, None where all is new. ENOENT."""
        part = self._root
        for name in path.split(b"/") if path else ():
            below = part.parts.get(name)
            if below is None:
                if name in part.whole:
                    return None
                raise fail(errno.ENOENT, path)
            part = below
        return part

    # -- comparing ------------------------------------------------------------------------

    def _compare(self) -> _Part:
        root = _Part()
        # With a stack of its own, since trees may be deeper than Python's.
        waiting: list[tuple[bytes, _Part]] = [(b"", root)]
        order: list[tuple[_Part, bytes, _Part, bool]] = []
        while waiting:
            path, part = waiting.pop()
            for name, below, same in self._compare_directory(path, part):
                waiting.append((path + b"/" + name if path else name, below))
                order.append((part, name, below, same))
        # Those below first: a directory without a change in it or below it is left out.
        for part, name, below, same in reversed(order):
            if below or not same:
                part.parts[name] = below
        return root

    def _compare_directory(self, path: bytes, part: _Part) -> list[tuple[bytes, _Part, bool]]:
        """Fill `part`; return the directories that both have, and whether they are unchanged."""
        new, old = self._new.entries(path), self._old.entries(path)
        part.gone.update(name for name in old if name not in new)
        shared = []
        for name, entry in new.items():
            before = old.get(name)
            if before is None:
                part.whole.add(name)
            elif _is_same_file(entry, before):
                shared.append(name)
            else:
                part.whole.add(name)
                if stat_module.S_ISDIR(entry.stat.mode):
                    part.opaque.add(name)
        known = self._new.unchanged(
            [(new[name].node, old[name].node) for name in shared], self._old
        )
        directories = []
        for name, same in zip(shared, known, strict=True):
            stat = new[name].stat
            if stat_module.S_ISDIR(stat.mode):
                directories.append((name, _Part(), same))
            elif not same:
                part.whole.add(name)
            elif stat.nlink > 1:
                identity = self._new.identity(new[name].node)
                self._links.setdefault(identity, []).append(path + b"/" + name if path else name)
        return directories

    def _complete_links(self) -> None:
        """Add the other names of files that are in the layer by one of their names."""
        if not self._links:
            return
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            for name, item in self.scan(path).items():
                below = path + b"/" + name if path else name
                if stat_module.S_ISDIR(item.stat.mode):
                    waiting.append(below)
                else:
                    for other in self._links.pop(item.identity, ()):
                        self._add(other)

    def _add(self, path: bytes) -> None:
        part = self._root
        *way, name = path.split(b"/")
        for each in way:
            part = part.parts.setdefault(each, _Part())
        part.whole.add(name)


def _is_same_file(one: Entry, other: Entry) -> bool:
    return one.node.number == other.node.number and stat_module.S_IFMT(
        one.stat.mode
    ) == stat_module.S_IFMT(other.stat.mode)


def _whiteout(path: bytes) -> Item:
    return Item(_WHITEOUT, (b"whiteout", path))
