"""The last steps of a process before it is a command in a sandbox that it has joined.

It leads a session, has the terminal, is closed as the sandbox's first command was, and then
becomes the command. It stands in the sandbox's namespaces already, so nothing here may import
anything or open a file by its name.

What it is *not*: entering the namespaces (joining.py).

Concurrency: runs in a process of its own, which has one thread.

Sources: prctl(2), capabilities(7), seccomp(2); execvp(3); signal(7).
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

from vfsd.exitcodes import ExitCode
from vfsd.sandbox.spec import PATH

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
SECCOMP_MODE_FILTER = 2
CAPABILITIES_MAX = 64
CAPABILITY_VERSION = 0x2008_0522
PASSED = (
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGWINCH),
)
"""Signals that whoever waits for the command has handlers for."""
FD_MAX = 0x7FFF_FFFF
SHELL = "/bin/sh"

Limits = Mapping[int, tuple[int, int]]

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
    source: int | None = None
    """The fd to have as standard input instead of ours."""


def become(joining: Joining, limits: Limits) -> NoReturn:
    """Be the command; where there is none, say so on stderr and end as a shell would."""
    code = int(ExitCode.RUN_FAILED)
    try:
        os.setsid()
        if joining.terminal is not None:
            fcntl.ioctl(joining.terminal, termios.TIOCSCTTY, 0)
            for fd in joining.covers:
                os.dup2(joining.terminal, fd)
        if joining.source is not None:
            os.dup2(joining.source, 0)
        _listen_to_signals()
        for which, values in limits.items():
            with suppress(OSError, ValueError):
                resource.setrlimit(which, values)
        # Who waits for the end of a pipe of ours may send signals now.
        os.closerange(3, FD_MAX)
        os.chdir(joining.directory)
        _give_up_rights()
        for program in joining.filters:
            _load(program)
        code = int(ExitCode.RUN_NOT_EXECUTABLE)
        _execute(joining.command, joining.environment)
    except OSError as error:
        if code == ExitCode.RUN_NOT_EXECUTABLE and error.errno in (errno.ENOENT, errno.ENOTDIR):
            code = int(ExitCode.RUN_NOT_FOUND)
        said = f"vfsd: {joining.command[0]} cannot be started: {error.strerror}\n"
        with suppress(OSError):
            os.write(2, os.fsencode(said))
    finally:
        os._exit(code)


def _listen_to_signals() -> None:
    """Have every signal do what it does by default, but for those that are ignored from outside.

    What came to our group before the command had its own is dropped: it is passed on as well.
    """
    signal.set_wakeup_fd(-1)
    for number in PASSED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_IGN)
            signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _execute(command: tuple[str, ...], environment: Mapping[str, str]) -> NoReturn:
    """Become the command, found as execvp(3) finds it. OSError if there is none."""
    found: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    places = [""] if "/" in command[0] else environment.get("PATH", PATH).split(":")
    for place in places:
        program = os.path.join(place, command[0]) if command[0] else ""
        try:
            os.execve(program, command, environment)
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                os.execve(SHELL, [SHELL, program, *command[1:]], environment)
            # One that may not be executed counts more than one that is not there.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR) or places == [""]:
                found = error
    raise found


def _give_up_rights() -> None:
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    for capability in range(CAPABILITIES_MAX):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            break  # the kernel has no more
    checked(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    checked(libc.capset(header, (ctypes.c_uint32 * 6)()))
    checked(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))


def _load(program: bytes) -> None:
    told = Filter(len(program) // 8, program)
    checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(told), 0, 0))


def checked(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
