"""Names and attributes: asked of the driver, kept for a time, answered from what is kept.

A directory's listing answers for its names, also for those that are not there. Where a listing is
dear and a name is cheap (object stores) a name that is looked up alone is asked for alone. HTTP is
asked for the page first, since only that tells a directory from a file, then for the file; a server
without pages serves the names that are asked for.

Kept are `NAMES_MAX` names in listings and as many attributes, those used longest ago going first;
one larger listing is kept until the next.

Concurrency: for trio tasks of one event loop; changed between awaits only.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import trio

from providers.remote.calls import Calls
from providers.remote.facts import DIRECTORY, Facts, facts_of
from providers.remote.flights import Background, Flights
from providers.remote.httpdoor import NoPage, listed
from providers.remote.layout import Layout
from vfsd.errors import fail

NAMES_MAX = 200_000
INLINE_MAX = 500
"""Names that are looked through in one go; more would keep all other requests waiting."""

PAGELESS = frozenset({errno.ENOENT, errno.EACCES, errno.EIO, errno.EISDIR, errno.ENOTDIR})
"""How a server says that it makes no pages of links."""


class _Listing(NamedTuple):
    entries: dict[bytes, Facts]
    names: tuple[bytes, ...]
    until: float


class _Known(NamedTuple):
    facts: Facts | None
    """None: there is no such file."""
    until: float


class Metadata:
    """What is known of the files of one provider."""

    def __init__(self, calls: Calls, layout: Layout, background: Background, ttl_s: float) -> None:
        self._calls = calls
        self._layout = layout
        self._ttl_s = ttl_s
        self._http = calls.driver.is_http
        self._lists_first = self._http or calls.driver.loop is None
        self._listings: OrderedDict[bytes, _Listing] = OrderedDict()
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._listing: Flights[bytes] = Flights(background)
        self._asking: Flights[bytes] = Flights(background)
        self.names_kept = 0

    # -- answers --------------------------------------------------------------------------

    def kept(self, path: bytes) -> Facts | None:
        """Return what is known without asking. ENOENT if it is known not to be there."""
        if not path:
            return DIRECTORY
        now = trio.current_time()
        known = self._known.get(path)
        if known is not None and now < known.until:
            if known.facts is None:
                raise fail(errno.ENOENT, path)
            return known.facts
        parent, _, name = path.rpartition(b"/")
        listing = self._listings.get(parent)
        if listing is None or now >= listing.until:
            return None
        facts = listing.entries.get(name)
        if not self._http:
            if facts is None:
                raise fail(errno.ENOENT, path)
            return facts
        return facts if facts is not None and facts.is_directory else None

    def check_directory(self, path: bytes) -> None:
        """Raise ENOTDIR if `path` is known to be a file, and ENOENT as `kept`."""
        facts = self.kept(path)
        if facts is not None and not facts.is_directory:
            raise fail(errno.ENOTDIR, path)

    async def facts(self, path: bytes) -> Facts:
        """Return the facts of a file. ENOENT, ENOTDIR, and what the driver meets."""
        found = self.kept(path)
        if found is not None:
            return found
        parent = path.rpartition(b"/")[0]
        self.check_directory(parent)
        if self._lists_first:
            await self._listed(parent)
            found = self.kept(path)
            if found is not None:
                return found
        return await self._asking.share(path, lambda: self._ask(path))

    async def names(self, path: bytes) -> tuple[bytes, ...]:
        """Return the names in a directory. ENOENT, ENOTDIR."""
        facts = await self.facts(path)
        if not facts.is_directory:
            raise fail(errno.ENOTDIR, path)
        return (await self._listed(path)).names

    def is_listed(self, path: bytes) -> bool:
        """Say whether a listing that is kept has this name."""
        parent, _, name = path.rpartition(b"/")
        listing = self._listings.get(parent)
        return listing is not None and name in listing.entries

    def drop(self, path: bytes) -> None:
        """Forget what is known of a file, which turned out to be wrong."""
        self._known.pop(path, None)
        if not self._http:
            self._remove(path.rpartition(b"/")[0])

    # -- asking ---------------------------------------------------------------------------

    async def _listed(self, path: bytes) -> _Listing:
        listing = self._listings.get(path)
        if listing is not None and trio.current_time() < listing.until:
            self._listings.move_to_end(path)
            return listing
        return await self._listing.share(path, lambda: self._list(path))

    async def _list(self, path: bytes) -> _Listing:
        place = self._layout.place(path, directory=True)
        if self._http:
            try:
                infos = await self._calls.in_loop(
                    f"listing {place}", lambda: _page(self._calls.driver.fs, place)
                )
            except OSError as error:
                if error.errno not in PAGELESS:
                    raise
                infos = []
        else:
            infos = await self._calls.ask(f"listing {place}", "ls", place, detail=True)
        return await self.learn(path, infos)

    async def learn(self, path: bytes, infos: Sequence[Mapping[str, object]]) -> _Listing:
        """Keep a directory's listing as the driver gave it."""
        if len(infos) > INLINE_MAX:
            children = await trio.to_thread.run_sync(self._layout.children, path, infos)
        else:
            children = self._layout.children(path, infos)
        listing = _Listing(children, tuple(children), trio.current_time() + self._ttl_s)
        self._remove(path)
        self._listings[path] = listing
        self.names_kept += len(children)
        while self.names_kept > NAMES_MAX and len(self._listings) > 1:
            self._remove(next(iter(self._listings)))
        return listing

    async def _ask(self, path: bytes) -> Facts:
        place = self._layout.place(path)
        try:
            info = await self._calls.ask(f"looking at {place}", "info", place)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            self._keep(path, None)
            raise
        facts = facts_of(info)
        if self._http and urlsplit(str(info.get("url", ""))).path.endswith("/"):
            facts = DIRECTORY  # where the server leads whoever asks without a slash
        self._keep(path, facts)
        return facts

    def _keep(self, path: bytes, facts: Facts | None) -> None:
        self._known[path] = _Known(facts, trio.current_time() + self._ttl_s)
        self._known.move_to_end(path)
        if len(self._known) > NAMES_MAX:
            self._known.popitem(last=False)

    def _remove(self, path: bytes) -> None:
        listing = self._listings.pop(path, None)
        if listing is not None:
            self.names_kept -= len(listing.names)


async def _page(fs: object, url: str) -> list[dict[str, object]]:
    try:
        return await listed(fs, url)
    except NoPage:
        return []
