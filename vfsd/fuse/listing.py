"""Listings: what a readdir request is answered with.

pyfuse3 always answers with attributes (readdirplus), so each entry that is given counts one
lookup, except ``.`` and ``..``.

What it is *not*: the names themselves (the provider's), or what is listed again and how long
that is kept (directories.py).

Concurrency: one task per request; an entry's lookup is counted in the step that replies it.

Source: Linux fs/fuse/readdir.c.
"""

from __future__ import annotations

import stat as stat_module
from contextlib import suppress

import pyfuse3

from vfsd.attachment import CACHE_BRIEFLY_S, Attachment
from vfsd.contract import ROOT_NUMBER, Entry, Node
from vfsd.fuse.attrs import fill
from vfsd.fuse.directories import BY_INODE, Directories
from vfsd.fuse.inodes import Inode, InodeTable, mint
from vfsd.fuse.invalidation import Invalidator
from vfsd.fuse.shim import shim
from vfsd.handles import OpenFile

LISTING_STEP = 4
"""Entries looked up at a time where it is not known how many more fit into a reply."""


class Listing:
    """Answers the readdir requests of one mount."""

    def __init__(self, inodes: InodeTable, door: Invalidator) -> None:
        self._inodes = inodes
        self._door = door
        self._directories = Directories()
        inodes.unlist = self._directories.forget

    async def reply_of(self, inode: Inode, position: int, token: pyfuse3.ReaddirToken) -> None:
        """Reply with entries of a directory that nobody opened.

        The kernel keeps all such listings. Where it is not told of changes, it is told to drop
        this one as soon as it has it.
        """
        directory = self._directories.find(inode, position)
        if directory is None:
            names = await self._read(inode.attachment, inode.node)
            directory = self._directories.keep(inode, names)
            position = directory.base + min(position, len(names) + 2)
        given = await self._entries(directory, position - directory.base, token)
        if not given and inode.attachment.cache_s <= CACHE_BRIEFLY_S:
            self._door.drop_listing(inode)

    async def reply(self, directory: OpenFile, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Reply with entries from position `start_id` on: ``.``, ``..``, then the names.

        Positions count into the listing taken at the last read from the start, so that
        removals while listing neither skip nor repeat an entry.
        """
        if start_id == 0 or directory.names is None:
            directory.names = await self._read(directory.attachment, directory.node)
        await self._entries(directory, start_id, token)

    async def _read(self, attachment: Attachment, node: Node) -> list[bytes]:
        """Return the names of a directory."""
        names = list(await attachment.provider.readdir(node))
        if attachment.host is None and node.number == ROOT_NUMBER:
            for name in names:
                self._door.note_root_name(name)
        return names

    async def _entries(
        self, directory: OpenFile, position: int, token: pyfuse3.ReaddirToken
    ) -> bool:
        """Reply with what is at `position` of the listing and after it; False: with nothing."""
        reply = pyfuse3.EntryAttributes()
        if position < 2 and not self._dots(directory, position, reply, token):
            return True
        return await self._names(directory, max(position, 2) - 2, reply, token) or position < 2

    async def _names(
        self,
        directory: OpenFile,
        position: int,
        reply: pyfuse3.EntryAttributes,
        token: pyfuse3.ReaddirToken,
    ) -> bool:
        """Reply with names from `position` on until no more fit; False if there are none.

        As many are looked up at first as fitted the last time: what is looked up and does not
        fit is looked up again for the next reply.
        """
        attachment, node = directory.attachment, directory.node
        nested, listing, base = attachment.nested, directory.names or [], directory.base
        parent_ino = mint(attachment, node)
        add, remember, door = pyfuse3.readdir_reply, self._inodes.remember, self._door
        first, size, counted = position, directory.fitting, False
        library = shim if directory.fh & BY_INODE else None
        try:
            while position < len(listing):
                page, noted = listing[position : position + size], door.noted
                entries = await attachment.provider.lookup_many(node, page)
                cache_s = attachment.cache_s if door.noted == noted else 0.0
                for name, entry in zip(page, entries, strict=True):
                    if entry is not None:
                        inside = nested.get((node.number, name)) if nested else None
                        if inside is not None:
                            entry = await self._attach_point(inside, entry, reply)
                        else:
                            fill(reply, mint(attachment, entry.node), entry.stat, cache_s)
                        if not add(token, name, reply, base + position + 3):
                            directory.fitting = max(position - first, 1)
                            return True
                        remember(inside or attachment, entry.node, parent_ino)
                        counted = True
                    position += 1
                size = LISTING_STEP
        except Exception:
            if not counted:
                raise
            # What is counted has to reach the kernel; its next request meets the error.
        else:
            if library is not None and attachment.cache_s > CACHE_BRIEFLY_S:
                # The kernel always asks once more; that need not reach us (endings.c).
                library.note_ending(parent_ino, base + len(listing) + 2)
        return counted

    async def _attach_point(
        self, inner: Attachment, below: Entry, reply: pyfuse3.EntryAttributes
    ) -> Entry:
        """Fill `reply` with what is attached over `below`.

        If that fails, the name is listed all the same, and a look at it tells the error: one
        broken provider must not make the directory around it unreadable.
        """
        root, stat, cache_s = inner.provider.root, below.stat, 0.0
        with suppress(OSError):
            stat, cache_s = await inner.provider.getattr(root), inner.cache_s
        fill(reply, mint(inner, root), stat, cache_s)
        return Entry(root, stat)

    def _dots(
        self,
        directory: OpenFile,
        position: int,
        reply: pyfuse3.EntryAttributes,
        token: pyfuse3.ReaddirToken,
    ) -> bool:
        """Reply with ``.`` and ``..``, of which the kernel takes number and type only."""
        inode = self._inodes.get(mint(directory.attachment, directory.node))
        reply.st_mode = stat_module.S_IFDIR
        for index, (name, ino) in enumerate(((b".", inode.ino), (b"..", inode.parent_ino))):
            if index >= position:
                reply.st_ino = ino
                if not pyfuse3.readdir_reply(token, name, reply, directory.base + index + 1):
                    return False
        return True
