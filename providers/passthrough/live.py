"""Following the host: which directories are watched, and the task that reads what happened.

A directory is watched from before the first look into it, so nothing is missed between the
look and the watch; so is a file with several names, which may change in a directory that
nobody looked into. Where inotify has nothing to offer (storage of other machines or processes,
no instance or no watch left) this says so and stops, doors keep caches short
(`Traits.watch`), and `vfsd status` shows why.

Concurrency: used from the event loop only; `run` is the one task.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from contextlib import suppress

import trio

from providers.passthrough.access import DIRECTORY, Access, Route
from providers.passthrough.beneath import reach_watched
from providers.passthrough.held import FRESH_S, HeldFd
from providers.passthrough.inotify import WATCHED, Inotify
from providers.passthrough.look import hold_at
from providers.passthrough.looking import Looking
from providers.passthrough.nodes import HostNode
from providers.passthrough.reconcile import Reconciler
from vfsd.provider import Change

log = logging.getLogger(__name__)

EVENTS_AT_ONCE = 256
"""Events looked into before other tasks get their turn."""

PAUSE_S = 0.005
"""Rest between two readings, so that a burst of changes is folded rather than chased."""


class Live:
    """The watches of one provider."""

    def __init__(
        self,
        access: Access,
        report: Callable[[Change], None],
        *,
        fine_ctime: bool,
        wanted: bool = True,
        library: Looking | None = None,
    ) -> None:
        """With a `library`, directories are entered by it, and so by openat2."""
        self._access = access
        self._library = library
        self._report = report
        self._inotify: Inotify | None = None
        self.reason = "the backing storage may change without telling"
        self._reconciler = Reconciler(
            access.table,
            report,
            self._directory,
            access.drop_below,
            fine_ctime=fine_ctime,
        )
        self._stirred = trio.Event()
        access.opened = self._stir
        if not wanted:
            self.reason = "not wanted (watch=off)"
        elif not access.slow:
            try:
                self._inotify = Inotify()
            except OSError as error:
                self.reason = f"no inotify instance: {error.strerror}"

    @property
    def watching(self) -> bool:
        """Changes made on the host are reported."""
        return self._inotify is not None

    def attend(self, route: Route) -> None:
        """Watch a directory that is about to be looked into."""
        if self._inotify is not None and route.node.watch is None and not route.slow:
            with suppress(FileNotFoundError):
                self._add(route.node, route.fd())

    def attend_file(self, node: HostNode, route: Route, name: bytes) -> None:
        """Watch a file that has names elsewhere, too: a directory, in itself."""
        if self._inotify is not None and node.watch is None and not route.slow:
            with suppress(OSError):
                if node.kind != DIRECTORY:
                    held = hold_at(route.fd(), name, node.identity)
                elif self._library is None:
                    held = self._access.enter(route, node, name)
                else:
                    self._enter(self._library, node, route, name)
                    return
                self._add(node, held.fd)

    def _enter(self, library: Looking, node: HostNode, route: Route, name: bytes) -> None:
        """Open and watch a directory, and keep it for what comes next, in one trip. ESTALE."""
        inotify = self._inotify
        assert inotify is not None
        route.fd()
        assert route.held is not None
        held, wd = reach_watched(library, route.held, name, node.key, inotify.fd, WATCHED)
        self._access.entered(node, held)
        if wd >= 0:
            inotify.added(node, wd)
        else:
            self._refused(-wd)

    def opened(self, node: HostNode, mtime_ns: int, ctime_ns: int, *, emptied: bool) -> None:
        """Note how a file was found on opening, and whether it changed without an event.

        Writing through a shared map raises none, but moves mtime when a clean page is first
        written to. From then on, until the host closes the file, each opening starts afresh.
        """
        if emptied:
            node.own_ctime_ns = ctime_ns
        elif self.watching and node.data_mtime_ns not in (0, mtime_ns):
            node.mapped = True
            self._report(Change(node, data=False))
        node.data_mtime_ns = mtime_ns

    def _add(self, node: HostNode, fd: int) -> None:
        assert self._inotify is not None
        try:
            self._inotify.add(node, fd)
        except OSError as error:
            if error.errno is None or not self._refused(error.errno):
                raise

    def _refused(self, error: int) -> bool:
        """Give up if nothing more can be watched; say whether that is so."""
        if error in (errno.ENOSPC, errno.ENOMEM):
            self._give_up("the limit of watches (fs.inotify.max_user_watches) is reached")
        elif error in (errno.EACCES, errno.EPERM):
            self._give_up("a directory may be searched but not watched")
        else:
            return False
        return True

    def _give_up(self, reason: str) -> None:
        log.info("changes made on the host are not followed any more: %s", reason)
        self.reason = reason
        self.close()
        self._report(Change())

    def _directory(self, node: HostNode) -> HeldFd:
        route = self._access.directory(node)
        route.fd()
        self._access.keep(route)
        assert route.held is not None
        return route.held

    # -- the task -------------------------------------------------------------------------

    async def run(self) -> None:
        """Read what happened, and let unused directories go, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._follow)

    async def _follow(self) -> None:
        inotify = self._inotify
        while inotify is not None and inotify.fd >= 0:
            try:
                await trio.lowlevel.wait_readable(inotify.fd)
            except trio.ClosedResourceError:
                return
            for count, event in enumerate(inotify.read(), 1):
                self._reconciler.take(event)
                if count % EVENTS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            self._reconciler.finish()
            await trio.sleep(PAUSE_S)

    def _stir(self) -> None:
        self._stirred.set()

    async def _sweep(self) -> None:
        """Close directories nobody uses; nothing wakes up here while none is open."""
        while True:
            await self._stirred.wait()
            self._stirred = trio.Event()
            while len(self._access.fds):
                await trio.sleep(FRESH_S)
                self._access.fds.drop_stale()

    def close(self) -> None:
        """End all watches."""
        inotify, self._inotify = self._inotify, None
        if inotify is not None:
            with suppress(RuntimeError):  # outside of trio nobody can be waiting
                trio.lowlevel.notify_closing(inotify.fd)
            inotify.close()

    def statistics(self) -> dict[str, int | float | str]:
        """Return what is watched, or why nothing is."""
        inotify = self._inotify
        if inotify is None:
            return {"watch": f"off: {self.reason}"}
        return {
            "watch": "inotify",
            "watches": len(inotify),
            "events": inotify.events,
            "overflows": inotify.overflows,
            "reports": self._reconciler.reports,
        }
