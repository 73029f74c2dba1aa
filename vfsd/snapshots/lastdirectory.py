"""The directory that was reached last, kept open for the next file in it.

Files of a tree are mostly read and written one directory after the other, and the walk from the
root is most of what reaching a small file costs. Only for trees in which nobody else moves or
removes directories: a descriptor stays with its directory wherever that goes.

Concurrency: one thread at a time.
"""

from __future__ import annotations

import os


class LastDirectory:
    """See the module. Holds at most one descriptor, until `leave`."""

    __slots__ = ("_fd", "_way")

    def __init__(self) -> None:
        self._way = b""
        self._fd = -1

    def reach(self, way: bytes) -> int | None:
        """Return a descriptor of the directory `way`, the caller's; None if it is another one."""
        return os.dup(self._fd) if self._fd >= 0 and way == self._way else None

    def keep(self, way: bytes, fd: int) -> None:
        """Be at the directory `way` from now on; `fd` stays the caller's."""
        self.leave()
        self._way, self._fd = way, os.dup(fd)

    def leave(self) -> None:
        """Be nowhere; also needed before a directory is removed or replaced."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
