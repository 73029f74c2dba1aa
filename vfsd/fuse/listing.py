"""Listings: what a readdir request is answered with.

pyfuse3 always answers with attributes (readdirplus), so each entry that is given counts one
lookup, except ``.`` and ``..``.

What it is *not*: the names themselves (the provider's), or how long the kernel may keep them
(shim.py).

Concurrency: one task per request; an entry's lookup is counted in the step that replies it.

Source: Linux fs/fuse/readdir.c.
"""

from __future__ import annotations

import pyfuse3

from vfsd.contract import ROOT_NUMBER
from vfsd.fuse.attrs import entry_attributes, fill
from vfsd.fuse.inodes import InodeTable, mint
from vfsd.fuse.invalidation import Invalidator
from vfsd.fuse.shim import weigh
from vfsd.handles import OpenFile

LISTING_STEP = 4
"""Entries looked up at a time where it is not known how many more fit into a reply."""


class Listing:
    """Answers the readdir requests of one mount."""

    def __init__(self, inodes: InodeTable, door: Invalidator) -> None:
        self._inodes = inodes
        self._door = door

    async def reply(self, directory: OpenFile, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Reply with entries from position `start_id` on: ``.``, ``..``, then the names.

        Positions count into the listing taken at the last read from the start, so that
        removals while listing neither skip nor repeat an entry.
        """
        attachment, node = directory.attachment, directory.node
        if start_id == 0 or directory.names is None:
            directory.names = list(await attachment.provider.readdir(node))
            if directory.attachment.host is None and node.number == ROOT_NUMBER:
                for name in directory.names:
                    self._door.note_root_name(name)
        reply = pyfuse3.EntryAttributes()
        if start_id < 2 and not await self._dots(directory, start_id, reply, token):
            return
        await self._names(directory, max(start_id, 2) - 2, reply, token)

    async def _names(
        self,
        directory: OpenFile,
        position: int,
        reply: pyfuse3.EntryAttributes,
        token: pyfuse3.ReaddirToken,
    ) -> None:
        """Reply with names from `position` on until no more fit.

        As many are looked up at first as fitted the last time: what is looked up and does not
        fit is looked up again for the next reply.
        """
        attachment, node = directory.attachment, directory.node
        nested, cache_s = attachment.nested, attachment.cache_s
        listing, parent_ino = directory.names or [], mint(attachment, node)
        add, remember = pyfuse3.readdir_reply, self._inodes.remember
        first, size = position, directory.fitting
        while position < len(listing):
            page = listing[position : position + size]
            entries = await attachment.provider.lookup_many(node, page)
            for name, entry in zip(page, entries, strict=True):
                position += 1
                if entry is None:
                    continue
                if nested and (node.number, name) in nested:
                    if not await self._nested_entry(directory, name, position + 2, token):
                        return
                    continue
                fill(reply, mint(attachment, entry.node), entry.stat, cache_s)
                if not add(token, name, reply, position + 2):
                    directory.fitting = max(position - 1 - first, 1)
                    return
                remember(attachment, entry.node, parent_ino)
            size = LISTING_STEP

    async def _nested_entry(
        self, directory: OpenFile, name: bytes, next_id: int, token: pyfuse3.ReaddirToken
    ) -> bool:
        """Reply with what is attached at `name`; False if it does not fit."""
        inner = directory.attachment.nested[directory.node.number, name]
        weigh(inner)
        root = inner.provider.root
        stat = await inner.provider.getattr(root)
        reply = entry_attributes(mint(inner, root), stat, inner.cache_s)
        if not pyfuse3.readdir_reply(token, name, reply, next_id):
            return False
        self._inodes.remember(inner, root, mint(directory.attachment, directory.node))
        return True

    async def _dots(
        self,
        directory: OpenFile,
        position: int,
        reply: pyfuse3.EntryAttributes,
        token: pyfuse3.ReaddirToken,
    ) -> bool:
        """Reply with ``.`` and ``..``; the kernel counts no lookup for these two."""
        inode = self._inodes.get(mint(directory.attachment, directory.node))
        stat = await directory.attachment.provider.getattr(directory.node)
        for index, (name, ino) in enumerate(((b".", inode.ino), (b"..", inode.parent_ino))):
            if index >= position:
                fill(reply, ino, stat, 0.0)
                if not pyfuse3.readdir_reply(token, name, reply, index + 1):
                    return False
        return True
