"""What every method of the provider works with: the way to the host, its nodes, and what to note.

A method plans in memory, makes its calls on the host through `Access`, and notes what they
found. Whatever is resolved is one name in a directory that beneath.py opened, and no call
follows a last symlink, so no method can be led out of the root.

What this is *not*: the methods themselves (names.py, files.py).

Concurrency: on local storage all but fsync and long transfers is done in the event loop, so a
method is atomic by not suspending. On storage that may block, calls run in threads of the
provider's own, and each is one call of the host's that is atomic there.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module

from providers.passthrough import changing, looking
from providers.passthrough.access import Access, Route
from providers.passthrough.backing import has_fine_ctime
from providers.passthrough.birth import Owner
from providers.passthrough.held import HeldFd
from providers.passthrough.linkview import LinkView
from providers.passthrough.live import Live
from providers.passthrough.look import KnownLink
from providers.passthrough.looking import Found
from providers.passthrough.nodes import HostNode
from providers.passthrough.options import Options
from providers.passthrough.orphans import Orphans
from providers.passthrough.syscalls import RENAME_EXCHANGE
from vfsd.provider import Caller, Entry, Node, Provider, Stat


class Host(Provider):
    """The state of one provider, and how it changes."""

    def __init__(self, source: str, root: HeldFd, options: Options) -> None:
        """Serve the directory open as `root`, which `source` led to; may block."""
        super().__init__()
        self.source = source
        self._options = options
        self._guard = options.chosen_guard()
        self._library = looking.library if options.native else None
        self._access = Access(root, self._guard, options.threads)
        self._table = self._access.table
        self._links = LinkView(self._access, options.links, source, self.report)
        self._table.moved = self._links.moved
        self._orphans = Orphans(self._access.fds.limit)
        fine_times = has_fine_ctime(root.fd)
        self.fine_times_dev = self._table.root.dev if fine_times else None
        """The device on which each change that is seen gets an mtime of its own."""
        self._live = Live(
            self._access,
            self.report,
            fine_ctime=fine_times,
            wanted=options.watch,
            library=self._library if self._guard == "openat2" else None,
        )
        self._xattrs = _has_xattrs(root.fd)
        self._owned = os.geteuid() == 0
        self.threads = self._access.threads

    @property
    def root(self) -> HostNode:
        return self._table.root

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

    def fallible(self, caller: Caller) -> int | None:
        """Return the group by which setuid and setgid bits fall; None if the host sees to it."""
        return caller.gid if self._owned and caller.uid else None

    def _known_link(self, parent: HostNode, name: bytes) -> KnownLink | None:
        """Return what is known of the symlink that was last seen there."""
        node = self._table.at(parent, name)
        if node is None or node.target is None:
            return None
        return KnownLink(node.identity, node.target)

    async def _entry(self, route: Route, name: bytes, found: Found, *, made: bool = False) -> Entry:
        """Note what was found, and say it in the contract's words.

        ENOENT if it is hidden, unless it was just made.
        """
        stat = found.stat
        if found.target is not None:
            stat = await self._links.stat(route.node, found, route.slow, made=made)
        return self._noted(route, name, found, stat)

    def _noted(self, route: Route, name: bytes, found: Found, stat: Stat) -> Entry:
        """Note what was found and is shown."""
        node = self._table.found(route.node, name, found)
        node.slow = route.slow
        node.target = found.target
        if node.nlink > 1:
            self._live.attend_file(node, route, name)
        return tuple.__new__(Entry, (node, stat))  # one for each name in a listing

    @property
    def watching(self) -> bool:
        """Changes made on the host are followed."""
        return self._live.watching

    def durable(self, node: HostNode) -> bool:
        """Say whether syncing the file can make anything durable."""
        return self._access.durable(node)

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

    # -- what happened to names -----------------------------------------------------------

    def _keeps(self, parent: HostNode, name: bytes) -> bool:
        """Say whether a door keeps what is about to lose this name."""
        known = self._table.at(parent, name)
        return known is not None and self.kept(known.number)

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
        if stat_module.S_ISDIR(node.kind):
            self._access.fds.drop(node.number)  # it was empty: nothing is below it
            node.nlink = 0
        else:
            node.nlink -= 1
        if node.nlink < 1:
            node.gone = True
        if not node.placed and held is not None:
            self._orphans.add(node, held)

    def _put(self, node: HostNode, parent: HostNode, name: bytes) -> None:
        self._table.place(node, parent, name)
        if stat_module.S_ISDIR(node.kind):
            self._links.moved(node)

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
            self._put(moved, new_parent, new_name)
        if replaced is None:
            return
        if flags == RENAME_EXCHANGE:
            self._put(replaced, parent, name)
        else:
            self._lost_name(replaced, held)


def _has_xattrs(fd: int) -> bool:
    try:
        os.listxattr(changing.path_of(fd))
    except OSError as error:
        return error.errno != errno.EOPNOTSUPP
    return True
