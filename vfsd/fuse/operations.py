"""Requests to the tree: each handler finds its inode, asks the provider, and fills the reply.

What it is *not*: file-system behaviour (the providers'), permission checks (the kernel does
them, `default_permissions`), or the loop that calls it (session.py, servingloop.py).

Some kinds are answered with ENOSYS once, after which the kernel stops sending them: `flush`
(nothing here depends on close), `access` (modes are checked by the kernel), `poll`; and by the
shim `opendir`. Without the shim it is answered, since pyfuse3 tells a `readdir` the handle only.

A request of the kernel's own changes what the kernel knows, so it needs no invalidation; only
other attachments of the same provider are told (`_tell`).

Concurrency: one task per request. The inode and handle tables change between awaits only, and
a lookup is counted in the same step in which its reply is certain.

Source: Linux fs/fuse (dir.c, file.c, readdir.c); fuse(4).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import cast

import pyfuse3

from vfsd import provenance
from vfsd.attributes import NAME_MAX, PATH_MAX, SetAttr
from vfsd.contract import Change, Node
from vfsd.errors import fail
from vfsd.fuse.attrs import entry_attributes, requested_changes, statvfs_data
from vfsd.fuse.directories import BY_INODE
from vfsd.fuse.errors import handler, refuse
from vfsd.fuse.inodes import Inode, InodeTable
from vfsd.fuse.invalidation import Invalidator
from vfsd.fuse.listing import Listing
from vfsd.fuse.metering import Meter
from vfsd.fuse.openfiles import OpenFiles
from vfsd.fuse.replies import Replies
from vfsd.fuse.shim import shim
from vfsd.handles import HandleTable
from vfsd.tree import Attachment, Tree, check_same

NO_CHANGE, RENAME_EXCHANGE = SetAttr(), 2
KINDS = (
    *("lookup", "forget", "getattr", "setattr", "readlink", "mknod", "mkdir", "unlink"),
    *("rmdir", "symlink", "rename", "link", "create", "open", "read", "write", "release"),
    *("fsync", "opendir", "readdir", "releasedir", "fsyncdir", "statfs"),
    *("setxattr", "getxattr", "listxattr", "removexattr"),
)


class Operations(pyfuse3.Operations):
    """The handlers of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = False

    def __init__(self, tree: Tree, handles: HandleTable, *, xattrs: bool = True) -> None:
        super().__init__()
        self.tree = tree
        self.handles = handles
        self.inodes = InodeTable(tree.root)
        self.door = Invalidator(self.inodes)
        """The listener that need not hear of what comes through here."""
        self._replies = Replies(self.inodes, self.door)
        self._listing = Listing(self.inodes, self.door)
        self._files = OpenFiles(handles, self.inodes, self._replies, self.door)
        self.requests: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._inode = self.inodes.get
        self._open_files = handles.open_files
        if not xattrs:
            for name in ("getxattr", "setxattr", "listxattr", "removexattr"):
                setattr(self, name, refuse(errno.ENOSYS))
        self.meter = Meter(self, KINDS)

    # -- finding --------------------------------------------------------------------------

    def _directory(self, ino: int, name: bytes) -> Inode:
        """Return the directory in which `name` is about to be used. ENAMETOOLONG."""
        if len(name) > NAME_MAX:
            raise fail(errno.ENAMETOOLONG)
        return self._inode(ino)

    def _tell(
        self, attachment: Attachment, node: Node, name: bytes | None = None, *, data: bool = True
    ) -> None:
        """Tell whoever else shows this file; the kernel knows its own changes."""
        tree = self.tree
        if attachment.siblings or tree.overheard:
            tree.changed(attachment, Change(node, name, data), by=self.door)

    @handler
    async def lookup(
        self, parent_ino: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self._directory(parent_ino, name)
        attachment = parent.attachment
        if parent_ino == pyfuse3.ROOT_INODE:
            self.door.note_root_name(name)
        if attachment.nested:
            inner = attachment.nested.get((parent.node.number, name))
            if inner is not None:
                return await self._replies.attach_point(parent, inner, ctx)
        noted = self.door.noted
        try:
            entry = await attachment.provider.lookup(parent.node, name)
        except FileNotFoundError:
            return self._replies.missing(attachment, noted)
        return self._replies.known(parent, entry, noted)

    @handler
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        self.inodes.forget(inode_list)

    # -- attributes -----------------------------------------------------------------------

    @handler
    async def getattr(self, ino: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        inode = self._inode(ino)
        attachment = inode.attachment
        stat = await attachment.provider.getattr(inode.node)
        return entry_attributes(ino, stat, attachment.cache_s)

    @handler
    async def setattr(
        self,
        ino: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        inode = self._inode(ino)
        attachment = inode.attachment
        changes = requested_changes(attr, fields)
        if changes == NO_CHANGE:
            # chown(-1, -1) changes nothing, but makes privileges fall as any chown does; with
            # KILLPRIV_V2 the kernel leaves that to us.
            changes = SetAttr(uid=(await attachment.provider.getattr(inode.node)).uid)
        stat = await attachment.provider.setattr(inode.node, changes, ctx)
        self._tell(attachment, inode.node, data=changes.size is not None)
        return entry_attributes(ino, stat, attachment.cache_s)

    @handler
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        # Without the shim, which tells for which inode the kernel asks, the root answers.
        ino = shim.statfs_inode() if shim is not None and shim.works else pyfuse3.ROOT_INODE
        return statvfs_data(await self._inode(ino).attachment.provider.statfs())

    @handler
    async def getxattr(self, ino: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        inode = self._inode(ino)
        return await provenance.getxattr(inode.attachment, inode.node, name)

    @handler
    async def listxattr(self, ino: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        inode, virtual = self._inode(ino), self.tree.lists_provenance
        names = await provenance.listxattr(inode.attachment, inode.node, virtual=virtual)
        # The kernel lets others neither read nor write these, but leaves the listing to us.
        return [name for name in names if not (ctx.uid and name.startswith(b"trusted."))]

    @handler
    async def setxattr(
        self, ino: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        inode = self._inode(ino)
        await provenance.setxattr(inode.attachment, inode.node, name, value)
        self._tell(inode.attachment, inode.node, data=False)

    @handler
    async def removexattr(self, ino: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        inode = self._inode(ino)
        await provenance.removexattr(inode.attachment, inode.node, name)
        self._tell(inode.attachment, inode.node, data=False)

    # -- names ----------------------------------------------------------------------------

    @handler
    async def readlink(self, ino: int, ctx: pyfuse3.RequestContext) -> bytes:
        inode = self._inode(ino)
        return await inode.attachment.provider.readlink(inode.node)

    @handler
    async def mknod(
        self, parent_ino: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self._directory(parent_ino, name)
        noted = self.door.noted
        entry = await parent.attachment.provider.mknod(parent.node, name, mode, rdev, ctx)
        reply = self._replies.known(parent, entry, noted)
        self._tell(parent.attachment, parent.node, name)
        return reply

    @handler
    async def mkdir(
        self, parent_ino: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self._directory(parent_ino, name)
        noted = self.door.noted
        entry = await parent.attachment.provider.mkdir(parent.node, name, mode & 0o7777, ctx)
        reply = self._replies.known(parent, entry, noted)
        self._tell(parent.attachment, parent.node, name)
        return reply

    @handler
    async def symlink(
        self, parent_ino: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        parent = self._directory(parent_ino, name)
        if len(target) >= PATH_MAX:
            raise fail(errno.ENAMETOOLONG)
        noted = self.door.noted
        entry = await parent.attachment.provider.symlink(parent.node, name, target, ctx)
        reply = self._replies.known(parent, entry, noted)
        self._tell(parent.attachment, parent.node, name)
        return reply

    @handler
    async def link(
        self, ino: int, parent_ino: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        inode = self._inode(ino)
        parent = self._directory(parent_ino, name)
        check_same(inode.attachment, parent.attachment)
        noted = self.door.noted
        entry = await parent.attachment.provider.link(inode.node, parent.node, name)
        reply = self._replies.known(parent, entry, noted)
        self._tell(parent.attachment, parent.node, name)
        self._tell(inode.attachment, inode.node, data=False)
        return reply

    @handler
    async def unlink(self, parent_ino: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        parent = self._directory(parent_ino, name)
        parent.attachment.check_unpinned(parent.node, name)
        gone = await self._if_shared(parent, name)
        await parent.attachment.provider.unlink(parent.node, name)
        self._tell(parent.attachment, parent.node, name)
        if gone is not None:
            self._tell(parent.attachment, gone, data=False)

    @handler
    async def rmdir(self, parent_ino: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        parent = self._directory(parent_ino, name)
        with parent.attachment.leaving((parent.node, name)):
            await parent.attachment.provider.rmdir(parent.node, name)
        self._tell(parent.attachment, parent.node, name)

    async def _if_shared(self, parent: Inode, name: bytes) -> Node | None:
        """Return `name`'s file if others must be told that its link count changes."""
        attachment = parent.attachment
        if not (attachment.siblings or self.tree.overheard):
            return None
        return (await attachment.provider.lookup(parent.node, name)).node

    @handler
    async def rename(
        self,
        parent_ino: int,
        name: bytes,
        new_parent_ino: int,
        new_name: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        parent = self._directory(parent_ino, name)
        new_parent = self._directory(new_parent_ino, new_name)
        attachment = parent.attachment
        check_same(attachment, new_parent.attachment)
        with attachment.leaving((parent.node, name), (new_parent.node, new_name)):
            await attachment.provider.rename(parent.node, name, new_parent.node, new_name, flags)
        if parent is not new_parent:
            await self._moved(new_parent, new_name)
            if flags & RENAME_EXCHANGE:
                await self._moved(parent, name)
        self._tell(attachment, parent.node, name)
        self._tell(attachment, new_parent.node, new_name)

    async def _moved(self, parent: Inode, name: bytes) -> None:
        """Note where a renamed directory now stands, for ``..`` in its listing."""
        try:
            entry = await parent.attachment.provider.lookup(parent.node, name)
        except OSError:
            return  # Someone was quicker; the next lookup will tell.
        inode = self.inodes.known(parent.attachment, entry.node)
        if inode is not None:
            inode.parent_ino = parent.ino

    # -- files ----------------------------------------------------------------------------

    @handler
    async def open(self, ino: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        inode = self._inode(ino)
        attachment = inode.attachment
        with attachment.opening():
            handle = await attachment.provider.open(inode.node, flags, ctx)
            open_file, info = await self._files.add(attachment, inode.node, handle, flags)
        self._files.count(open_file, +1)
        return info

    @handler
    async def create(
        self,
        parent_ino: int,
        name: bytes,
        mode: int,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        parent = self._directory(parent_ino, name)
        attachment = parent.attachment
        noted = self.door.noted
        with attachment.opening():
            entry, handle = await attachment.provider.create(
                parent.node, name, mode & 0o7777, flags, ctx
            )
            open_file, info = await self._files.add(attachment, entry.node, handle, flags)
        reply = self._replies.known(parent, entry, noted)
        self._files.count(open_file, +1)
        self._tell(attachment, parent.node, name)
        return info, reply

    @handler
    async def read(self, fh: int, offset: int, size: int) -> bytes:
        handle = self._open_files[fh].handle
        if handle is None:
            raise fail(errno.EISDIR)
        # pyfuse3 takes any buffer, although it only declares bytes.
        return cast("bytes", await handle.read(offset, size))

    @handler
    async def write(self, fh: int, offset: int, data: bytes) -> int:
        open_file = self._open_files[fh]
        if open_file.handle is None:
            raise fail(errno.EISDIR)
        # Pages that were changed through mmap come by any handle that writes; the shim tells.
        back = shim is not None and shim.writes_back()
        write = open_file.handle.write_back if back else open_file.handle.write
        written = await write(offset, data)
        self._tell(open_file.attachment, open_file.node)
        if open_file.past_cache:
            await self._files.drop_outdated(open_file)
        return written

    @handler
    async def release(self, fh: int) -> None:
        open_file = self.handles.remove(fh)
        self._files.count(open_file, -1)
        if open_file.handle is not None:
            await open_file.handle.release()

    @handler
    async def fsync(self, fh: int, datasync: bool) -> None:
        handle = self.handles.get(fh).handle
        if handle is not None:
            await handle.fsync(datasync=datasync)

    # -- directories ----------------------------------------------------------------------

    @handler
    async def opendir(self, ino: int, ctx: pyfuse3.RequestContext) -> int:
        inode = self._inode(ino)
        return self.handles.add(inode.attachment, inode.node).fh

    @handler
    async def releasedir(self, fh: int) -> None:
        self.handles.remove(fh)

    @handler
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        place = self._inode(fh ^ BY_INODE) if fh & BY_INODE else self.handles.get(fh)
        provider = place.attachment.provider
        if provider.traits.fsync:
            await provider.fsyncdir(place.node, datasync=datasync)

    @handler
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        if fh & BY_INODE:
            await self._listing.reply_of(self._inode(fh ^ BY_INODE), start_id, token)
        else:
            await self._listing.reply(self.handles.get(fh), start_id, token)

    # -- kinds the kernel need not send ---------------------------------------------------

    flush = refuse(errno.ENOSYS)
    access = refuse(errno.ENOSYS)
    poll = refuse(errno.ENOSYS)

    # -- accounts -------------------------------------------------------------------------

    def statistics(self) -> dict[str, object]:
        """Return requests by kind, inodes, lookups and open handles."""
        return {
            "requests": {kind: count for kind, count in self.requests.items() if count},
            "viewers": self.meter.windows,
            **self.inodes.statistics(),
            **self.handles.statistics(),
        }
