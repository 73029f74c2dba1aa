"""Symlinks as the provider shows them: the rules of links.py, applied to what the host has.

A link that leads out is seen by lookup but cannot be read (`deny`), or is not seen at all
(`hide`), or shown as stored like any other (`keep`). Its size is that of the target that is
shown, as POSIX has it.

Concurrency: as the provider's methods.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from weakref import WeakSet

from providers.passthrough import look
from providers.passthrough.access import Access, Route
from providers.passthrough.held import HeldFd
from providers.passthrough.links import LinkRules, below, shown_target
from providers.passthrough.look import found_of
from providers.passthrough.looking import Found
from providers.passthrough.nodes import HostNode
from vfsd.errors import fail
from vfsd.provider import Change, Stat

_views: WeakSet[LinkView] = WeakSet()
"""All of this process, for `links=map=PREFIX`."""


class LinkView:
    """What one provider shows of its symlinks."""

    def __init__(
        self, access: Access, rules: LinkRules, source: str, report: Callable[[Change], None]
    ) -> None:
        """`source` is where the root was found; links may speak of it by that path."""
        self._access = access
        self._rules = rules
        self._report = report
        self._read: WeakSet[HostNode] = WeakSet()
        """Links whose target was told, which doors may keep."""
        self._given = (
            os.fsencode(os.path.realpath(source)),
            os.fsencode(os.path.abspath(source)),
        )
        self.mountpoint: bytes | None = None
        """Absolute links to below it lead into the tree that shows this provider."""
        self.judges = not rules.keep
        """What a link shows depends on its target."""
        _views.add(self)

    def close(self) -> None:
        """Stop standing for a directory that others may map to."""
        _views.discard(self)

    async def shown(self, parent: HostNode, target: bytes, slow: bool) -> bytes:
        """Return what `readlink` is to give for a link in `parent`. EACCES."""
        if not self.judges:
            return target
        mountpoint = self.mountpoint
        if mountpoint is not None and _leads_into(mountpoint, target):
            return target
        names = self._access.table.names_of(parent)
        roots = (self._access.root_path(), *self._given)
        read_link = self._access.read_link

        def judge() -> bytes:
            return shown_target(self._rules, names, target, roots, read_link, self._other_roots)

        return await self._access.run(slow, judge)

    def _other_roots(self) -> list[bytes]:
        return [path for each in list(_views) if each is not self for path in each._given]

    async def readlink(self, node: HostNode) -> bytes:
        """Return what a link shows. ESTALE, EACCES."""
        target = await self._access.on_file(node, lambda held: os.readlink(b"", dir_fd=held.fd))
        if node.parent is None:
            raise fail(errno.ESTALE)
        shown = await self.shown(node.parent, target, node.slow)
        if self.judges:
            self._read.add(node)
        return shown

    def moved(self, directory: HostNode) -> None:
        """A directory stands elsewhere now, and what the links below it show goes by that."""
        if self._rules.hide:
            self._report(Change())
            return
        for node in [
            each for each in self._read if self._access.table.stands_below(each, directory)
        ]:
            self._read.discard(node)
            self._report(Change(node))

    async def stat(self, parent: HostNode, found: Found, slow: bool, *, made: bool = False) -> Stat:
        """Return a link's attributes. ENOENT if it is hidden, unless it was just `made`."""
        assert found.target is not None
        stat = found.stat
        try:
            shown = await self.shown(parent, found.target, slow)
        except PermissionError:
            if self._rules.hide and not made:
                raise fail(errno.ENOENT) from None
            return stat
        return stat if shown == found.target else stat._replace(size=len(shown))

    async def getattr(self, node: HostNode) -> Stat:
        """Return the attributes of a link that is known."""
        judges = self.judges

        def look_at(held: HeldFd) -> Found:
            target = node.target
            if judges and target is None:
                target = os.readlink(b"", dir_fd=held.fd)
            return found_of(os.fstat(held.fd), node.mark, target)

        found = await self._access.on_file(node, look_at)
        if node.parent is None or found.target is None:
            return found.stat
        return await self.stat(node.parent, found, node.slow)

    async def visible_names(self, route: Route) -> list[bytes]:
        """Return the names in a directory without the links that are hidden."""
        names, targets = await self._access.run(route.slow, lambda: look.links_in(route.fd()))
        hidden = set()
        for name, target in targets.items():
            try:
                await self.shown(route.node, target, route.slow)
            except PermissionError:
                hidden.add(name)
        return [name for name in names if name not in hidden]


def _leads_into(mountpoint: bytes, target: bytes) -> bool:
    return target.startswith(b"/") and below(mountpoint, os.path.normpath(target)) is not None
