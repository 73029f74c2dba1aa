"""A question to our own mount that does not keep a killed daemon from dying.

Who waits for an answer that we owe cannot be killed, and waits on until /dev/fuse is closed. That
happens with the last of a process's threads that has it open: this very one, so a daemon that was
killed meanwhile stayed for ever, and its mount hung. So the thread that asks has a table of open
files of its own, with nothing in it: when the main thread ends, the kernel gives the connection up,
and that ends the question.

Concurrency: one thread for each question. After a cancellation it ends as the question does.

Source: close_range(2), CLOSE_RANGE_UNSHARE (Linux 5.9; before, the table is shared); Linux
fs/fuse/dev.c (`request_wait_answer`).
"""

from __future__ import annotations

import ctypes
import os
import threading

import trio

_libc = ctypes.CDLL(None, use_errno=True)
SYS_CLOSE_RANGE = 436
"""The same on all architectures."""
CLOSE_RANGE_UNSHARE = 2
FD_MAX = (1 << 31) - 1


async def ask(path: str) -> None:
    """Return once a request through the mount at `path` was answered. OSError."""
    told = os.eventfd(0)
    try:
        asker = _Asker(path, told)
        asker.start()
        # For a moment: until then the two share `told`, which we close.
        asker.began.wait()
        if asker.apart:
            await trio.lowlevel.wait_readable(told)
    finally:
        os.close(told)
    if not asker.apart:
        await trio.to_thread.run_sync(os.statvfs, path, abandon_on_cancel=True)
    elif asker.error is not None:
        raise asker.error


class _Asker(threading.Thread):
    def __init__(self, path: str, told: int) -> None:
        super().__init__(name="vfsd-asks", daemon=True)
        self._path = path
        self._told = told
        self.began = threading.Event()
        self.apart = False
        """It has a table of open files of its own."""
        self.error: OSError | None = None

    def run(self) -> None:
        self.apart = _keep_only(self._told)
        self.began.set()
        if not self.apart:
            return
        try:
            os.statvfs(self._path)
        except OSError as error:
            self.error = error
        os.eventfd_write(self._told, 1)


def _keep_only(fd: int) -> bool:
    """Give this thread a table of open files with nothing but `fd`; False if that cannot be had."""
    if _close(fd + 1, FD_MAX, CLOSE_RANGE_UNSHARE):
        return False
    if fd:
        _close(0, fd - 1, 0)
    return True


def _close(first: int, last: int, flags: int) -> int:
    numbers = ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags)
    result: int = _libc.syscall(ctypes.c_long(SYS_CLOSE_RANGE), *numbers)
    return result
