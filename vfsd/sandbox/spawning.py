"""Starting a program with exactly the open files it is to have.

The standard streams, and what its options name; nothing else of ours, and nothing that our own
parent left open for us.

What it is *not*: living with what was started (runner.py).

Concurrency: blocking calls; `spawn` returns when the program was started.

Sources: posix_spawn(3); memfd_create(2); bwrap(1), --args.
"""

from __future__ import annotations

import fcntl
import os

from vfsd.blocks import suppress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.signals import signal
from vfsd.sandbox.spec import Argument, Data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vfsd.sandbox.terminal import Terminal

LOW_FDS = 10
"""A shell names fds of one digit only, so those it needs have one; all others are kept above."""


def spawn(
    bwrap: str,
    options: Sequence[Argument],
    command: Sequence[str],
    status: int,
    pipes: Mapping[int, int],
    terminal: Terminal | None,
    before: Sequence[str] = (),
) -> int:
    """Start bwrap with the standard streams, its options, `status`, and `pipes` as numbered.

    `before` are the words of a program that starts bwrap in its own place.
    """
    program = before[0] if before else bwrap
    with OptionFiles(options) as (words, fds):
        told = memory_file(b"".join(os.fsencode(word) + b"\0" for word in words))
        try:
            # Where bwrap lies is not told: /proc/1/cmdline is seen inside.
            start = [*before, bwrap] if before else ["bwrap"]
            argv = [*start, "--json-status-fd", str(status), "--args", str(told), "--", *command]
            actions: list[tuple[int, int] | tuple[int, int, int]] = [
                (os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable_fds()
            ]
            # The terminal first: its fd may have the number that a pipe is about to get.
            if terminal is not None:
                actions += [(os.POSIX_SPAWN_DUP2, terminal.slave, fd) for fd in terminal.covers]
            actions += [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in pipes.items()]
            for fd in (status, told, *fds):
                os.set_inheritable(fd, True)
            # Python ignores these two; the command is to have them as they were.
            restored = [signal.SIGPIPE, signal.SIGXFSZ]
            return os.posix_spawn(
                program, argv, {}, file_actions=actions, setsid=True, setsigdef=restored
            )
        except OSError as error:
            raise UserError(
                f"{program} cannot be started: {error.strerror}", ExitCode.RUN_FAILED
            ) from error
        finally:
            os.close(told)


class OptionFiles:
    """Puts each `Data` into a file in memory, copies each `Handed`; gives words and open fds."""

    def __init__(self, options: Sequence[Argument]) -> None:
        self._options = options
        self._fds: list[int] = []

    def __enter__(self) -> tuple[list[str], list[int]]:
        try:
            return [self._word(option) for option in self._options], self._fds
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)

    def _word(self, option: Argument) -> str:
        if isinstance(option, str):
            return option
        if isinstance(option, Data):
            self._fds.append(memory_file(option.content))
        else:
            self._fds.append(_high(os.dup(option.fd)))
        return str(self._fds[-1])


def memory_file(content: bytes) -> int:
    """Return an fd, not inheritable, from which `content` can be read."""
    fd = _high(os.memfd_create("vfsd-run"))
    with open(fd, "wb", closefd=False) as target:
        target.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def pipe() -> tuple[int, int]:
    reader, writer = os.pipe()
    return _high(reader), _high(writer)


def _high(fd: int) -> int:
    """Move an fd to a number above those that a shell can name."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, LOW_FDS)
    finally:
        os.close(fd)


def _inheritable_fds() -> list[int]:
    """Return the fds that our own parent left open for us, the standard streams apart."""
    fds = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            if int(name) > 2 and os.get_inheritable(int(name)):
                fds.append(int(name))
    return fds


def open_missing_streams() -> None:
    # A standard stream that our parent closed would otherwise be the number of the next file
    # we open, and the command would read or write that.
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
