"""The parts of one overlay together: upper, lowers, nodes, and what is known about files.

What is done with them stands in merge.py and the modules after it; this one only holds, and
brings nodes up to date after a seal.

Concurrency: changed between awaits; changes of the tree hold `turn`.
"""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Callable
from typing import NamedTuple

import trio

from providers.overlay.layers import Below, Layer, Lowers
from providers.overlay.marks import Flavour
from providers.overlay.nodes import NodeTable, OverlayNode
from providers.overlay.partial import Partial
from providers.overlay.turn import Brief, Turn
from providers.overlay.upper import Upper
from vfsd.errors import fail
from vfsd.provider import ROOT_NUMBER, Node, Provider, Stat


class Hard(NamedTuple):
    """What is known of a lower file with several names, one of which was changed or removed.

    `pending` names still stand in the lowers only. `node` is the copy in the writable tree of
    `epoch`, None while the file was not copied and only lost names.
    """

    pending: int
    node: Node | None
    epoch: int


class Union:
    """See the module."""

    def __init__(
        self,
        upper: Upper | None,
        lowers: Lowers,
        sealed: tuple[Layer, ...],
        flavour: Flavour,
        root_below: tuple[Below, ...],
    ) -> None:
        self.upper = upper
        self.lowers = lowers
        self.family = sealed
        """Layers that were this overlay's upper, in the order in which they were sealed."""
        self.flavour = flavour
        self.epoch = len(sealed)
        root = OverlayNode(ROOT_NUMBER, stat_module.S_IFDIR, self.epoch)
        root.upper = None if upper is None else upper.root
        root.below = root_below
        self.root_below = root_below
        self.nodes = NodeTable(root)
        self.hard: dict[int, Hard] = {}
        self.partial: dict[int, Partial] = {}
        """Large files of which the untouched ranges are still the lower's, by upper number."""
        self.turn = Turn(suspends=upper is not None and upper.provider.traits.may_block)
        self.copying: dict[int, trio.Event] = {}
        """Large files that are being copied up before the turn is taken (ahead.py), by number."""
        self.kept: Callable[[int], bool] = lambda number: False
        self.copied_up = 0
        self.copied_bytes = 0

    @property
    def root(self) -> OverlayNode:
        return self.nodes.root

    @property
    def writable(self) -> bool:
        return self.upper is not None and self.upper.writable

    def turn_for(self, parent: OverlayNode) -> Turn | Brief:
        """Return the turn, to be entered at once, for a change of one name in a directory."""
        alone = parent.plain and not parent.below and parent.upper is not None
        if alone and parent.epoch == self.epoch and not self.partial:
            return self.turn.brief  # one call on the upper is all that it takes
        return self.turn

    def turn_to_remove(self, parent: OverlayNode, name: bytes) -> Turn | Brief:
        """Return the turn, to be entered at once, for the removal of a file's name."""
        if parent.lacks(name) and parent.epoch == self.epoch and not (self.hard or self.partial):
            return self.turn.brief  # all that is done, once it is found, is to put a whiteout
        return self.turn_for(parent)

    def need_upper(self) -> Upper:
        """Return the upper to change. EROFS."""
        if self.upper is None or not self.upper.writable:
            raise fail(errno.EROFS)
        return self.upper

    @property
    def upper_provider(self) -> Provider:
        assert self.upper is not None
        return self.upper.provider

    def refresh(self, node: OverlayNode) -> None:
        """Make what was the upper before a seal the topmost lower of the node."""
        if node.epoch == self.epoch:
            return
        if node.upper is not None and not node.removed:
            layer = self.family[node.epoch]
            node.below = (Below(layer, node.upper), *node.below)
            node.upper = None
            node.index = None
            node.unknown()
            node.copied += 1
        node.epoch = self.epoch

    def brought_up(self, node: OverlayNode, copy: Node) -> None:
        """Note that the file was copied up, and where it is from now on."""
        upper = self.need_upper()
        self.copied_up += 1
        if upper.seals:
            upper.copies[copy.number] = node.number
        hard = self.hard.get(node.number)
        if hard is not None and (hard.node is None or hard.epoch != self.epoch):
            del self.hard[node.number]  # it was the last name: a copy with more is in the index
        seen = self.nodes.of_upper(copy.number) is not None  # by who looked before this was noted
        self.nodes.brought_up(node, copy)
        if not node.is_directory:
            node.below = ()
        elif not seen:
            node.brought_up_empty()

    def reading(self, node: OverlayNode) -> tuple[Provider, Node]:
        """Return where the file's attributes and data are now. ESTALE."""
        self.refresh(node)
        if node.upper is not None:
            return self.upper_provider, node.upper
        if not node.below:
            raise fail(errno.ESTALE)
        return node.below[0].layer.provider, node.below[0].node

    def check_there(self, node: OverlayNode) -> None:
        """Raise ESTALE for a file without a name that is neither open nor kept."""
        # For what is in the upper, the upper's own provider says so.
        if node.upper is None and not node.opens and not self.kept(node.number):
            raise fail(errno.ESTALE)

    def drop_partial(self, node: OverlayNode) -> None:
        """Forget what a removed file lacks, once nobody can read it any more."""
        wanted = node.opens or not node.removed or self.kept(node.number)
        if node.upper is not None and not wanted:
            self.partial.pop(node.upper.number, None)

    def shown(self, node: OverlayNode, stat: Stat) -> Stat:
        """Return the attributes as users see them: with the links there are in the merged tree.

        A directory with lowers has one link before and after it is brought up: in a merged one,
        as in the kernel, subdirectories are not counted.
        """
        nlink = stat.nlink
        if node.removed:
            nlink = 0
        elif node.kind == stat_module.S_IFDIR:
            if node.below:
                nlink = 1
        elif self.hard and (hard := self.hard.get(node.number)) is not None:
            if hard.node is None:
                nlink = hard.pending
            elif node.upper is None or node.upper.number == hard.node.number:
                nlink += hard.pending - 1  # the index has one, unless it was copied again since
        return stat if nlink == stat.nlink else stat._replace(nlink=nlink)
