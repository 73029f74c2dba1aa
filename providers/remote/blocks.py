"""Blocks of files in memory: those used longest ago go first, and none is fetched twice at once.

A block is known by file, version and position, so what a file held before it changed is never
taken for what it holds now; it ages out.

Concurrency: changed between awaits only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from providers.remote.flights import Flight

Key = tuple[bytes, Hashable, int]
"""Path, version, and the block's position in the file, counted in blocks."""


class Blocks:
    """The blocks of one provider, at most `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.hits = 0
        self.misses = 0
        self.fetched = 0
        self._blocks: OrderedDict[Key, bytes] = OrderedDict()
        self.coming: dict[Key, Flight[bytes]] = {}
        """What is being fetched."""

    def get(self, key: Key) -> bytes | None:
        """Return a block that is here."""
        found = self._blocks.get(key)
        if found is not None:
            self._blocks.move_to_end(key)
        return found

    def __contains__(self, key: Key) -> bool:
        return key in self._blocks or key in self.coming

    def put(self, key: Key, data: bytes) -> None:
        """Keep a block that arrived, in the place of others, and give it to who waits for it."""
        self.fetched += len(data)
        old = self._blocks.pop(key, b"")
        self._blocks[key] = data
        self.held += len(data) - len(old)
        while self.held > self.limit:
            _, gone = self._blocks.popitem(last=False)
            self.held -= len(gone)
        flight = self.coming.pop(key, None)
        if flight is not None:
            flight.land(data)

    def clear(self) -> None:
        """Let all go."""
        self._blocks.clear()
        self.held = 0
