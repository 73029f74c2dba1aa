"""Virtual fds: one table of open files for every door.

A virtual fd has bit 30 set and the sign bit clear, so it is a positive C int that no kernel
hands out (real fds stop at `nr_open`, 2**20 by default) and that survives any protocol which
carries an int. Numbers are handed out in order and used again only after all 2**30 went by,
never while open.

Concurrency: changed only from the event loop, never across an await.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING, NewType

from vfsd.errors import fail

if TYPE_CHECKING:
    from vfsd.provider import Handle, Node
    from vfsd.tree import Attachment

Fh = NewType("Fh", int)

FIRST_FH = 0x4000_0000
LAST_FH = 0x7FFF_FFFF


@dataclass(slots=True, eq=False)
class OpenFile:
    """An open file or, with `names`, an open directory; what a virtual fd stands for."""

    fh: Fh
    attachment: Attachment
    node: Node
    handle: Handle | None = None
    names: list[bytes] | None = None
    """A directory's listing as of the last read from its start; None before that."""
    base: int = 0
    """The position before its first entry; see vfsd/fuse/directories.py."""
    fitting: int = 24
    """How many of its entries fitted into the last reply; 24 fill the kernel's usual page."""
    given_bytes: int = 0
    """What the kernel was given of the data along with the opening."""
    past_cache: bool = False
    """What is written goes past the kernel's cache of the data."""


class HandleTable:
    """Hands out virtual fds; `limit` of them at a time (ENFILE past it)."""

    def __init__(self, limit: int = 1 << 20) -> None:
        self._limit = limit
        self._next = FIRST_FH
        self.open_files: dict[int, OpenFile] = {}
        """By number; doors index it directly, it is on the hot path."""

    def add(self, attachment: Attachment, node: Node, handle: Handle | None = None) -> OpenFile:
        """Open a virtual fd for `handle` (None: a directory) and count its attachment as used."""
        open_files = self.open_files
        if len(open_files) >= self._limit:
            raise fail(errno.ENFILE)
        number = self._next
        while number in open_files:
            number = number + 1 if number < LAST_FH else FIRST_FH
        self._next = number + 1 if number < LAST_FH else FIRST_FH
        open_file = OpenFile(Fh(number), attachment, node, handle)
        open_files[number] = open_file
        attachment.open_count += 1
        return open_file

    def get(self, fh: int) -> OpenFile:
        """Return the open file; EBADF if there is none."""
        try:
            return self.open_files[fh]
        except KeyError:
            raise fail(errno.EBADF) from None

    def remove(self, fh: int) -> OpenFile:
        """Take the open file out of the table; the caller releases its handle. EBADF."""
        try:
            open_file = self.open_files.pop(fh)
        except KeyError:
            raise fail(errno.EBADF) from None
        open_file.attachment.let_go()
        return open_file

    def statistics(self) -> dict[str, int]:
        """Return how many virtual fds are open and how many there may be."""
        return {"open_handles": len(self.open_files), "limit_handles": self._limit}
