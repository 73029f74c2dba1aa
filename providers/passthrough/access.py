"""From a node to the host: which fd to work with, and in the event loop or in a thread.

`Access.directory` plans the way to a directory in memory, as a `Route`; `Route.fd` then walks
it, through the choke point (beneath.py), wherever the call is made. So threads touch no table,
and what they opened is remembered once they are back.

Concurrency: methods of `Access` from the event loop only; `Route.fd` in any one thread.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable, Sequence
from typing import TypeVar

from providers.passthrough.backing import Submounts, is_local, is_volatile
from providers.passthrough.beneath import GUARDS, Descend, Key, check_name, reach
from providers.passthrough.held import DirectoryFds, HeldFd, fd_limit
from providers.passthrough.look import hold_at
from providers.passthrough.nodes import HostNode, NodeTable
from providers.passthrough.syscalls import file_mark
from providers.passthrough.threads import Threads
from vfsd.errors import fail
from vfsd.provider import ROOT_NUMBER

T = TypeVar("T")

DIRECTORY = stat_module.S_IFDIR
OUT_OF_FDS = (errno.EMFILE, errno.ENFILE)


class Route:
    """The way to one directory: from an open one down some names."""

    __slots__ = ("_descend", "_names", "base", "held", "node", "slow")

    def __init__(
        self, descend: Descend, node: HostNode, base: HeldFd, names: Sequence[bytes], slow: bool
    ) -> None:
        self._descend = descend
        self.base = base
        self._names = names
        self.node = node
        self.slow = slow
        """Calls on it are made in a thread."""
        self.held: HeldFd | None = None if names else base

    def fd(self) -> int:
        """Return the directory's fd, after walking there if need be. ESTALE."""
        held = self.held
        if held is None:
            held = self.held = reach(self._descend, self.base, self._names, self.node.key)
        return held.fd


class Access:
    """The root's fd, the directories open below it, and the way to all others."""

    def __init__(self, root: HeldFd, guard: str, threads: str) -> None:
        self._root: HeldFd | None = root
        self.descend = GUARDS[guard]
        self.table = NodeTable(os.fstat(root.fd), file_mark(root.fd, b"."))
        self.fds = DirectoryFds(fd_limit())
        self.threads = Threads()
        self.slow = threads == "always" or (threads == "auto" and not is_local(root.fd))
        self.table.root.slow = self.slow
        self._volatile_dev = self.table.root.dev if is_volatile(root.fd) else None
        self.submounts: Submounts | None = None
        if not self.slow:
            self.submounts = Submounts(self.root_path, self._key_of)
        self.opened: Callable[[], None] = lambda: None
        """Called when a directory was opened and is kept."""

    @property
    def root(self) -> HeldFd:
        """The root's fd; ESTALE once closed."""
        if self._root is None:
            raise fail(errno.ESTALE)
        return self._root

    def root_path(self) -> bytes:
        """Return where the root is on the host now."""
        return os.readlink(b"/proc/self/fd/%d" % self.root.fd)

    def _key_of(self, names: Sequence[bytes]) -> Key | None:
        try:
            found = os.fstat(self.descend(self.root, names).fd if names else self.root.fd)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def read_link(self, names: Sequence[bytes], name: bytes) -> bytes | None:
        """Return a symlink's target, None if it is none; for judging links. In any thread."""
        try:
            held = self.descend(self.root, names) if names else self.root
            return os.readlink(name, dir_fd=held.fd)
        except OSError:
            return None

    def durable(self, node: HostNode) -> bool:
        """Say whether syncing the file can make anything durable."""
        return node.dev != self._volatile_dev

    # -- routes ---------------------------------------------------------------------------

    def directory(self, node: HostNode, name: bytes | None = None) -> Route:
        """Plan the way to a directory, in which `name` is about to be used.

        EINVAL for a name that is not one component, ENOTDIR, ESTALE, ENOENT for what is hidden.
        """
        if node.kind != DIRECTORY:
            raise fail(errno.ENOTDIR)
        slow = node.slow
        if name is not None:
            check_name(name)
            if self.submounts is not None and self.submounts.refresh():
                place = (node.dev, node.ino, name)
                if place in self.submounts.hidden:
                    raise fail(errno.ENOENT, name)
                slow = slow or place in self.submounts.slow
        base = self.root if node.number == ROOT_NUMBER else self.fds.get(node.number)
        if base is not None:
            return Route(self.descend, node, base, (), slow)
        names: list[bytes] = []
        current = node
        while base is None:
            if current.number == ROOT_NUMBER:
                base = self.root
            else:
                base = self.fds.get(current.number)
                if base is None and current.parent is None and current.fds:
                    base = current.fds[0]  # removed, and kept
                if base is None:
                    if current.parent is None or len(names) > 8192:
                        raise fail(errno.ESTALE)
                    names.append(current.name)
                    current = current.parent
        names.reverse()
        return Route(self.descend, node, base, names, slow)

    def enter(self, route: Route, node: HostNode, name: bytes) -> HeldFd:
        """Open the directory that was found as `name` in another, and keep it for what comes next.

        ESTALE if it is not there any more. Blocks.
        """
        route.fd()
        assert route.held is not None
        held = reach(self.descend, route.held, (name,), node.key)
        self.entered(node, held)
        return held

    def entered(self, node: HostNode, held: HeldFd) -> None:
        """Keep a directory that was opened for what comes next."""
        self.fds.put(node.number, held)
        self.opened()

    def keep(self, route: Route) -> None:
        """Remember the directory that was walked to."""
        held = route.held
        if held is not route.base and held is not None:
            self.fds.put(route.node.number, held)
            self.opened()

    # -- calls ----------------------------------------------------------------------------

    async def run(self, slow: bool, call: Callable[[], T], *, change: bool = False) -> T:
        """Make a call, where it may be made; without fds left, give some back and try again."""
        where = self.threads.change if change else self.threads.look
        try:
            return await where(call) if slow else call()
        except OSError as error:
            if error.errno not in OUT_OF_FDS or not len(self.fds):
                raise
        self.fds.clear()
        return await where(call) if slow else call()

    def at_hand(self, node: HostNode) -> HeldFd | None:
        """Return an fd that leads to the file, if one is open and calls on it do not block."""
        if node.slow:
            return None
        if node.fds:
            return _best(node.fds)
        if node.kind != DIRECTORY:
            return None
        return self.root if node.number == ROOT_NUMBER else self.fds.get(node.number)

    async def on_file(
        self, node: HostNode, call: Callable[[HeldFd], T], *, change: bool = False
    ) -> T:
        """Make a call on an fd that leads to the file, whatever its type. ESTALE.

        An open handle's fd is taken first: it needs no name. Otherwise each known place is
        tried, and what is found there must be the very file.
        """
        held = self.at_hand(node)
        if held is not None:
            return call(held)
        if node.fds:
            held = _best(node.fds)
            return await self.run(node.slow, lambda: call(held), change=change)
        if node.kind == DIRECTORY:
            route = self.directory(node)

            def on_directory() -> T:
                route.fd()
                assert route.held is not None
                return call(route.held)

            result = await self.run(route.slow, on_directory, change=change)
            self.keep(route)
            return result
        return await self.at_place(
            node,
            lambda dirfd, name: call(hold_at(dirfd, name, node.identity)),
            change=change,
        )

    async def at_place(
        self, node: HostNode, call: Callable[[int, bytes], T], *, change: bool = False
    ) -> T:
        """Make a call with a directory's fd and the file's name there; ESTALE at none of them."""
        for parent, name in places_of(node):
            try:
                route = self.directory(parent, name)
                slow = route.slow or node.slow
                if route.held is not None and not slow:
                    try:
                        return call(route.held.fd, name)
                    except OSError as error:
                        if error.errno not in OUT_OF_FDS:
                            raise  # `run` gives some back, and tries again
                return await self._there(route, slow, name, call, change)
            except OSError as error:
                if error.errno not in (errno.ESTALE, errno.ENOENT):
                    raise
        raise fail(errno.ESTALE)

    async def _there(
        self, route: Route, slow: bool, name: bytes, call: Callable[[int, bytes], T], change: bool
    ) -> T:
        result = await self.run(slow, lambda: call(route.fd(), name), change=change)
        self.keep(route)
        return result

    def drop_below(self, top: HostNode) -> None:
        """Let the fds of a directory and of all below it go: it was moved or removed."""
        self.fds.drop_if(lambda number: self.table.is_below(number, top))

    def close(self) -> None:
        """Let everything go."""
        self.fds.clear()
        self._root = None
        if self.submounts is not None:
            self.submounts.close()
            self.submounts = None


def _best(fds: Sequence[HeldFd]) -> HeldFd:
    """Return the fd with which most can be done."""
    if len(fds) == 1:
        return fds[0]
    return next((each for each in fds if each.writable), fds[0])


def places_of(node: HostNode) -> list[tuple[HostNode, bytes]]:
    """Return where the file was last seen, the latest first."""
    places = [] if node.parent is None else [(node.parent, node.name)]
    if node.more:
        places.extend((parent, name) for (_, name), parent in node.more.items())
    return places
