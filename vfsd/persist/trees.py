"""All trees that a configuration names: those that are kept over restarts, and all others.

What it is *not*: attaching them (vfsd/daemon.py).

Concurrency: everything runs in the daemon's event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from vfsd import assembly
from vfsd.config import Persist
from vfsd.contract import Provider
from vfsd.persist.keeping import Close, Kept, open_kept
from vfsd.snapshots.lineage import Lineage
from vfsd.snapshots.storing import Storing


class Trees:
    """Opens trees; those that are kept are stored while they are in use, and at their end."""

    def __init__(self, close: Close) -> None:
        """`close` closes a provider that nothing uses any more, and does not raise."""
        self.lineage = Lineage()
        self.storing = Storing(self.lineage, close)
        self._discard = close
        self._nursery: trio.Nursery | None = None
        self._kept: dict[Provider, tuple[Kept, trio.CancelScope]] = {}
        self.keeping: Callable[[], None] = _nothing
        """Is called when there is a tree to be stored at the end."""

    async def open(
        self,
        source: str,
        options: Mapping[str, str],
        persist: Persist | None = None,
        guard: assembly.Guard | None = None,
    ) -> Provider:
        """Open a source. Errors as `assembly.open_source` and `open_kept`."""
        if persist is None:
            opened = await assembly.open_source(source, options, guard)
            if opened.ground is not None:
                self.lineage.stands_on(opened.provider, opened.ground)
            return opened.provider
        kept = await open_kept(
            persist,
            source,
            options,
            guard,
            lineage=self.lineage,
            storing=self.storing,
            close=self._discard,
        )
        self._kept[kept.provider] = (kept, trio.CancelScope())
        self.keeping()
        if self._nursery is not None:
            self._nursery.start_soon(self._run, kept.provider)
        return kept.provider

    def attend(self, nursery: trio.Nursery) -> None:
        """From now on store what changes, in tasks of `nursery`."""
        self._nursery = nursery
        if self._kept:
            self.keeping()
        for provider in self._kept:
            nursery.start_soon(self._run, provider)

    async def _run(self, provider: Provider) -> None:
        if provider in self._kept:
            kept, scope = self._kept[provider]
            with scope:
                await kept.run()

    async def store_all(self) -> None:
        """Store what is kept, for the last time, and give the names back; nothing stops this."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for kept, scope in self._kept.values():
                    scope.cancel()
                    nursery.start_soon(kept.close)
            self._kept.clear()

    async def close(self, provider: Provider) -> None:
        """Close a provider; one that is kept is stored first, however long that takes."""
        if provider in self._kept:
            kept, scope = self._kept.pop(provider)
            scope.cancel()
            await kept.close()
        await self._discard(provider)


def _nothing() -> None:
    pass
