"""What differs between two trees, path by path.

Directories that come from the same place in both (`Item.source`) are not entered, so the cost
follows what was written, not the size of the trees. Contents are compared byte by byte: equal
size and time say nothing, as whoever wrote last may have set the time.

What it is *not*: how changes are shown (patch.py, statuslines.py) or written to a directory
(apply.py).

Concurrency: blocking reads of both views, in the caller's thread.
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Callable, Hashable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Flag, auto

from vfsd.snapshots.reading import data_ranges, either, read_full
from vfsd.snapshots.view import Item, TreeView

CHUNK_BYTES = 1 << 18
PERMISSIONS = 0o7777


class Aspect(Flag):
    """In what a file that both trees have differs."""

    KIND = auto()
    CONTENT = auto()
    """Of a regular file the data, of a symlink the target, of a device its number."""
    MODE = auto()
    OWNER = auto()
    XATTRS = auto()
    LINKS = auto()
    """The names that it shares a file with."""
    TIME = auto()
    """The modification time."""


NOTHING = Aspect(0)


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs: `old` is None if it was added, `new` if it was removed.

    `link_to` names another path that is one file with this one in the new tree: one that does
    not differ, or else the first in order; None for that path itself.
    """

    path: bytes
    old: Item | None
    new: Item | None
    aspects: Aspect = NOTHING
    link_to: bytes | None = None

    @property
    def letter(self) -> str:
        """Return the status letter: A, D, T, M, and for what git does not know P, O, X, L, U."""
        if self.old is None:
            return "A"
        if self.new is None:
            return "D"
        return next(letter for aspect, letter in LETTERS if aspect in self.aspects)


LETTERS = (
    (Aspect.KIND, "T"),
    (Aspect.CONTENT, "M"),
    (Aspect.MODE, "P"),
    (Aspect.OWNER, "O"),
    (Aspect.XATTRS, "X"),
    (Aspect.LINKS, "L"),
    (Aspect.TIME, "U"),
)
"""The letter of a changed file is that of its first aspect in this order."""


def order(path: bytes) -> list[bytes]:
    """Return the sort key that puts a directory right before what is in it."""
    return path.split(b"/") if path else []


def compare(
    old: TreeView, new: TreeView, seen: Callable[[bytes], None] | None = None
) -> list[Change]:
    """Return what differs, in `order`; `seen` is told every path that is looked at.

    Below a directory that was added or removed every file is listed. OSError names the path.
    """
    walk = _Comparison(old, new, seen or _unseen)
    walk.pair(b"", old.item(b""), new.item(b""))
    walk.run()
    return walk.result()


def within(changes: Iterable[Change], limits: Iterable[bytes]) -> list[Change]:
    """Return the changes at or below one of `limits`; all if there are none."""
    wanted = [limit.strip(b"/") for limit in limits]
    if not wanted or b"" in wanted:
        return list(changes)
    return [
        change
        for change in changes
        if any(change.path == limit or change.path.startswith(limit + b"/") for limit in wanted)
    ]


def same_content(old: TreeView, new: TreeView, path: bytes, size: int) -> bool:
    """Compare two regular files of `size` bytes, but not where both have holes."""
    with ExitStack() as stack:
        one = stack.enter_context(old.open(path))
        other = stack.enter_context(new.open(path))
        for start, end in either(data_ranges(one, size), data_ranges(other, size)):
            one.seek(start)
            other.seek(start)
            while start < end:
                wanted = min(end - start, CHUNK_BYTES)
                left, right = read_full(one.read, wanted), read_full(other.read, wanted)
                if left != right or len(left) < wanted:
                    return False
                start += wanted
    return True


def kind_of(item: Item) -> int:
    """Return the file type bits."""
    return stat_module.S_IFMT(item.stat.mode)


def is_directory(item: Item | None) -> bool:
    """Say whether there is a directory."""
    return item is not None and stat_module.S_ISDIR(item.stat.mode)


def metadata_aspects(old: TreeView, new: TreeView, path: bytes, one: Item, other: Item) -> Aspect:
    """Compare permissions, owner, time and extended attributes."""
    found = NOTHING
    before, after = one.stat, other.stat
    # A symlink's permissions mean nothing, and file systems disagree about them.
    if not stat_module.S_ISLNK(after.mode) and (before.mode ^ after.mode) & PERMISSIONS:
        found |= Aspect.MODE
    if (before.uid, before.gid) != (after.uid, after.gid):
        found |= Aspect.OWNER
    if before.mtime_ns != after.mtime_ns:
        found |= Aspect.TIME
    if old.xattrs(path) != new.xattrs(path):
        found |= Aspect.XATTRS
    return found


def _unseen(path: bytes) -> None:
    """Tell nobody."""


class _Comparison:
    """One walk through both trees, with a stack of its own: trees are deeper than Python's."""

    def __init__(self, old: TreeView, new: TreeView, seen: Callable[[bytes], None]) -> None:
        self._old = old
        self._new = new
        self._seen = seen
        self._pending: list[tuple[bytes, bool, bool]] = []
        self._changes: dict[bytes, Change] = {}
        self._old_names: dict[Hashable, list[bytes]] = {}
        self._new_names: dict[Hashable, list[bytes]] = {}
        self._kept: dict[bytes, tuple[Item, Item]] = {}

    def run(self) -> None:
        while self._pending:
            path, in_old, in_new = self._pending.pop()
            before = self._old.scan(path) if in_old else {}
            after = self._new.scan(path) if in_new else {}
            for name in sorted(before.keys() | after.keys()):
                inside = path + b"/" + name if path else name
                self._seen(inside)
                one, other = before.get(name), after.get(name)
                if one is not None and other is not None:
                    self.pair(inside, one, other)
                elif one is not None:
                    self._removed(inside, one)
                elif other is not None:
                    self._added(inside, other)

    def pair(self, path: bytes, one: Item, other: Item) -> None:
        """Compare a path that both trees have."""
        if not is_directory(one):
            self._remember(self._old_names, path, one)
        if not is_directory(other):
            self._remember(self._new_names, path, other)
            self._kept[path] = one, other
        if one.source is not None and one.source == other.source:
            return
        if kind_of(one) != kind_of(other):
            self._changes[path] = Change(path, one, other, Aspect.KIND)
            if is_directory(one) or is_directory(other):
                self._pending.append((path, is_directory(one), is_directory(other)))
            return
        aspects = metadata_aspects(self._old, self._new, path, one, other)
        if is_directory(one):
            self._pending.append((path, True, True))
        elif not self._same_content(path, one, other):
            aspects |= Aspect.CONTENT
        if aspects:
            self._changes[path] = Change(path, one, other, aspects)

    def _same_content(self, path: bytes, one: Item, other: Item) -> bool:
        mode = one.stat.mode
        if stat_module.S_ISREG(mode):
            size = one.stat.size
            return size == other.stat.size and same_content(self._old, self._new, path, size)
        if stat_module.S_ISLNK(mode):
            return self._old.readlink(path) == self._new.readlink(path)
        if stat_module.S_ISCHR(mode) or stat_module.S_ISBLK(mode):
            return one.stat.rdev == other.stat.rdev
        return True

    def _added(self, path: bytes, item: Item) -> None:
        self._changes[path] = Change(path, None, item)
        if is_directory(item):
            self._pending.append((path, False, True))
        else:
            self._remember(self._new_names, path, item)

    def _removed(self, path: bytes, item: Item) -> None:
        self._changes[path] = Change(path, item, None)
        if is_directory(item):
            self._pending.append((path, True, False))

    def _remember(self, names: dict[Hashable, list[bytes]], path: bytes, item: Item) -> None:
        if item.stat.nlink > 1:
            names.setdefault(item.identity, []).append(path)

    def result(self) -> list[Change]:
        """Add what is known only at the end: who shares a file with whom."""
        self._find_regrouped()
        first = self._first_names()
        for path, change in self._changes.items():
            leader = first.get(path, path)
            if change.new is not None and leader != path:
                self._changes[path] = replace(change, link_to=leader)
        return sorted(self._changes.values(), key=lambda change: order(change.path))

    def _first_names(self) -> dict[bytes, bytes]:
        first = {}
        for names in self._new_names.values():
            # One that stays as it is, if there is any: the others become links to it.
            leader = min(names, key=lambda path: (path in self._changes, order(path)))
            first.update(dict.fromkeys(names, leader))
        return first

    def _find_regrouped(self) -> None:
        """Mark files that both trees have and that share a file with other names than before.

        Names that only one of the trees has are no matter: they are changes of their own.
        """
        old_groups = self._groups(self._old_names)
        new_groups = self._groups(self._new_names)
        for path in old_groups.keys() | new_groups.keys():
            alone = frozenset((path,))
            if old_groups.get(path, alone) == new_groups.get(path, alone):
                continue
            one, other = self._kept[path]
            if one.source is not None and one.source == other.source:
                # It stays the file that it is; those it was one file with come from elsewhere.
                continue
            change = self._changes.get(path, Change(path, one, other))
            if Aspect.KIND not in change.aspects:
                change = replace(change, aspects=change.aspects | Aspect.LINKS)
            self._changes[path] = change

    def _groups(self, by_identity: dict[Hashable, list[bytes]]) -> dict[bytes, frozenset[bytes]]:
        groups = {}
        for names in by_identity.values():
            both = frozenset(name for name in names if name in self._kept)
            if len(both) > 1:
                groups.update(dict.fromkeys(both, both))
        return groups
