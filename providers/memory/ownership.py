"""Who may change a shared structure in place: the rule behind cheap snapshots and forks.

Versions of a tree share pages, records, names and chunks. Each part carries the `Owner` that
made it. A version holds one owner at a time and changes a part in place only if the part's
owner *is* its own; any other part it copies first, and the copy is its own from then on. To
take a snapshot, both sides get a new owner: from that moment nobody owns what they share, in
O(1), and the cost of copying falls on what is changed later, once per part.

What frees a part is the reference count: nothing here refers back.

Concurrency: changed between awaits only, as everything in this provider.
"""

from __future__ import annotations


class Counters:
    """How many shared parts one version had to copy since it began."""

    __slots__ = ("copied_chunks", "copied_names", "copied_pages", "copied_records")

    def __init__(self) -> None:
        self.copied_chunks = 0
        self.copied_names = 0
        self.copied_pages = 0
        self.copied_records = 0


class Owner:
    """The mark of one version between two snapshots of it; compared by identity."""

    __slots__ = ("counters",)

    def __init__(self, counters: Counters) -> None:
        self.counters = counters

    def successor(self) -> Owner:
        """Return the next owner of the same version: what it owned so far becomes shared."""
        return Owner(self.counters)
