"""A tree with nothing in it: what a snapshot that stands on no base is compared with.

Concurrency: immutable.
"""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Mapping
from typing import BinaryIO

from vfsd.errors import fail
from vfsd.snapshots.view import Item


class EmptyTree:
    """A `TreeView` whose root has the attributes of `like`, so that only what is in it differs."""

    def __init__(self, like: Item) -> None:
        if not stat_module.S_ISDIR(like.stat.mode):
            raise fail(errno.ENOTDIR)
        self._root = Item(like.stat, "root")

    def item(self, path: bytes) -> Item:
        """Return the root; ENOENT for all else."""
        if path:
            raise fail(errno.ENOENT, path)
        return self._root

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """Return nothing."""
        self.item(path)
        return {}

    def readlink(self, path: bytes) -> bytes:
        """Raise EINVAL: the root is no symlink."""
        self.item(path)
        raise fail(errno.EINVAL, path)

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """Return nothing."""
        self.item(path)
        return {}

    def open(self, path: bytes) -> BinaryIO:
        """Raise EINVAL: there is no file."""
        self.item(path)
        raise fail(errno.EINVAL, path)
