"""A child that is killed at a given system call of what it does to the store.

Every function of `os` that changes something on disk is counted in the child; before the wanted
call the child sends itself SIGKILL. So each instant at which a kill makes a difference is met, one
by one, without waiting for luck.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

from vfsd.snapshots import durable, sealing

CHANGING = (
    *("mkdir", "rename", "link", "unlink", "rmdir", "mknod", "write", "symlink"),
    *("chmod", "utime", "setxattr", "fsync"),
)
CALLS_MAX = 2000


def killed_everywhere(prepare: Callable[[], None], work: Callable[[], None]) -> Iterator[int]:
    """Yield after each kill; `prepare` is called before each child starts.

    Ends after the child that came to its end.
    """
    for call in range(CALLS_MAX):
        prepare()
        if not _dies(work, call):
            return
        yield call
    raise AssertionError("the work never came to its end")


def _dies(work: Callable[[], None], call: int) -> bool:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            _arm(call)
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    assert status == 0, "the child failed by itself"
    return False


def _arm(call: int) -> None:
    left = call

    def wrapped(plain, counts):
        def run(*args, **kwargs):
            nonlocal left
            if counts(*args, **kwargs):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return plain(*args, **kwargs)

        return run

    for name in CHANGING:
        setattr(os, name, wrapped(getattr(os, name), lambda *_, **__: True))
    os.open = wrapped(os.open, lambda _path, flags, *_, **__: bool(flags & os.O_CREAT))
    sealing.rename_new = wrapped(sealing.rename_new, lambda *_: True)
    durable.syncfs = wrapped(durable.syncfs, lambda _: True)
