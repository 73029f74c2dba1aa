"""A part of a tree as a `TreeView`: what patterns choose, with attributes made alike.

Patterns are those of gitignore: a ``/`` in front or inside ties one to the root, one at the end
means directories only, ``**`` any depth, ``!`` takes back, the last that matches counts. A
directory that is excluded is not entered. With patterns to include, a directory shows if it
matches or if something in it does.

Concurrency: as the view that it shows a part of.

Source: gitignore(5).
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Hashable, Mapping, Sequence
from typing import BinaryIO

from pathspec import GitIgnoreSpec

from vfsd.attributes import Stat
from vfsd.snapshots.view import Item, TreeView


class Selection:
    """See the module."""

    def __init__(
        self,
        view: TreeView,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        without: Hashable | None = None,
        owner: tuple[int, int] | None = None,
        latest_s: int | None = None,
    ) -> None:
        """Show a part of `view`: what matches `include` (all, if empty) and not `exclude`.

        `without` is the identity of one file that is left out. Everything belongs to `owner`, if
        given, and no time is later than `latest_s`. ValueError for a pattern that is none.
        """
        self._view = view
        self._include = GitIgnoreSpec.from_lines(include) if include else None
        self._exclude = GitIgnoreSpec.from_lines(exclude) if exclude else None
        self._without = without
        self._owner = owner
        self._latest_ns = None if latest_s is None else latest_s * 1_000_000_000
        self._shown_inside: dict[bytes, bool] = {}

    def item(self, path: bytes) -> Item:
        """Return the file at `path` (`lstat`). ENOENT, ENOTDIR."""
        return self._alike(self._view.item(path))

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """Return the chosen files in the directory `path`, by name. ENOENT, ENOTDIR."""
        return {
            name: self._alike(item)
            for name, item in self._view.scan(path).items()
            if self._chosen(path + b"/" + name if path else name, item)
        }

    def readlink(self, path: bytes) -> bytes:
        """Return the symlink's target, as stored. EINVAL if it is none."""
        return self._view.readlink(path)

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """Return the extended attributes."""
        return self._view.xattrs(path)

    def open(self, path: bytes) -> BinaryIO:
        """Open the regular file for reading; the caller closes it. EINVAL for another type."""
        return self._view.open(path)

    def _chosen(self, path: bytes, item: Item) -> bool:
        if item.identity == self._without:
            return False
        directory = stat_module.S_ISDIR(item.stat.mode)
        name = os.fsdecode(path) + ("/" if directory else "")
        if self._exclude is not None and self._exclude.match_file(name):
            return False
        if self._include is None or self._include.match_file(name):
            return True
        return directory and self._holds_chosen(path)

    def _holds_chosen(self, path: bytes) -> bool:
        known = self._shown_inside.get(path)
        if known is None:
            known = any(
                self._chosen(path + b"/" + name, item)
                for name, item in self._view.scan(path).items()
            )
            self._shown_inside[path] = known
        return known

    def _alike(self, item: Item) -> Item:
        stat: Stat = item.stat
        if self._owner is not None:
            stat = stat._replace(uid=self._owner[0], gid=self._owner[1])
        if self._latest_ns is not None and stat.mtime_ns > self._latest_ns:
            stat = stat._replace(mtime_ns=self._latest_ns)
        return item if stat is item.stat else item._replace(stat=stat)
