"""The passthrough provider: the contract on a real directory.

Each method plans in memory, makes its calls on the host through `Access`, and notes what they
found. Whatever is resolved is one name in a directory that beneath.py opened, and no call
follows a last symlink, so no method can be led out of the root.

What this is *not*: read-only attachments (vfsd/readonly.py), permission checks (the kernel's,
by the modes given here), inode numbers (vfsd/fuse/inodes.py).

Concurrency: on local storage all but fsync and long transfers is done in the event loop, so a
method is atomic by not suspending. On storage that may block, calls run in threads of the
provider's own, and each is one call of the host's that is atomic there.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import trio

from providers.passthrough import changing, look, making
from providers.passthrough.access import Access, Route
from providers.passthrough.beneath import open_root
from providers.passthrough.handle import PassthroughHandle
from providers.passthrough.held import HeldFd
from providers.passthrough.linkview import LinkView
from providers.passthrough.live import Live
from providers.passthrough.look import Found, stat_of
from providers.passthrough.making import Owner
from providers.passthrough.nodes import HostNode
from providers.passthrough.options import Options, parse_options
from providers.passthrough.orphans import Orphans
from providers.passthrough.syscalls import RENAME_EXCHANGE
from vfsd.errors import UserError, fail
from vfsd.exitcodes import ExitCode
from vfsd.provider import (
    Caller,
    Entry,
    Node,
    Provider,
    SetAttr,
    Stat,
    StatFs,
    Traits,
)


class PassthroughProvider(Provider):
    """See the module; make one with `from_options`."""

    def __init__(self, source: str, root: HeldFd, options: Options) -> None:
        """Serve the directory open as `root`, which `source` led to; may block."""
        super().__init__()
        self.source = source
        self._options = options
        self._guard = options.chosen_guard()
        self._access = Access(root, self._guard, options.threads)
        self._table = self._access.table
        self._links = LinkView(self._access, options.links, source)
        self._orphans = Orphans(self._access.fds.limit)
        self._live = Live(self._access, self.report)
        self._xattrs = _has_xattrs(root.fd)
        self._owned = os.geteuid() == 0
        self.threads = self._access.threads

    @classmethod
    def recognises(cls, source: str) -> bool:
        return os.path.isdir(source)

    @classmethod
    async def from_options(cls, source: str | None, options: Mapping[str, str]) -> Self:
        """Serve the directory `source`; options are links=, threads= and guard=."""
        if not source:
            raise UserError(
                "the passthrough provider needs a directory; give its path, or "
                "passthrough:DIRECTORY",
                ExitCode.USAGE,
            )
        parsed = await trio.to_thread.run_sync(parse_options, options, abandon_on_cancel=True)
        root = await trio.to_thread.run_sync(_open_source, source, abandon_on_cancel=True)
        return await trio.to_thread.run_sync(cls, source, root, parsed, abandon_on_cancel=True)

    @property
    def traits(self) -> Traits:
        return Traits(
            watch=self._live.watching,
            hard_links=True,
            xattrs=self._xattrs,
            may_block=True,
            fsync=True,
        )

    @property
    def root(self) -> HostNode:
        return self._table.root

    def describe(self) -> str:
        return f"passthrough {self.source}"

    def statistics(self) -> Mapping[str, int | float | str]:
        return {
            "guard": self._guard,
            "calls": "threads" if self._access.slow else "event loop",
            "nodes": len(self._table),
            "directory_fds": len(self._access.fds),
            "limit_directory_fds": self._access.fds.limit,
            "removed_files": len(self._orphans),
            **self._live.statistics(),
        }

    def attached(self, mountpoint: bytes | None, prefix: bytes) -> None:
        """Learn where it is seen: absolute links into the mount itself lead nowhere else."""
        self._links.mountpoint = mountpoint

    # -- life -----------------------------------------------------------------------------

    async def watch(self) -> None:
        await self._live.run()

    async def aclose(self) -> None:
        self._links.close()
        self._live.close()
        self._orphans.clear()
        self._access.close()

    def forget(self, node: Node) -> None:
        if node.number in self._orphans and not self.kept(node.number):
            self._orphans.drop(node.number)

    # -- finding --------------------------------------------------------------------------

    def _parent(self, parent: Node, name: bytes) -> tuple[HostNode, Route]:
        assert isinstance(parent, HostNode)
        return parent, self._access.directory(parent, name)

    def _owner(self, caller: Caller) -> Owner | None:
        return Owner(caller.uid, caller.gid) if self._owned else None

    async def _entry(self, route: Route, name: bytes, found: Found, *, made: bool = False) -> Entry:
        """Note what was found, and say it in the contract's words.

        ENOENT if it is hidden, unless it was just made.
        """
        parent = route.node
        stat = stat_of(found.stat)
        if found.target is not None:
            stat = await self._links.stat(parent, found, stat, route.slow, made=made)
        node = self._table.found(parent, name, found.stat, found.mark)
        node.slow = route.slow
        if node.nlink > 1:
            self._live.attend_file(node, route, name)
        return Entry(node, stat)

    def _changed(self, *routes: Route) -> None:
        """Note how own changes of names left the directories, to know them by that later."""
        if self._live.watching:
            for route in routes:
                if not route.slow:
                    route.node.own_ctime_ns = os.fstat(route.fd()).st_ctime_ns

    def _made(self, route: Route, entry: Entry) -> Entry:
        self._changed(route)
        node = entry.node
        assert isinstance(node, HostNode)
        node.own_ctime_ns = entry.stat.ctime_ns
        return entry

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        directory, route = self._parent(parent, name)
        self._live.attend(route)
        try:
            found = await self._access.run(route.slow, lambda: look.look(route.fd(), name))
        except FileNotFoundError:
            self._access.keep(route)
            self._strayed(self._table.left(directory, name))
            raise
        self._access.keep(route)
        return await self._entry(route, name, found)

    async def lookup_many(self, parent: Node, names: Sequence[bytes]) -> list[Entry | None]:
        assert isinstance(parent, HostNode)
        if self._access.submounts is not None and self._access.submounts.refresh():
            return await super().lookup_many(parent, names)
        route = self._access.directory(parent)
        for name in names:
            self._access.directory(parent, name)
        self._live.attend(route)
        found = await self._access.run(route.slow, lambda: look.look_many(route.fd(), names))
        self._access.keep(route)
        entries: list[Entry | None] = []
        for name, each in zip(names, found, strict=True):
            try:
                entries.append(None if each is None else await self._entry(route, name, each))
            except FileNotFoundError:
                entries.append(None)
        return entries

    async def getattr(self, node: Node) -> Stat:
        assert isinstance(node, HostNode)
        if node.fds or stat_module.S_ISDIR(node.kind):
            found = await self._access.on_file(node, lambda held: os.fstat(held.fd))
        elif stat_module.S_ISLNK(node.kind):
            return await self._links.getattr(node)
        else:
            found = await self._access.at_place(
                node, lambda dirfd, name: look.stat_at(dirfd, name, node.identity)
            )
        node.nlink = found.st_nlink
        node.setid = bool(found.st_mode & 0o6000)
        return stat_of(found)

    async def readdir(self, node: Node) -> Sequence[bytes]:
        assert isinstance(node, HostNode)
        route = self._access.directory(node)
        self._live.attend(route)
        if self._options.links.hide:
            names = await self._links.visible_names(route)
        else:
            names = await self._access.run(route.slow, lambda: look.names_in(route.fd()))
        self._access.keep(route)
        submounts = self._access.submounts
        if submounts is not None and submounts.refresh():
            names = [name for name in names if (node.dev, node.ino, name) not in submounts.hidden]
        return names

    # -- symlinks -------------------------------------------------------------------------

    async def readlink(self, node: Node) -> bytes:
        assert isinstance(node, HostNode)
        if not stat_module.S_ISLNK(node.kind):
            raise fail(errno.EINVAL)
        target = await self._access.on_file(node, lambda held: os.readlink(b"", dir_fd=held.fd))
        if node.parent is None:
            raise fail(errno.ESTALE)
        return await self._links.shown(node.parent, target, node.slow)

    # -- content --------------------------------------------------------------------------

    async def open(self, node: Node, flags: int, caller: Caller) -> PassthroughHandle:
        assert isinstance(node, HostNode)
        if not stat_module.S_ISREG(node.kind):
            codes = {stat_module.S_IFDIR: errno.EISDIR, stat_module.S_IFLNK: errno.ELOOP}
            raise fail(codes.get(node.kind, errno.ENXIO))
        change = bool(flags & os.O_TRUNC)
        if node.fds:
            known = node.fds[0]
            held, stat = await self._access.run(
                node.slow, lambda: look.open_again(known.fd, flags), change=change
            )
        else:
            held, stat = await self._access.at_place(
                node,
                lambda dirfd, name: look.open_at(dirfd, name, node.identity, flags),
                change=change,
            )
        if change:
            node.own_ctime_ns = stat.st_ctime_ns
        node.setid = bool(stat.st_mode & 0o6000)
        return PassthroughHandle(self, node, held, flags, caller.uid)

    async def create(
        self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Entry, PassthroughHandle]:
        _, route = self._parent(parent, name)
        owner = self._owner(caller)
        found, held = await self._access.run(
            route.slow,
            lambda: making.create(route.fd(), name, mode, flags, owner),
            change=True,
        )
        self._access.keep(route)
        entry = self._made(route, await self._entry(route, name, found, made=True))
        assert isinstance(entry.node, HostNode)
        return entry, PassthroughHandle(self, entry.node, held, flags, caller.uid)

    async def statfs(self) -> StatFs:
        root = self._access.root
        return await self._access.run(self._access.slow, lambda: look.statfs_of(root.fd))

    async def fsyncdir(self, node: Node, *, datasync: bool) -> None:
        assert isinstance(node, HostNode)
        route = self._access.directory(node)
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
        by_root = caller.uid == 0
        found = await self._access.on_file(
            node, lambda held: changing.change(held, changes, by_root), change=True
        )
        node.own_ctime_ns = found.st_ctime_ns
        node.setid = bool(found.st_mode & 0o6000)
        return stat_of(found)

    async def getxattr(self, node: Node, name: bytes) -> bytes:
        assert isinstance(node, HostNode)
        return await self._access.on_file(node, lambda held: changing.getxattr(held.fd, name))

    async def listxattr(self, node: Node) -> Sequence[bytes]:
        assert isinstance(node, HostNode)
        return await self._access.on_file(node, lambda held: changing.listxattr(held.fd))

    async def setxattr(self, node: Node, name: bytes, value: bytes) -> None:
        assert isinstance(node, HostNode)
        found = await self._access.on_file(
            node, lambda held: changing.setxattr(held.fd, name, value), change=True
        )
        node.own_ctime_ns = found.st_ctime_ns

    async def removexattr(self, node: Node, name: bytes) -> None:
        assert isinstance(node, HostNode)
        found = await self._access.on_file(
            node, lambda held: changing.removexattr(held.fd, name), change=True
        )
        node.own_ctime_ns = found.st_ctime_ns

    # -- names ----------------------------------------------------------------------------

    async def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> Entry:
        _, route = self._parent(parent, name)
        owner = self._owner(caller)
        return await self._make(
            route, name, lambda: making.mknod(route.fd(), name, mode, rdev, owner)
        )

    async def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Entry:
        _, route = self._parent(parent, name)
        owner = self._owner(caller)
        return await self._make(route, name, lambda: making.mkdir(route.fd(), name, mode, owner))

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Entry:
        _, route = self._parent(parent, name)
        if b"\0" in target:
            raise fail(errno.EINVAL)
        owner = self._owner(caller)
        return await self._make(
            route, name, lambda: making.symlink(route.fd(), name, target, owner)
        )

    async def link(self, node: Node, parent: Node, name: bytes) -> Entry:
        assert isinstance(node, HostNode)
        _, route = self._parent(parent, name)
        found = await self._access.on_file(
            node, lambda held: making.link(held.fd, route.fd(), name), change=True
        )
        self._access.keep(route)
        return self._made(route, await self._entry(route, name, found, made=True))

    async def unlink(self, parent: Node, name: bytes) -> None:
        await self._remove(parent, name, making.unlink)

    async def rmdir(self, parent: Node, name: bytes) -> None:
        await self._remove(parent, name, making.rmdir)

    async def rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> None:
        if flags not in (0, 1, 2):
            raise fail(errno.EINVAL)
        directory, route = self._parent(parent, name)
        new_directory, new_route = self._parent(new_parent, new_name)
        if self._options.links.hide:
            await self.lookup(parent, name)
        keep = flags == 0 and self._keeps(new_directory, new_name)
        held = await self._access.run(
            route.slow or new_route.slow,
            lambda: making.rename(route.fd(), name, new_route.fd(), new_name, flags, keep),
            change=True,
        )
        self._access.keep(route)
        self._access.keep(new_route)
        self._changed(route, new_route)
        self._renamed(directory, name, new_directory, new_name, flags, held)

    # -- what happened to names -----------------------------------------------------------

    def _keeps(self, parent: HostNode, name: bytes) -> bool:
        """Say whether a door keeps what is about to lose this name."""
        known = self._table.at(parent, name)
        return known is not None and self.kept(known.number)

    async def _make(self, route: Route, name: bytes, call: Callable[[], Found]) -> Entry:
        found = await self._access.run(route.slow, call, change=True)
        self._access.keep(route)
        return self._made(route, await self._entry(route, name, found, made=True))

    async def _remove(self, parent: Node, name: bytes, remove: making.Remove) -> None:
        directory, route = self._parent(parent, name)
        if self._options.links.hide:
            await self.lookup(parent, name)
        keep = self._keeps(directory, name)
        held = await self._access.run(
            route.slow, lambda: remove(route.fd(), name, keep), change=True
        )
        self._access.keep(route)
        self._changed(route)
        self._left(directory, name, held)

    def _left(self, parent: HostNode, name: bytes, held: HeldFd | None) -> None:
        """Note that a name is gone; `held` leads to what it stood for, if a door keeps that."""
        self._lost_name(self._table.left(parent, name), held)

    def _strayed(self, node: HostNode | None) -> None:
        """Note that a node is not where it was, and may be somewhere else."""
        if node is not None and stat_module.S_ISDIR(node.kind):
            self._access.drop_below(node)

    def _lost_name(self, node: HostNode | None, held: HeldFd | None) -> None:
        if node is None:
            return
        self._strayed(node)
        if stat_module.S_ISDIR(node.kind):
            node.nlink = 0
        else:
            node.nlink -= 1
        if node.nlink < 1:
            self._table.gone(node)
        if not node.placed and held is not None:
            self._orphans.add(node, held)

    def _renamed(
        self,
        parent: HostNode,
        name: bytes,
        new_parent: HostNode,
        new_name: bytes,
        flags: int,
        held: HeldFd | None,
    ) -> None:
        moved, replaced = self._table.at(parent, name), self._table.at(new_parent, new_name)
        if moved is not None and moved is replaced:
            return  # two names of one file: nothing happened
        self._table.left(parent, name)
        self._table.left(new_parent, new_name)
        if moved is not None:
            self._table.place(moved, new_parent, new_name)
        if replaced is None:
            return
        if flags == RENAME_EXCHANGE:
            self._table.place(replaced, parent, name)
        else:
            self._lost_name(replaced, held)


def _has_xattrs(fd: int) -> bool:
    try:
        os.listxattr(changing.path_of(fd))
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    return True


def _open_source(source: str) -> HeldFd:
    try:
        return open_root(source)
    except OSError as error:
        raise _refused(source, error) from error


def _refused(source: str, error: OSError) -> UserError:
    """Return what to say about a source that cannot be served."""
    if error.errno == errno.ENOENT:
        return UserError(f"{source} does not exist; give an existing directory", ExitCode.NOT_FOUND)
    if error.errno == errno.ENOTDIR:
        return UserError(f"{source} is not a directory; give one", ExitCode.USAGE)
    if error.errno in (errno.EACCES, errno.EPERM):
        return UserError(
            f"{source} cannot be listed or searched; run the daemon as a user who may, or give "
            "that user the permission",
            ExitCode.DENIED,
        )
    return UserError(f"{source}: {error.strerror}; give a directory that works", ExitCode.FAILED)
