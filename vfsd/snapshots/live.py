"""Snapshots that live in the daemon's memory: names for frozen trees.

To freeze a tree is `Provider.snapshot()`: O(1) in its size and atomic, so nobody who uses the
tree waits or notices, and what the snapshot costs from then on is what the tree changes. How
many snapshots came before makes no difference, since each shares with the tree and not with a
chain; removing any of them frees what only it held, at once.

**Parents** say which snapshot a tree went on from. They are told, never needed: removing one
gives its children its own parent.

What it is *not*: the store (store.py), where snapshots outlive the daemon.

Concurrency: changed between awaits only; `create` has none, so a snapshot and its name appear
together.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from vfsd.contract import Provider
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant
from vfsd.snapshots.lineage import Lineage, Mark
from vfsd.snapshots.names import check_name

LIMIT = 10_000
"""Snapshots in one daemon; each costs one to two kilobytes beside what it alone holds."""


@dataclass(frozen=True, eq=False, slots=True)
class LiveSnapshot:
    """A frozen tree and what is told about it."""

    name: str
    provider: Provider
    prefix: bytes
    """Where the tree was attached."""
    created_ns: int
    mark: Mark

    @property
    def parent(self) -> str | None:
        """The snapshot that its tree went on from, if one is there."""
        before = self.mark.before
        return None if before is None else before.name


class LiveSnapshots:
    """The names of one daemon, and the frozen trees behind them."""

    def __init__(self, lineage: Lineage, close: Callable[[Provider], Awaitable[None]]) -> None:
        """`close` closes a provider that nothing uses any more, and does not raise."""
        self._lineage = lineage
        self._close = close
        self._by_name: dict[str, LiveSnapshot] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[LiveSnapshot]:
        """Go through all, sorted by name."""
        return iter(sorted(self._by_name.values(), key=lambda each: each.name))

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def get(self, name: str) -> LiveSnapshot:
        """Return the snapshot. UserError (NOT_FOUND)."""
        found = self._by_name.get(name)
        if found is None:
            raise UserError(
                f"there is no live snapshot {name[:200]!r} in this daemon; "
                + meant(name[:200], self._by_name, "'vfsd snapshot ls' lists what there is"),
                ExitCode.NOT_FOUND,
            )
        return found

    def check_free(self, name: str) -> None:
        """Refuse a name that is taken, or that no snapshot may have. UserError."""
        check_name(name)
        if name in self._by_name:
            raise UserError(
                f"a live snapshot {name!r} exists already; choose another name, or use --replace",
                ExitCode.REFUSED,
            )

    def create(
        self, name: str, tree: Provider, prefix: bytes, *, replace: bool
    ) -> tuple[LiveSnapshot, LiveSnapshot | None]:
        """Freeze `tree` under `name`; return it and what it replaced, which is to be `discard`ed.

        Atomic: on an error nothing has changed. UserError for a name that is wrong or taken and
        for one too many; EOPNOTSUPP for a tree that cannot be frozen.
        """
        if not replace:
            self.check_free(name)
        replaced = self._by_name.get(check_name(name))
        if replaced is None and len(self._by_name) >= LIMIT:
            raise UserError(
                f"this daemon holds {LIMIT} live snapshots, and no more; remove some with"
                " 'vfsd snapshot rm', or leave out --live to store them",
                ExitCode.FULL,
            )
        mark = Mark(name, self._lineage.past(tree).mark)
        made = LiveSnapshot(name, tree.snapshot(), prefix, time.time_ns(), mark)
        if replaced is not None:
            replaced.mark.is_removed = True
        self._by_name[name] = made
        self._lineage.goes_on_from(tree, mark)
        self._lineage.inherit(tree, made.provider)
        return made, replaced

    async def discard(self, snapshot: LiveSnapshot) -> None:
        """Free what only `snapshot` held; it must be without its name already."""
        await self._close(snapshot.provider)

    async def remove(self, name: str) -> None:
        """Forget `name`, and free what only it held: forks keep what they need. UserError."""
        found = self.get(name)
        del self._by_name[name]
        found.mark.is_removed = True
        await self.discard(found)

    def view(self, name: str) -> Provider:
        """Return a read-only tree of the caller's own that shows the snapshot. UserError."""
        return self._descended(self.get(name).provider.snapshot(), name)

    def fork(self, name: str) -> Provider:
        """Return a writable tree of the caller's own that begins as the snapshot. UserError."""
        return self._descended(self.get(name).provider.fork(), name)

    async def close_all(self) -> None:
        """Let go of every snapshot, at the daemon's end."""
        for each in list(self._by_name.values()):
            each.mark.is_removed = True
            await self.discard(each)
        self._by_name.clear()

    def _descended(self, child: Provider, name: str) -> Provider:
        self._lineage.inherit(self.get(name).provider, child)
        return child
