"""The provider's methods on names: finding, listing, making, removing and renaming them.

Concurrency: on local storage all but fsync and long transfers is done in the event loop, so a
method is atomic by not suspending. On storage that may block, calls run in threads of the
provider's own, and each is one call of the host's that is atomic there.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

import trio

from providers.passthrough import copies, look, making
from providers.passthrough.access import Route
from providers.passthrough.beneath import check_names
from providers.passthrough.handle import PassthroughHandle
from providers.passthrough.host import Host
from providers.passthrough.look import KnownLink
from providers.passthrough.looking import Found
from providers.passthrough.nodes import HostNode
from vfsd.errors import fail
from vfsd.provider import Caller, Entry, FileCopy, Node

UNLINKED_AT_ONCE = 256
"""Names; others have a turn then."""


class NameMethods(Host):
    """All that takes a directory and a name."""

    # -- finding --------------------------------------------------------------------------

    async def lookup(self, parent: Node, name: bytes) -> Entry:
        directory, route = self._parent(parent, name)
        self._live.attend(route)
        links = self._links.judges
        known = self._known_link(directory, name) if links else None
        library = self._library
        try:
            if route.held is not None and not route.slow:
                found = look.look(route.held.fd, name, links, known, library)
            else:
                found = await self._access.run(
                    route.slow, lambda: look.look(route.fd(), name, links, known, library)
                )
        except FileNotFoundError:
            self._access.keep(route)
            self._strayed(self._table.left(directory, name))
            raise
        self._access.keep(route)
        if found.target is None:
            return self._noted(route, name, found, found.stat)
        return await self._entry(route, name, found)

    async def lookup_many(self, parent: Node, names: Sequence[bytes]) -> list[Entry | None]:
        assert isinstance(parent, HostNode)
        if self._access.submounts is not None and self._access.submounts.refresh():
            return await super().lookup_many(parent, names)
        route = self._access.directory(parent)
        check_names(names)
        self._live.attend(route)
        links = self._links.judges
        known: dict[bytes, KnownLink] = {}
        for name in names if links else ():
            link = self._known_link(parent, name)
            if link is not None:
                known[name] = link
        library = self._library
        found = await self._access.run(
            route.slow, lambda: look.look_many(route.fd(), names, links, known, library)
        )
        self._access.keep(route)
        entries: list[Entry | None] = []
        noted = self._noted
        for name, each in zip(names, found, strict=True):
            if each is None:
                entries.append(None)
            elif each.target is None:
                entries.append(noted(route, name, each, each.stat))
            else:
                try:
                    entries.append(await self._entry(route, name, each))
                except FileNotFoundError:
                    entries.append(None)
        return entries

    async def readdir(self, node: Node) -> Sequence[bytes]:
        assert isinstance(node, HostNode)
        route = self._access.directory(node)
        self._live.attend(route)
        if self._options.links.hide:
            names = await self._links.visible_names(route)
        else:
            library = self._library
            names = await self._access.run(route.slow, lambda: look.names_in(route.fd(), library))
        self._access.keep(route)
        submounts = self._access.submounts
        if submounts is not None and submounts.refresh():
            names = [name for name in names if (node.dev, node.ino, name) not in submounts.hidden]
        return names

    # -- names ----------------------------------------------------------------------------

    async def create(
        self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller
    ) -> tuple[Entry, PassthroughHandle]:
        _, route = self._parent(parent, name)
        owner, gid = self._owner(caller), self.fallible(caller)
        found, held = await self._access.run(
            route.slow,
            lambda: making.create(route.fd(), name, mode, flags, owner, gid),
            change=True,
        )
        self._access.keep(route)
        entry = self._made(route, await self._entry(route, name, found, made=True))
        assert isinstance(entry.node, HostNode)
        self._live.opened(
            entry.node, found.stat.mtime_ns, found.stat.ctime_ns, emptied=bool(flags & os.O_TRUNC)
        )
        return entry, PassthroughHandle(self, entry.node, held, flags, gid)

    async def put_copy(
        self, parent: Node, name: bytes, copy: FileCopy, spare: tuple[Node, bytes], *, sync: bool
    ) -> tuple[Entry, PassthroughHandle] | None:
        _, work = self._parent(*spare)
        directory, route = self._parent(parent, name)
        uid, gid = copy.stat.uid, copy.stat.gid
        foreign = not self._owned and (uid, gid) != (os.geteuid(), os.getegid())
        slow = route.slow or work.slow or self._live.watching
        if foreign or slow or (sync and self.durable(directory)):
            return None
        work.fd(), route.fd()
        assert work.held is not None
        assert route.held is not None
        made = copies.put(work.held, spare[1], route.held, name, copy, self._library)
        self._access.keep(work)
        self._access.keep(route)
        if made is None:
            return None
        found, held = made
        entry = self._noted(route, name, found, found.stat)
        node = entry.node
        assert isinstance(node, HostNode)
        self._live.opened(node, found.stat.mtime_ns, found.stat.ctime_ns, emptied=False)
        return entry, PassthroughHandle(self, node, held, os.O_RDWR, None)

    async def mknod(self, parent: Node, name: bytes, mode: int, rdev: int, caller: Caller) -> Entry:
        _, route = self._parent(parent, name)
        owner = self._owner(caller)
        return await self._make(
            route, name, lambda: making.mknod(route.fd(), name, mode, rdev, owner)
        )

    async def put_whiteout(self, parent: Node, name: bytes) -> None:
        directory, route = self._parent(parent, name)
        await self._access.run(route.slow, lambda: making.whiteout(route.fd(), name), change=True)
        self._access.keep(route)
        self._changed(route)
        self._strayed(self._table.left(directory, name))

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

    async def clear(self, node: Node) -> None:
        assert isinstance(node, HostNode)
        if self._options.links.hide or not await self._unlink_unknown(node):
            await super().clear(node)

    async def _unlink_unknown(self, directory: HostNode) -> bool:
        """Remove what nobody holds and is no directory, unseen; say whether that was all."""
        names = await self.readdir(directory)
        unknown = [name for name in names if self._table.at(directory, name) is None]
        all_gone = len(unknown) == len(names)
        for first in range(0, len(unknown), UNLINKED_AT_ONCE):
            if first:
                await trio.lowlevel.checkpoint()
            page = unknown[first : first + UNLINKED_AT_ONCE]
            all_gone = await self._unlink_all(directory, page) and all_gone
        return all_gone

    async def _unlink_all(self, directory: HostNode, names: Sequence[bytes]) -> bool:
        route = self._access.directory(directory)
        all_gone = await self._access.run(
            route.slow, lambda: making.unlink_all(route.fd(), names), change=True
        )
        self._access.keep(route)
        self._changed(route)
        return all_gone

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
