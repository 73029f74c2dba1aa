"""Starting a sandbox and being a good parent to it: streams, signals, the exact exit code.

bwrap runs in a session of its own, so that a Ctrl-C at our terminal reaches us only; we pass
SIGINT, SIGTERM and SIGHUP on to the command's process group, as the terminal would. After
SIGTERM or SIGHUP the command has `GRACE_S` to end, then everything in its pid namespace is
killed. If we are killed ourselves, bwrap dies with us (`--die-with-parent`), and its pid
namespace with it.

Standard streams are passed as they are; where standard input is a terminal, the command gets a
terminal of its own instead (terminal.py).

Concurrency: one thread; a self-pipe wakes the one `select` for signals.

Sources: bwrap(1), --json-status-fd; signal(7); credentials(7).
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.spec import Argument, Data
from vfsd.sandbox.terminal import Terminal

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_S = 10.0


def run(bwrap: str, arguments: Sequence[Argument], terminal: Terminal | None) -> int:
    """Run the sandbox to its end and return the command's exit code, or 128 + its signal.

    UserError (125) if bwrap cannot set the sandbox up; it said why on stderr.
    """
    status_read, status_write = os.pipe()
    with _as_fds(arguments) as (words, fds), _wakeups() as wakeup:
        try:
            child = subprocess.Popen(
                [bwrap, "--json-status-fd", str(status_write), *words],
                pass_fds=[*fds, status_write],
                start_new_session=True,
                stdin=None if terminal is None else terminal.slave,
                stdout=terminal.slave if terminal and terminal.covers_stdout else None,
                stderr=terminal.slave if terminal and terminal.covers_stderr else None,
            )
        except OSError as error:
            raise UserError(
                f"{bwrap} cannot be started: {error.strerror}", ExitCode.RUN_FAILED
            ) from error
        finally:
            os.close(status_write)
        with open(status_read, "rb") as status:
            return _Run(child, status.fileno(), wakeup, terminal).wait()


class _Run:
    """A running sandbox."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        status: int,
        wakeup: int,
        terminal: Terminal | None,
    ) -> None:
        self._child = child
        self._status = status
        self._wakeup = wakeup
        self._terminal = terminal
        self._said = b""
        self._pending: list[int] = []
        self._kill_at_s: float | None = None

    def wait(self) -> int:
        """Pass everything on until bwrap ends."""
        ended = os.pidfd_open(self._child.pid)
        watched = {ended, self._status, self._wakeup}
        if self._terminal is not None:
            watched |= self._terminal.fds()
        try:
            while True:
                ready, _, _ = select.select(watched, [], [], self._patience_s())
                if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
                    self._child.kill()
                if self._status in ready and not self._hear():
                    watched.discard(self._status)
                if self._wakeup in ready:
                    self._pending += os.read(self._wakeup, 64)
                self._pass_signals_on()
                if self._terminal is not None:
                    watched -= self._terminal.pump(ready)
                if ended in ready:
                    return self._finish()
        finally:
            os.close(ended)

    def _patience_s(self) -> float | None:
        if self._kill_at_s is None:
            # A signal came before the command could be found: look again shortly.
            return 0.02 if self._pending else None
        return max(0.0, self._kill_at_s - time.monotonic())

    def _hear(self) -> bool:
        said = os.read(self._status, 4096)
        self._said += said
        return bool(said)

    def _told(self, key: str) -> int | None:
        for line in self._said.splitlines():
            with suppress(ValueError):
                value = json.loads(line).get(key)
                if isinstance(value, int):
                    return value
        return None

    def _command_pid(self) -> int | None:
        """Return the command's pid as seen from here, once it runs.

        bwrap tells the pid of its pid 1; the command is the one child that this started.
        """
        init = self._told("child-pid")
        if init is None:
            return None
        try:
            with open(f"/proc/{init}/task/{init}/children") as children:
                pids = children.read().split()
        except OSError:
            return None
        return int(pids[0]) if pids else None

    def _pass_signals_on(self) -> None:
        if not self._pending:
            return
        numbers = [number for number in self._pending if number != signal.SIGWINCH]
        if len(numbers) < len(self._pending) and self._terminal is not None:
            self._terminal.resize()
        self._pending = numbers
        pid = self._command_pid() if numbers else None
        if pid is None:
            return
        self._pending = []
        for number in numbers:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
            if number != signal.SIGINT and self._kill_at_s is None:
                self._kill_at_s = time.monotonic() + GRACE_S

    def _finish(self) -> int:
        code = self._child.wait()
        while self._hear():
            pass
        if self._terminal is not None:
            self._terminal.drain()
        told = self._told("exit-code")
        if told is not None:
            return told
        if code < 0 or self._told("child-pid") is not None:
            return 128 - code if code < 0 else code
        raise UserError(
            "bwrap could not set the sandbox up (its own words stand above); "
            "'vfsd doctor' says what this machine lacks",
            ExitCode.RUN_FAILED,
        )


@contextmanager
def _as_fds(arguments: Sequence[Argument]) -> Iterator[tuple[list[str], list[int]]]:
    """Put each `Data` into a memory file and its fd into the arguments."""
    words: list[str] = []
    fds: list[int] = []
    try:
        for argument in arguments:
            if isinstance(argument, Data):
                fd = os.memfd_create("vfsd-run", 0)
                fds.append(fd)
                os.write(fd, argument.content)
                os.lseek(fd, 0, os.SEEK_SET)
                words.append(str(fd))
            else:
                words.append(argument)
        yield words, fds
    finally:
        for fd in fds:
            os.close(fd)


@contextmanager
def _wakeups() -> Iterator[int]:
    """Give an fd from which the numbers of arriving signals can be read."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    numbers = (*FORWARDED, signal.SIGWINCH)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    kept = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(kept)
        for number, action in before.items():
            signal.signal(number, action)
        os.close(reader)
        os.close(writer)
