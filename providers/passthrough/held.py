"""Open fds with owners, and a bounded set of them for directories.

A `HeldFd` is closed when nobody refers to it any more, so that a thread which still works on
one can never meet a number that was given to another file meanwhile.

`DirectoryFds` keeps the directories used last open (O_PATH), at most `limit` of them and each
for at most `FRESH_S`: a directory that the host moves out of the root is walked to again, and
not found, after that time at the latest.

Concurrency: `DirectoryFds` is changed from the event loop only; a `HeldFd` may be let go in
any thread.
"""

from __future__ import annotations

import os
import resource
import time
from collections import OrderedDict
from collections.abc import Callable

FRESH_S = 1.0
"""How long a directory is used by its fd before it is walked to again."""

LIMIT_SHARE = 8
"""A provider keeps this part of RLIMIT_NOFILE as directory fds, and as much for removed files."""

LIMIT_MAX = 1024


def fd_limit() -> int:
    """Return how many directories one provider keeps open, by the limit of this process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return LIMIT_MAX
    return max(4, min(LIMIT_MAX, soft // LIMIT_SHARE))


class HeldFd:
    """An fd that closes with its last reference."""

    __slots__ = ("__weakref__", "content", "fd", "opened_s", "writable")

    def __init__(self, fd: int, *, content: bool = False, writable: bool = False) -> None:
        self.fd = fd
        self.content = content
        """It is not of O_PATH: calls that take an fd take this one."""
        self.writable = writable
        self.opened_s = 0.0 if content else time.monotonic()

    def __del__(self) -> None:
        os.close(self.fd)


class DirectoryFds:
    """The directories used last, by node number."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: OrderedDict[int, HeldFd] = OrderedDict()
        self.opened = 0

    def get(self, number: int) -> HeldFd | None:
        """Return the directory's fd if it is open and fresh."""
        held = self._held.get(number)
        if held is None:
            return None
        if time.monotonic() - held.opened_s > FRESH_S:
            del self._held[number]
            return None
        self._held.move_to_end(number)
        return held

    def put(self, number: int, held: HeldFd) -> None:
        """Keep the fd, and let the one used longest ago go if there are too many."""
        self._held[number] = held
        self._held.move_to_end(number)
        self.opened += 1
        if len(self._held) > self.limit:
            self._held.popitem(last=False)

    def drop(self, number: int) -> None:
        """Let the fd of one directory go."""
        self._held.pop(number, None)

    def drop_if(self, unwanted: Callable[[int], bool]) -> None:
        """Let the fds of all directories go for whose number `unwanted` says so."""
        for number in [each for each in self._held if unwanted(each)]:
            del self._held[number]

    def drop_stale(self) -> None:
        """Let go those that were opened too long ago to be used again."""
        oldest = time.monotonic() - FRESH_S
        for number in [each for each, held in self._held.items() if held.opened_s < oldest]:
            del self._held[number]

    def clear(self) -> None:
        """Let all of them go."""
        self._held.clear()

    def __len__(self) -> int:
        return len(self._held)
