"""A mark beside a daemon's socket: it has something to store before it ends, so wait for it.

The mark is a file that the daemon keeps locked; the lock ends with the daemon, however that ends.

What it is *not*: the storing (vfsd/persist).

Concurrency: short blocking calls; in the runtime directory, which is private to its user.

Source: flock(2).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class StoreMark:
    """The mark of one daemon; made without one."""

    def __init__(self, socket: Path) -> None:
        self._path = _path(socket)
        self._fd: int | None = None

    def set(self) -> None:
        """Have those who unmount wait from now on."""
        if self._fd is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._path, flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def close(self) -> None:
        """All is stored. May be called twice."""
        if self._fd is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = None


def stores(socket: Path) -> bool:
    """Say whether the daemon of a socket will store something before it ends."""
    try:
        mark = os.open(_path(socket), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(mark, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(mark)
    return False


def _path(socket: Path) -> Path:
    return socket.with_suffix(".stores")
