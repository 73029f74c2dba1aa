"""Calls on an archive from the event loop: what would wait for a disk waits in a thread.

A call that finds something uncached raises `NotCached`; a thread then reads it into the page
cache, and the call is made again. So all state is the event loop's, and nothing is half done.

Damage is EIO for whoever asked, with a log line that tells the offset; the rest of the archive
stays readable. A file that was changed in place is ESTALE from then on, told once.

Concurrency: state changes between awaits only; at most `THREADS_MAX` threads wait for the disk.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from typing import TypeVar

import trio

from vfsd.archive.damage import Changed, Damage
from vfsd.archive.source import NotCached
from vfsd.archive.tree import ArchiveTree
from vfsd.errors import fail

log = logging.getLogger(__name__)

T = TypeVar("T")

THREADS_MAX = 8
TRIES_MAX = 64
"""How often what a thread just read may be gone from the page cache again."""

EXPECTED = (NotCached, Damage, Changed, OSError)
"""What calls on an archive raise; pass it to `Access.again`."""


class Access:
    """The calls of one provider on one archive."""

    def __init__(self, tree: ArchiveTree, source: str) -> None:
        self.tree = tree
        self._source = source
        self._limiter = trio.CapacityLimiter(THREADS_MAX)
        self._told_changed = False
        self._told_replaced = False
        self.waits = 0
        self.damaged = 0

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns. EIO, ESTALE."""
        try:
            return call()
        except EXPECTED as error:
            return await self.again(error, call)

    async def again(self, error: Exception, call: Callable[[], T]) -> T:
        """Go on after `call` raised `error`: wait and call again, or raise the errno."""
        for _ in range(TRIES_MAX):
            if not isinstance(error, NotCached):
                break
            self.waits += 1
            await trio.to_thread.run_sync(
                self.tree.warm,
                error.offset,
                error.size,
                abandon_on_cancel=True,
                limiter=self._limiter,
            )
            try:
                return call()
            except EXPECTED as next_error:
                error = next_error
        raise self._errno(error)

    def note_replaced(self) -> None:
        """Say once that another file has taken the archive's name."""
        if self.tree.unlinked and not self._told_replaced:
            self._told_replaced = True
            log.info(
                "%s was replaced or removed; what is attached stays the file it was, until it is "
                "detached",
                self._source,
            )

    def _errno(self, error: Exception) -> OSError:
        if isinstance(error, Damage):
            self.damaged += 1
            log.error("%s: %s", self._source, error)
            return fail(errno.EIO)
        if isinstance(error, Changed):
            if not self._told_changed:
                self._told_changed = True
                log.error(
                    "%s was changed in place while attached; nothing more is read from it: "
                    "detach it and attach it again",
                    self._source,
                )
            return fail(errno.ESTALE)
        if isinstance(error, OSError):
            log.error("%s: %s", self._source, error)
        return fail(errno.EIO)
