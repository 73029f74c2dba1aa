"""Locks on files of the store: who works on it, and what is in use.

They are `flock` locks: the kernel gives them back when a process ends, however it ends, so
nothing in the store can be left locked.

What it is *not*: which lock guards what; see place.py.

Concurrency: a lock belongs to the descriptor, so threads of one process exclude each other as
processes do.

Source: flock(2).
"""

from __future__ import annotations

import fcntl
import os

_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class locked:
    """Hold a lock for a block, waiting for it; the file is made if it is not there."""

    def __init__(self, path: str, *, exclusive: bool) -> None:
        self._path = path
        self._exclusive = exclusive

    def __enter__(self) -> None:
        self._fd = hold(self._path, exclusive=self._exclusive)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def hold(path: str, *, exclusive: bool) -> int:
    """Wait for a lock and return the descriptor that holds it until it is closed."""
    fd = os.open(path, _OPEN, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
    except BaseException:
        os.close(fd)
        raise
    return fd


def hold_if_free(path: str) -> int | None:
    """Return a descriptor that holds the lock exclusively, or None if anybody else has it."""
    fd = os.open(path, _OPEN, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd
