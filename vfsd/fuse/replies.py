"""Replies that give the kernel a name or an open file: filled, counted, kept while they are true.

A change that another door makes while the provider is asked cannot be told for what the kernel
does not know yet. So each reply compares the door's count of changes with what it was before,
and if they differ the kernel may use the reply once but keep nothing of it.

What it is *not*: listings (listing.py) and attributes of known inodes (operations.py).

Concurrency: a lookup is counted in the step in which its reply is certain.
"""

from __future__ import annotations

import errno
import os

import pyfuse3

from vfsd.attachment import CACHE_BRIEFLY_S, Attachment
from vfsd.attributes import Caller
from vfsd.contract import Entry, Handle
from vfsd.errors import fail
from vfsd.fuse.attrs import entry_attributes, negative_entry
from vfsd.fuse.inodes import Inode, InodeTable, mint
from vfsd.fuse.invalidation import Invalidator
from vfsd.fuse.shim import shim
from vfsd.handles import OpenFile
from vfsd.hidden import may_see

DROPS_BEFORE_WRITE = 39
"""From this minor version (Linux 6.6) on, the kernel drops the pages a direct write is about
to change; before, they would show what is outdated."""


class Replies:
    """Makes the replies of one mount; `noted` is the door's count before the provider was asked."""

    def __init__(self, inodes: InodeTable, door: Invalidator) -> None:
        self._inodes = inodes
        self._door = door
        self._past_cache: bool | None = None

    def known(self, parent: Inode, entry: Entry, noted: int) -> pyfuse3.EntryAttributes:
        """Give `entry`, found or made in `parent`, to the kernel."""
        attachment = parent.attachment
        cache_s = attachment.cache_s if self._door.noted == noted else 0.0
        reply = entry_attributes(mint(attachment, entry.node), entry.stat, cache_s)
        self._inodes.remember(attachment, entry.node, parent.ino)
        return reply

    def missing(self, attachment: Attachment, noted: int) -> pyfuse3.EntryAttributes:
        """Tell the kernel that a name is not there, which it keeps as well."""
        return negative_entry(attachment.cache_s if self._door.noted == noted else 0.0)

    async def attach_point(
        self, parent: Inode, inner: Attachment, caller: Caller
    ) -> pyfuse3.EntryAttributes:
        """Give the root of what is attached at a name in `parent` to the kernel.

        ENOENT for what is hidden from the caller; the kernel asks again for everybody.
        """
        if inner.hidden and not may_see(caller.pid):
            raise fail(errno.ENOENT, inner.name)
        node, noted = inner.provider.root, self._door.noted
        stat = await inner.provider.getattr(node)
        cache_s = inner.cache_s if self._door.noted == noted and not inner.hidden else 0.0
        reply = entry_attributes(mint(inner, node), stat, cache_s)
        self._inodes.remember(inner, node, parent.ino)
        return reply

    def opened(self, open_file: OpenFile, handle: Handle, flags: int) -> pyfuse3.FileInfo:
        """Give an open file to the kernel.

        keep_cache: a warm read costs an open and a release, and no data; where changes are not
        told, the kernel must start afresh at each open.

        direct_io, for what is only written: the kernel then does not ask for
        `security.capability` before the first write, and copies each byte once less. What else
        it keeps of the data is dropped by itself before each write, and by operations.py after.
        """
        direct = handle.direct_io
        access = flags & os.O_ACCMODE
        if access == os.O_WRONLY:
            if handle.past_cache and self._writes_past_cache():
                direct = open_file.past_cache = True
        elif access == os.O_RDWR and flags & os.O_APPEND:
            # Where nobody tells pages that were changed through mmap from what is to be
            # appended, this makes the kernel refuse the map (ENODEV).
            direct = direct or shim is None or not shim.works
        told = open_file.attachment.cache_s > CACHE_BRIEFLY_S or handle.knows_version
        keep = handle.keep_cache and told
        return pyfuse3.FileInfo(fh=open_file.fh, direct_io=direct, keep_cache=keep)

    def _writes_past_cache(self) -> bool:
        """Say whether this kernel drops what it keeps of data that is written past its cache."""
        able = self._past_cache
        if able is None:
            # It speaks before anything is opened.
            protocol = 0 if shim is None else shim.protocol()
            able = self._past_cache = protocol >= DROPS_BEFORE_WRITE
        return able
