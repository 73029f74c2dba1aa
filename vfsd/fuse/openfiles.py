"""Files the kernel has open: given to it, and which of them can fill its cache of the data.

What it is *not*: the table of open files (vfsd/handles.py), or what the kernel is told about one
(replies.py).

Concurrency: an inode's readers are counted between awaits only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import cast

import pyfuse3

from vfsd.attachment import Attachment
from vfsd.contract import Change, Handle, Node
from vfsd.fuse.inodes import InodeTable
from vfsd.fuse.invalidation import Invalidator
from vfsd.fuse.replies import Replies
from vfsd.handles import HandleTable, OpenFile

GIVEN_MAX = 64 << 10
"""Bytes of a file that the kernel is given along with its opening."""


class OpenFiles:
    """The open files of one mount."""

    def __init__(
        self, handles: HandleTable, inodes: InodeTable, replies: Replies, door: Invalidator
    ) -> None:
        self._handles = handles
        self._inodes = inodes
        self._replies = replies
        self._door = door

    async def add(
        self, attachment: Attachment, node: Node, handle: Handle, flags: int
    ) -> tuple[OpenFile, pyfuse3.FileInfo]:
        """Give an open file to the kernel; `handle` is released if there are too many. ENFILE."""
        try:
            open_file = self._handles.add(attachment, node, handle)
        except OSError:
            await handle.release()
            raise
        info = self._replies.opened(open_file, handle, flags)
        if info.keep_cache and not info.direct_io and not flags & os.O_ACCMODE:
            self._give(open_file, handle)
        return open_file, info

    def _give(self, open_file: OpenFile, handle: Handle) -> None:
        """Give the kernel all that a small file holds, before it knows that the file is open.

        Whoever opens one to read it then asks for nothing more. Only at the first opening: the
        kernel has the data afterwards, or dropped it; and as nobody can be reading it, no page of
        it waits for an answer of ours, while we would wait for that page.
        """
        inode = self._inodes.known(open_file.attachment, open_file.node)
        if inode is None or inode.opened:
            return
        with suppress(OSError):  # it asks for what it was not given, and is told why
            data = handle.at_once(GIVEN_MAX)
            if data:
                # pyfuse3 takes any buffer, although it only declares bytes.
                pyfuse3.notify_store(inode.ino, 0, cast("bytes", data))
                open_file.given_bytes = len(data)

    def count(self, open_file: OpenFile, step: int) -> None:
        """Count one reader more or less of a file whose inode the kernel knows."""
        inode = self._inodes.known(open_file.attachment, open_file.node)
        if inode is not None:
            inode.opened = True
            if not open_file.past_cache:
                inode.readers += step

    async def drop_outdated(self, open_file: OpenFile) -> None:
        """Have the kernel drop what it read of a file while something was written past its cache.

        It dropped what it kept before it asked us to write; a reader may have read since.
        """
        attachment, node = open_file.attachment, open_file.node
        inode = self._inodes.known(attachment, node)
        if inode is not None and inode.readers:
            self._door.changed(attachment, Change(node))
            await self._door.settled((attachment,))
