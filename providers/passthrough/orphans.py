"""Files without a name that a door still keeps: an fd each, and a bound on how many.

Past the bound the one whose name went first is let go, and is ESTALE from then on unless it is
open.

Concurrency: used from the event loop only.
"""

from __future__ import annotations

from collections import OrderedDict

from providers.passthrough.held import HeldFd
from providers.passthrough.nodes import HostNode


class Orphans:
    """Nodes by number, each with the fd that keeps its file."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[int, tuple[HostNode, HeldFd]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, number: int) -> bool:
        return number in self._kept

    def add(self, node: HostNode, held: HeldFd) -> None:
        """Keep the node's file by `held`."""
        if node.number in self._kept:
            return
        node.fds.append(held)
        self._kept[node.number] = node, held
        if len(self._kept) > self._limit:
            self.drop(next(iter(self._kept)))

    def drop(self, number: int) -> None:
        """Let the file go."""
        node, held = self._kept.pop(number)
        node.fds = [each for each in node.fds if each is not held]

    def clear(self) -> None:
        """Let all of them go."""
        while self._kept:
            self.drop(next(iter(self._kept)))
