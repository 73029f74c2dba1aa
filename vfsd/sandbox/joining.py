"""Starting one more command in a sandbox that runs.

It gets the namespaces of the sandbox's first process, at once and as they are, and then is
closed as the first command was: no capability, no new privileges, the same filter of system
calls, the same limits of processes. Until all that is done it is not dumpable, so nothing inside
can look at it or at the files of ours that it still has open.

What it is *not*: the sandbox's parent. The command ends with the sandbox, and with whoever
started it.

Concurrency: must be called by a process with one thread, which is inside the sandbox's
namespaces from then on: what it will import, it has imported before.

Sources: setns(2), pid_namespaces(7), user_namespaces(7); prctl(2); seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import signal
import termios
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, NoReturn

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.limiting import children

NAMESPACES = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x2000_0000 | 0x4000_0000
"""Mount, cgroup, uts, ipc, pid, net. The user namespace is entered with them."""
CLONE_NEWUSER = 0x1000_0000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
SECCOMP_MODE_FILTER = 2
CAPABILITIES_MAX = 64
CAPABILITY_VERSION = 0x2008_0522
LIMITS = (
    *(resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_DATA, resource.RLIMIT_CPU),
    *(resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_STACK, resource.RLIMIT_CORE),
)

libc = ctypes.CDLL(None, use_errno=True)


class Filter(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


class Joining(NamedTuple):
    """What to start, and how."""

    command: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]
    filters: tuple[bytes, ...]
    """Programs for system calls, in the order to load them."""
    terminal: int | None = None
    """The fd of a terminal to be its controlling one and its standard streams."""
    covers: tuple[int, ...] = ()
    """The standard streams that the terminal stands for."""


def environment_of(init: int) -> dict[str, str]:
    """Return the environment that the sandbox's command was given, as far as it tells it."""
    for pid in (*children(init), init):
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as source:
            words = [os.fsdecode(word) for word in source.read(1 << 20).split(b"\0")]
            found = dict(word.split("=", 1) for word in words if "=" in word)
            if found:
                return found
    return {}


def join(init: int, joining: Joining) -> int:
    """Start the command in the sandbox of the process `init`; return its pid, as we see it.

    From then on this process is in the sandbox's namespaces, too. UserError (125).
    """
    limits = _limits(init)
    try:
        pidfd = os.pidfd_open(init)
        _join_group(init)
        _checked(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        _checked(libc.setns(pidfd, NAMESPACES | CLONE_NEWUSER))
    except OSError as error:
        raise UserError(
            f"the sandbox cannot be entered: {error.strerror}", ExitCode.RUN_FAILED
        ) from error
    pid = os.fork()
    if pid == 0:
        _become(joining, limits)
    return pid


def _become(joining: Joining, limits: Mapping[int, tuple[int, int]]) -> NoReturn:
    code = int(ExitCode.RUN_FAILED)
    try:
        os.setsid()
        if joining.terminal is not None:
            fcntl.ioctl(joining.terminal, termios.TIOCSCTTY, 0)
            for fd in joining.covers:
                os.dup2(joining.terminal, fd)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for which, values in limits.items():
            with suppress(OSError, ValueError):
                resource.setrlimit(which, values)
        os.chdir(joining.directory)
        os.closerange(3, 1 << 16)
        _give_up_rights()
        for program in joining.filters:
            _load(program)
        code = int(ExitCode.RUN_NOT_EXECUTABLE)
        os.execvpe(joining.command[0], joining.command, joining.environment)
    except OSError as error:
        if code == ExitCode.RUN_NOT_EXECUTABLE and error.errno in (errno.ENOENT, errno.ENOTDIR):
            code = int(ExitCode.RUN_NOT_FOUND)
        said = f"vfsd: {joining.command[0]} cannot be started: {error.strerror}\n"
        with suppress(OSError):
            os.write(2, os.fsencode(said))
    finally:
        os._exit(code)


def _give_up_rights() -> None:
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    for capability in range(CAPABILITIES_MAX):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            break  # the kernel has no more
    _checked(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    _checked(libc.capset(header, (ctypes.c_uint32 * 6)()))
    _checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def _load(program: bytes) -> None:
    told = Filter(len(program) // 8, program)
    _checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(told), 0, 0))


def _limits(init: int) -> dict[int, tuple[int, int]]:
    # The command's, not those of bwrap's process, which was not limited.
    pid = next(iter(children(init)), init)
    found = {}
    for which in LIMITS:
        with suppress(OSError):
            found[which] = resource.prlimit(pid, which)
    return found


def _join_group(init: int) -> None:
    """Enter the control groups of `init`, where this user may."""
    with suppress(OSError), open(f"/proc/{init}/cgroup") as listed:
        for line in listed:
            _, kinds, path = line.rstrip("\n").split(":", 2)
            folder = "/sys/fs/cgroup" if not kinds else f"/sys/fs/cgroup/{kinds}"
            with suppress(OSError), open(f"{folder}{path}/cgroup.procs", "w") as group:
                group.write(str(os.getpid()))


def _checked(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
