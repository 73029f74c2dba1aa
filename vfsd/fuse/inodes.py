"""The inodes the kernel knows: the only place where kernel inode numbers are minted.

A number is the attachment's index in the upper 16 bits and the provider's node number in the
lower 48, so it is the same for the life of the attachment without being stored, and `stat`,
`fstat` and `readdir` agree. The mount's root is index 0, number 1: FUSE_ROOT_ID.

Each reply that gives the kernel an entry counts one lookup; the kernel gives them back in
`forget`. The table holds exactly the inodes whose count is not zero (and the root).

Concurrency: changed only from the event loop, never across an await.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator

from vfsd.contract import NUMBER_LIMIT, Node
from vfsd.errors import fail
from vfsd.tree import Attachment

NUMBER_BITS = NUMBER_LIMIT.bit_length() - 1


class Inode:
    """What the kernel's number stands for, and how many lookups the kernel holds on it."""

    __slots__ = (
        *("attachment", "ino", "listed", "lookups", "node", "opened", "parent_ino", "readers"),
    )

    def __init__(self, ino: int, attachment: Attachment, node: Node, parent_ino: int) -> None:
        self.ino = ino
        self.attachment = attachment
        self.node = node
        self.parent_ino = parent_ino
        """The directory it was last found in: what ``..`` shows in a listing."""
        self.lookups = 0
        self.listed = False
        """Listings of it are kept; whoever gives it up tells `InodeTable.unlist`."""
        self.opened = False
        """It was opened since the kernel knows it."""
        self.readers = 0
        """Open files through which the kernel may read its data into its cache."""


def mint(attachment: Attachment, node: Node) -> int:
    """Return the kernel's inode number for a provider's node."""
    return attachment.index << NUMBER_BITS | node.number


class InodeTable:
    """All inodes the kernel may name in a request."""

    def __init__(self, root: Attachment) -> None:
        inode = Inode(mint(root, root.provider.root), root, root.provider.root, 1)
        self.by_ino: dict[int, Inode] = {inode.ino: inode}
        self.root = inode
        self.unlist: Callable[[Inode], None] = lambda inode: None

    def get(self, ino: int) -> Inode:
        """Return the inode; ESTALE if the kernel names one that it gave back."""
        try:
            return self.by_ino[ino]
        except KeyError:
            raise fail(errno.ESTALE) from None

    def remember(self, attachment: Attachment, node: Node, parent_ino: int) -> Inode:
        """Count one lookup of `node`, which the reply in hand gives to the kernel."""
        ino = attachment.index << NUMBER_BITS | node.number
        inode = self.by_ino.get(ino)
        if inode is None:
            inode = self.by_ino[ino] = Inode(ino, attachment, node, parent_ino)
        else:
            inode.parent_ino = parent_ino
        inode.lookups += 1
        return inode

    def forget(self, counts: Iterable[tuple[int, int]]) -> None:
        """Give back lookups, as (inode number, count); inodes left with none are dropped."""
        by_ino = self.by_ino
        for ino, count in counts:
            inode = by_ino.get(ino)
            if inode is None:
                continue
            inode.lookups -= count
            if inode.lookups <= 0 and inode is not self.root:
                del by_ino[ino]
                if inode.listed:
                    self.unlist(inode)
                inode.attachment.provider.forget(inode.node)

    def known(self, attachment: Attachment, node: Node) -> Inode | None:
        """Return the inode if the kernel knows it."""
        return self.by_ino.get(mint(attachment, node))

    def of(self, attachment: Attachment) -> Iterator[Inode]:
        """Yield a copy of the list of all inodes of one attachment."""
        return iter([each for each in self.by_ino.values() if each.attachment is attachment])

    def statistics(self) -> dict[str, int]:
        """Return how many inodes the kernel holds, and by how many lookups."""
        return {
            "inodes": len(self.by_ino),
            "lookups": sum(inode.lookups for inode in self.by_ino.values()),
        }
