"""A tree as diff, apply, export and pack read it: synchronous, read-only, by path.

Paths are `bytes` relative to the tree's root, without leading or trailing slash; the root is
``b""``. A view shows the tree as a user of it would see it: whiteouts and opaque marks of the
layers below are already applied. Nothing is ever followed: the last name of a path may be a
symlink, the ones before it must be directories.

What it is *not*: a provider (vfsd/contract.py), which is served, may change, and suspends.

Concurrency: blocking calls, for one thread at a time.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import BinaryIO, NamedTuple, Protocol, runtime_checkable

from vfsd.attributes import Stat


class Item(NamedTuple):
    """One file of a view.

    `identity` is the same for two paths of one view exactly if they are one file (hard links).
    `source`, where not None, says where the file comes from: if two views give equal ones for a
    path, both show the same file, and for a directory the same whole tree below it.
    """

    stat: Stat
    identity: Hashable
    source: Hashable | None = None


@runtime_checkable
class KnowsHoles(Protocol):
    """A handle, or a file, that can pass over what reads as zeros without reading it."""

    def next_data(self, offset: int) -> int | None:
        """Return the first place from `offset` on that is in no hole, None if all is one."""


class TreeView(Protocol):
    """See the module. Every method may raise EIO."""

    def item(self, path: bytes) -> Item:
        """Return the file at `path` (`lstat`). ENOENT, ENOTDIR."""

    def scan(self, path: bytes) -> Mapping[bytes, Item]:
        """Return the files in the directory `path`, by name. ENOENT, ENOTDIR."""

    def readlink(self, path: bytes) -> bytes:
        """Return the symlink's target, as stored. EINVAL if it is none."""

    def xattrs(self, path: bytes) -> Mapping[bytes, bytes]:
        """Return the extended attributes, without the overlay's own marks."""

    def open(self, path: bytes) -> BinaryIO:
        """Open the regular file for reading; the caller closes it. EINVAL for another type."""
