"""A process of ours beside a run, which serves its network and ends with it.

It is a program of its own, so that the run need not wait until it has loaded what it needs. It
learns the end of the run, or that of vfsd, however it came, from a pipe that nobody else holds.

What it is *not*: what it serves (portserver.py, proxyserver.py).

Concurrency: an attendant's calls.

Source: posix_spawn(3).
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence

END_S = 3.0
"""How long it may take to pass on what is under way."""
MODULES = "vfsd.sandbox"
PYTHON = "/proc/self/exe"
"""What runs us: also where its path leads through a directory that is closed to this user."""


class Companion:
    """`python -m vfsd.sandbox.MODULE CONTROL WORDS...`, with the open `fds` under their numbers."""

    def __init__(
        self, module: str, words: Sequence[str], fds: Sequence[int], *, heard: bool
    ) -> None:
        control, self._control = os.pipe()
        # -P: the current directory is the tree, which may hold modules of the same names.
        argv = [sys.executable, "-P", "-m", f"{MODULES}.{module}", str(control), *words]
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
        if not heard:
            quiet.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_RDWR, 0))
        keep = (control, *fds)
        for fd in keep:
            os.set_inheritable(fd, True)
        try:
            # A session of its own: a Ctrl-C is for the command, which may want the network still.
            self._pid = os.posix_spawn(PYTHON, argv, os.environ, file_actions=quiet, setsid=True)
        finally:
            for fd in keep:
                os.set_inheritable(fd, False)
            os.close(control)

    def end(self) -> None:
        """Let it finish, and wait for that."""
        os.close(self._control)
        process = os.pidfd_open(self._pid)
        try:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            if not poll.poll(END_S * 1000):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)
        os.waitpid(self._pid, 0)
