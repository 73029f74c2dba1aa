"""A process of ours beside a run, which serves its network and ends with it.

It is a program of its own, so that the run need not wait until it has loaded what it needs. It
learns the end of the run, or that of vfsd, however it came, from a socket that nobody else
holds, and says there when it serves.

What it is *not*: what it serves (portserver.py, proxyserver.py).

Concurrency: an attendant's calls.

Source: posix_spawn(3).
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress

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
        theirs, self._control = socket.socketpair()
        control = theirs.fileno()
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
            theirs.close()

    def end(self, *, last_words: bool) -> None:
        """End it, and wait for that; with `last_words`, what is under way is passed on first."""
        asked = select.poll()
        asked.register(self._control, select.POLLIN)
        serves = bool(asked.poll(0))
        self._control.close()
        process = os.pidfd_open(self._pid)
        try:
            poll = select.poll()
            poll.register(process, select.POLLIN)
            # One that does not serve yet has nothing to pass on, and may take long to load.
            if not (last_words and serves and poll.poll(END_S * 1000)):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os.close(process)
        os.waitpid(self._pid, 0)
