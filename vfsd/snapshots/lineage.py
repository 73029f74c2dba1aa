"""Where a tree of the daemon comes from: what its snapshots and forks inherit.

- The live snapshot that it goes on from, which `vfsd snapshot ls` tells as the parent.
- What it stands on that is not its own: stored layers, a host directory.
- The version of it that was stored last, still frozen, with which a later one is compared.

What it is *not*: a reference to the tree; what is known ends with the tree.

Concurrency: changed between awaits only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple
from weakref import WeakKeyDictionary

from vfsd.contract import Provider


class Mark:
    """A live snapshot's place in the lineage; it may outlive the snapshot, and holds no tree."""

    __slots__ = ("_before", "is_removed", "name")

    def __init__(self, name: str, before: Mark | None) -> None:
        self.name = name
        self.is_removed = False
        self._before = before

    @property
    def before(self) -> Mark | None:
        """The nearest one before it that is still there."""
        before = self._before
        while before is not None and before.is_removed:
            before = before._before
        self._before = before
        return before


class Ground(NamedTuple):
    """What a tree stands on that is not its own: stored layers, a host directory, or both."""

    base: bytes | None
    chain: tuple[str, ...] = ()
    parent: str | None = None
    """The stored snapshot that `chain` is of."""


class Version(NamedTuple):
    """A version of a tree that was stored, and as what."""

    provider: Provider
    name: str
    id: bytes


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of one tree; see the module."""

    mark: Mark | None = None
    ground: Ground | None = None
    stored: Version | None = None


NOTHING = Past()


class Lineage:
    """What is known of each tree of a daemon."""

    def __init__(self) -> None:
        self._pasts: WeakKeyDictionary[Provider, Past] = WeakKeyDictionary()

    def past(self, tree: Provider) -> Past:
        """Return what is known of a tree."""
        return self._pasts.get(tree, NOTHING)

    def inherit(self, tree: Provider, child: Provider) -> None:
        """`child` is a snapshot or a fork of `tree` and has the same past."""
        self._pasts[child] = self.past(tree)

    def goes_on_from(self, tree: Provider, mark: Mark) -> None:
        """A live snapshot was taken of `tree`, or `tree` was made from one."""
        self._pasts[tree] = replace(self.past(tree), mark=mark)

    def stands_on(self, tree: Provider, ground: Ground) -> None:
        """All that `tree` has beside what was written to it is `ground`."""
        self._pasts[tree] = replace(self.past(tree), ground=ground)

    def was_stored(self, tree: Provider, version: Version) -> None:
        """`version` is `tree` as it was a moment ago, and is in the store."""
        self._pasts[tree] = replace(self.past(tree), stored=version)
