"""What one request works with: the tree, who asks, and the changes it told.

Concurrency: a `Work` belongs to one request's task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from vfsd.attributes import Caller, Stat
from vfsd.contract import Change, Node
from vfsd.control.host import Host
from vfsd.control.listings import Listings
from vfsd.control.openfiles import OpenFiles
from vfsd.tree import Attachment, Place, Tree

CHECKPOINT_EVERY = 32
"""Files that a batch touches before other tasks get a turn: providers need not suspend."""


class Edits:
    """Tells the tree what this door changed, and waits once until all doors show it."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._told: set[Attachment] = set()

    def entry(self, parent: Place, name: bytes) -> None:
        """The entry `name` was made, removed or replaced: its directory changed as well."""
        self._tell(parent, Change(parent.node, name))
        self._tell(parent, Change(parent.node, data=False))

    def attributes(self, place: Place) -> None:
        """The attributes of a file changed, not its data."""
        self._tell(place, Change(place.node, data=False))

    def data(self, place: Place) -> None:
        """The data of a file changed, and its attributes."""
        self._tell(place, Change(place.node))

    def _tell(self, place: Place, change: Change) -> None:
        self._told.add(place.attachment)
        self._tree.changed(place.attachment, change)

    async def settle(self) -> None:
        """Return when what was told shows through every door."""
        if self._told:
            told, self._told = self._told, set()
            await self._tree.settled(*told)


@dataclass(slots=True)
class Work:
    """One request's surroundings."""

    host: Host
    caller: Caller
    files: OpenFiles
    listings: Listings
    send_part: Callable[[object], Awaitable[None]]
    """Send one part of the answer; waits for a slow reader."""
    tree: Tree = field(init=False)
    edits: Edits = field(init=False)

    def __post_init__(self) -> None:
        self.tree = self.host.tree
        self.edits = Edits(self.tree)


def record(place: Place, node: Node, stat: Stat) -> list[int]:
    """Return a file's record as it crosses the wire: attachment, node number, attributes."""
    return [place.attachment.index, node.number, *stat]
