"""Listings by inode: what a readdir goes on from where nobody opened the directory.

The kernel does not ask to open a directory once it was told ENOSYS (shim.c), so what is listed
belongs to the inode, and those who list it at the same time may be at different places of
different listings. Each listing has a range of positions of its own: whoever is in the middle of
one goes on in it, while those who start anew see what is there now, at other positions.

Kept are the last listings of the last directories; who comes back later to a position of another
one is shown what is there now, from that place on.

Concurrency: changed between awaits only.

Source: Linux fs/fuse/readdir.c; fs/fuse/file.c, fuse_file_open.
"""

from __future__ import annotations

from collections import OrderedDict

from vfsd.fuse.inodes import Inode
from vfsd.handles import Fh, OpenFile

BY_INODE = 1 << 63
"""In the handle of a readdir or fsyncdir: the rest of it is the inode (shim.c)."""
EACH_MAX = 16
"""Listings kept of one directory; only one that changes while it is listed has more than one."""
DIRECTORIES_MAX = 1024
NAMES_MAX = 1 << 20
"""Names in all listings, unless one directory alone has more."""
LAST_START = 1 << 30
"""Positions stay below 2^31, which programs of 32 bits can take, for 2^30 names."""


class Directories:
    """The listings of one mount."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Inode, list[OpenFile]] = OrderedDict()
        self._names = 0

    def find(self, inode: Inode, position: int) -> OpenFile | None:
        """Return the listing that has a position in its range; None for the start, or if gone."""
        if position:
            for listing in reversed(self._kept.get(inode, ())):
                if 0 < position - listing.base <= len(listing.names or ()) + 2:
                    return listing
        return None

    def keep(self, inode: Inode, names: list[bytes]) -> OpenFile:
        """Return a listing of `names`: the last one if that had the same, else a new one."""
        kept = self._kept.get(inode)
        if kept is None:
            kept = self._kept[inode] = []
            inode.listed = True
        else:
            self._kept.move_to_end(inode)
        base = 0
        if kept:
            last = kept[-1]
            if last.names == names:
                return last
            base = last.base + len(last.names or ()) + 2
            if base > LAST_START:
                self._drop(kept)
                base = 0
        listing = OpenFile(Fh(BY_INODE | inode.ino), inode.attachment, inode.node)
        listing.base, listing.names = base, names
        kept.append(listing)
        self._names += len(names)
        if len(kept) > EACH_MAX:
            self._names -= len(kept.pop(0).names or ())
        while len(self._kept) > 1 and (
            len(self._kept) > DIRECTORIES_MAX or self._names > NAMES_MAX
        ):
            self.forget(next(iter(self._kept)))
        return listing

    def forget(self, inode: Inode) -> None:
        """Drop what is kept of a directory of which something is."""
        inode.listed = False
        self._drop(self._kept.pop(inode))

    def _drop(self, kept: list[OpenFile]) -> None:
        self._names -= sum(len(listing.names or ()) for listing in kept)
        kept.clear()
