"""The provider's methods on files by their nodes: attributes, content, extended attributes.

Concurrency: on local storage all but fsync and long transfers is done in the event loop, so a
method is atomic by not suspending. On storage that may block, calls run in threads of the
provider's own, and each is one call of the host's that is atomic there.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Sequence

from providers.passthrough import changing, look
from providers.passthrough.handle import PassthroughHandle
from providers.passthrough.host import Host
from providers.passthrough.look import stat_of
from providers.passthrough.nodes import HostNode
from vfsd.errors import fail
from vfsd.provider import Caller, Node, SetAttr, Stat, StatFs


class FileMethods(Host):
    """All that takes a file, whatever its names."""

    async def getattr(self, node: Node) -> Stat:
        assert isinstance(node, HostNode)
        held = self._access.at_hand(node)
        if held is not None:
            found = os.fstat(held.fd)
        elif node.fds or stat_module.S_ISDIR(node.kind):
            found = await self._access.on_file(node, lambda held: os.fstat(held.fd))
        elif stat_module.S_ISLNK(node.kind):
            return await self._links.getattr(node)
        else:
            library = self._library
            stat = await self._access.at_place(
                node, lambda dirfd, name: look.stat_at(dirfd, name, node.identity, library)
            )
            node.nlink = stat.nlink
            return stat
        node.nlink = found.st_nlink
        return stat_of(found)

    # -- symlinks -------------------------------------------------------------------------

    async def readlink(self, node: Node) -> bytes:
        assert isinstance(node, HostNode)
        if not stat_module.S_ISLNK(node.kind):
            raise fail(errno.EINVAL)
        return await self._links.readlink(node)

    # -- content --------------------------------------------------------------------------

    async def open(self, node: Node, flags: int, caller: Caller) -> PassthroughHandle:
        assert isinstance(node, HostNode)
        if not stat_module.S_ISREG(node.kind):
            codes = {stat_module.S_IFDIR: errno.EISDIR, stat_module.S_IFLNK: errno.ELOOP}
            raise fail(codes.get(node.kind, errno.ENXIO))
        change, gid = bool(flags & os.O_TRUNC), self.fallible(caller)
        if node.fds:
            known = node.fds[0]
            held, size, mtime_ns, ctime_ns = await self._access.run(
                node.slow, lambda: look.open_again(known.fd, flags, gid), change=change
            )
        else:
            library = self._library
            held, size, mtime_ns, ctime_ns = await self._access.at_place(
                node,
                lambda dirfd, name: look.open_at(dirfd, name, node.identity, flags, gid, library),
                change=change,
            )
        self._live.opened(node, mtime_ns, ctime_ns, emptied=change)
        return PassthroughHandle(self, node, held, flags, gid, size)

    async def statfs(self) -> StatFs:
        root = self._access.root
        return await self._access.run(self._access.slow, lambda: look.statfs_of(root.fd))

    async def fsyncdir(self, node: Node, *, datasync: bool) -> None:
        assert isinstance(node, HostNode)
        route = self._access.directory(node)
        if not self.durable(node):
            return
        sync = os.fdatasync if datasync else os.fsync

        def call() -> None:
            fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=route.fd())
            try:
                sync(fd)
            finally:
                os.close(fd)

        await self.threads.change(call)

    # -- attributes -----------------------------------------------------------------------

    async def setattr(self, node: Node, changes: SetAttr, caller: Caller) -> Stat:
        assert isinstance(node, HostNode)
        gid = self.fallible(caller)
        held = self._access.at_hand(node)
        if held is not None:
            found = changing.change(held, changes, gid)
        else:
            found = await self._access.on_file(
                node, lambda held: changing.change(held, changes, gid), change=True
            )
        node.own_ctime_ns, node.data_mtime_ns = found.st_ctime_ns, found.st_mtime_ns
        return stat_of(found)

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        assert isinstance(node, HostNode)
        held = self._access.at_hand(node)
        if held is not None:
            return changing.getxattr(held, name)
        return await self._access.on_file(node, lambda held: changing.getxattr(held, name))

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        assert isinstance(node, HostNode)
        held = self._access.at_hand(node)
        if held is not None:
            return changing.listxattr(held)
        return await self._access.on_file(node, changing.listxattr)

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        assert isinstance(node, HostNode)
        found = await self._access.on_file(
            node, lambda held: changing.setxattr(held, name, value), change=True
        )
        node.own_ctime_ns = found.st_ctime_ns

    async def removexattr(self, node: Node, name: bytes) -> None:
        assert isinstance(node, HostNode)
        found = await self._access.on_file(
            node, lambda held: changing.removexattr(held, name), change=True
        )
        node.own_ctime_ns = found.st_ctime_ns
