"""Starting one more command in a sandbox that runs.

It gets the namespaces of the sandbox's first process, at once and as they are, and then is
closed as the first command was: no capability, no new privileges, the same filter of system
calls, the same limits of processes.

Whoever asks for it stays outside. A child of ours, the usher, enters the namespaces, starts the
command and waits for it: to be in the namespaces of something hostile with our own rights is for
as little code as can be. It finds no file by a name there, so it imports nothing; and it is not
dumpable, nor is the command until it has given up its rights, so nothing inside can look at them
or at the files of ours that they still have open.

What it is *not*: the sandbox's parent. The command ends with the sandbox, and with whoever
started it.

Concurrency: `join` needs a process with one thread.

Sources: setns(2), pid_namespaces(7), user_namespaces(7); prctl(2); seccomp(2).
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple, NoReturn

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.becoming import (
    FD_MAX,
    PASSED,
    PR_SET_DUMPABLE,
    PR_SET_PDEATHSIG,
    Joining,
    Limits,
    become,
    checked,
    libc,
)
from vfsd.sandbox.limiting import children

NAMESPACES = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x2000_0000 | 0x4000_0000
"""Mount, cgroup, uts, ipc, pid, net. The user namespace is entered with them."""
CLONE_NEWUSER = 0x1000_0000
LIMITS = (
    *(resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA, resource.RLIMIT_CPU),
    *(resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_STACK, resource.RLIMIT_CORE),
)


def environment_of(init: int) -> dict[str, str]:
    """Return the environment that the sandbox's command was given, as far as it tells it."""
    for pid in (*children(init), init):
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as source:
            words = [os.fsdecode(word) for word in source.read(1 << 20).split(b"\0")]
            found = dict(word.split("=", 1) for word in words if "=" in word)
            if found:
                return found
    return {}


class Joined(NamedTuple):
    """A command that runs in a sandbox, leading a session there, and who waits for it."""

    usher: int
    """A child of ours. It ends as the command does, with its exit code or 128 + its signal."""
    command: int
    """Its pid and process group, as we see it."""


def join(init: int, pidfd: int, joining: Joining) -> Joined:
    """Start the command in the sandbox of the process `init`, which `pidfd` is a reference to.

    It leads its process group when this returns, so no signal to it is lost. UserError (125).
    """
    limits = _limits(init)
    groups = _groups_of(init)
    reader, writer = os.pipe()
    # Neither of the two that are forked runs our handlers; the command has its own at its end.
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED)
    try:
        usher = os.fork()
        if usher == 0:
            _lead_in(pidfd, writer, groups, joining, limits)
    finally:
        os.close(writer)
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
    with open(reader, "rb") as told:
        words = dict(line.split(b" ", 1) for line in told.read().splitlines())
    if b"pid" in words:
        return Joined(usher, int(words[b"pid"]))
    os.waitpid(usher, 0)
    code = int(words.get(b"errno", errno.ESRCH))
    raise UserError(f"the sandbox cannot be entered: {os.strerror(code)}", ExitCode.RUN_FAILED)


def _lead_in(
    pidfd: int, told: int, groups: Iterable[int], joining: Joining, limits: Limits
) -> NoReturn:
    """Be the usher."""
    code = int(ExitCode.RUN_FAILED)
    try:
        # What a name leads to from here on is the sandbox's to say.
        sys.meta_path.clear()
        sys.path.clear()
        ours = str(os.getpid()).encode()
        for group in groups:
            with suppress(OSError):
                os.write(group, ours)
        outside = os.getppid()
        checked(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        checked(libc.setns(pidfd, NAMESPACES | CLONE_NEWUSER))
        checked(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        if os.getppid() != outside:
            os._exit(code)
        pid = os.fork()
        if pid == 0:
            become(joining, limits)
        os.write(told, b"pid %d\n" % pid)
        # All of ours: what the command waits for the end of must not stay open here.
        os.closerange(3, FD_MAX)
        # Not reaped: until we have ended, its number is nobody else's.
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        if ended is not None:
            code = ended.si_status + (0 if ended.si_code == os.CLD_EXITED else 128)
    except OSError as error:
        with suppress(OSError):
            os.write(told, b"errno %d\n" % (error.errno or errno.EIO))
    finally:
        os._exit(code)


def _limits(init: int) -> Limits:
    # The command's, not those of bwrap's process, which was not limited.
    pid = next(iter(children(init)), init)
    found = {}
    for which in LIMITS:
        with suppress(OSError):
            found[which] = resource.prlimit(pid, which)
    return found


def _groups_of(init: int) -> list[int]:
    """Open the control groups of `init` where this user may add processes to them."""
    found = []
    with suppress(OSError), open(f"/proc/{init}/cgroup") as listed:
        for line in listed:
            _, kinds, path = line.rstrip("\n").split(":", 2)
            folder = "/sys/fs/cgroup" if not kinds else f"/sys/fs/cgroup/{kinds}"
            with suppress(OSError):
                group = os.open(f"{folder}{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                found.append(group)
    return found
