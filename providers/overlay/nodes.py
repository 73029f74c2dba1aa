"""Which file is which: one node per file while anybody holds it.

A node knows its file in the upper (`upper`), or where it is in the lowers (`below`: for a
directory all that are merged, top first). Copying a file up changes the node, not its number.

`epoch` is the count of seals when the node was last brought up to date: what was `upper` in an
earlier epoch is, since the seal, the topmost of `below` (union.py, `Union.refresh`).

Concurrency: changed between awaits only.
"""

from __future__ import annotations

import stat as stat_module

from providers.overlay.layers import Below
from vfsd.provider import ROOT_NUMBER, Node
from vfsd.weaktable import WeakTable

OTHERS_MAX = 4096
"""Names in a directory that are worth remembering: of larger ones the upper is asked."""


class OverlayNode(Node):
    """A file of the merged tree."""

    __slots__ = (
        *("__weakref__", "below", "copied", "covered", "epoch", "index", "kind", "name", "opens"),
        *("others", "parent", "plain", "removed", "upper"),
    )

    def __init__(self, number: int, kind: int, epoch: int) -> None:
        self.number = number
        self.kind = kind
        """The file type bits of its mode."""
        self.epoch = epoch
        self.upper: Node | None = None
        self.below: tuple[Below, ...] = ()
        self.parent: OverlayNode | None = None
        """Where it was last seen, with `name`; None for the root, or once it left there."""
        self.name = b""
        self.removed = False
        """Its last name is gone."""
        self.opens = 0
        """Handles that the overlay itself holds on it."""
        self.copied = 0
        """Rises when `upper` changes: what handles compare with."""
        self.plain = False
        """A directory that holds no whiteouts, so that its listing needs no sifting."""
        self.covered: set[bytes] | None = None
        """For a directory: names at which whiteouts stand in the upper, of those made meanwhile."""
        self.others: set[bytes] | None = None
        """For a directory that was brought up here: where else something may stand in the upper.

        At all names that are neither here nor `covered` there is nothing. Whoever goes to its place
        in the upper to do something at a name says so first (`upper_directory`).
        """
        self.index: dict[bytes, tuple[int, ...]] | None = None
        """For a directory whose lowers are all sealed: each name, and in which of `below`."""

    @property
    def is_directory(self) -> bool:
        return self.kind == stat_module.S_IFDIR

    def lacks(self, name: bytes) -> bool:
        """Say whether it is known that the upper has nothing at a name, and no whiteout either."""
        others = self.others
        if others is None or name in others:
            return False
        return not self.covered or name not in self.covered

    def brought_up_empty(self) -> None:
        """Note that the directory was just made in the upper."""
        self.covered, self.others = set(), set()

    def touched(self, name: bytes) -> None:
        """Note that something is about to be done at a name in the upper, and may fail half-way."""
        if self.covered:
            self.covered.discard(name)
        if self.others is not None:
            if len(self.others) < OTHERS_MAX:
                self.others.add(name)
            else:
                self.others = None

    def cover(self, name: bytes) -> None:
        """Note that a whiteout stands at a name in the upper by now."""
        if self.covered is None:
            self.covered = set()
        self.covered.add(name)
        if self.others is not None:
            self.others.discard(name)

    def unknown(self) -> None:
        """Know nothing any more of what a directory holds in the upper."""
        self.covered = self.others = None

    def place(self, parent: OverlayNode, name: bytes) -> None:
        """Note where it was seen."""
        self.parent, self.name = parent, name


class NodeTable:
    """All nodes that somebody holds."""

    def __init__(self, root: OverlayNode) -> None:
        self.root = root
        self.by_number: WeakTable[int, OverlayNode] = WeakTable()
        self.by_upper: WeakTable[int, OverlayNode] = WeakTable()
        """Nodes whose number is not the one of their file in the upper, by that one."""
        self.by_lower: WeakTable[tuple[int, int], OverlayNode] = WeakTable()
        """Nodes of lowers that may change, by (tag, number there)."""
        self.by_number[ROOT_NUMBER] = root

    def __len__(self) -> int:
        return len(self.by_number)

    def add(self, node: OverlayNode) -> None:
        """Keep a new node as long as somebody holds it."""
        self.by_number[node.number] = node
        if node.upper is not None and node.upper.number != node.number:
            self.by_upper[node.upper.number] = node

    def of_upper(self, inner: int) -> OverlayNode | None:
        """Return the node of a file in the upper, if somebody holds it."""
        node = self.by_number.get(inner)
        if node is None or node.upper is None or node.upper.number != inner:
            node = self.by_upper.get(inner)
            if node is not None and (node.upper is None or node.upper.number != inner):
                return None
        return node

    def brought_up(self, node: OverlayNode, upper: Node) -> None:
        """Note that the file is in the upper now."""
        node.upper = upper
        node.copied += 1
        if upper.number != node.number:
            self.by_upper[upper.number] = node
