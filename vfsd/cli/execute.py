"""`vfsd exec ID -- CMD`: one more command in a sandbox that runs.

Concurrency: one thread, which starts the command and passes on what it hears.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import time
from contextlib import suppress

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.becoming import Joining
from vfsd.sandbox.givenfile import GivenFile, given_file
from vfsd.sandbox.joining import Joined, environment_of, join
from vfsd.sandbox.runner import ENDING, GRACE_S
from vfsd.sandbox.runs import Record, find
from vfsd.sandbox.seccomp import programs
from vfsd.sandbox.signals import FORWARDED, Wakeups
from vfsd.sandbox.terminal import Terminal, terminal_if_interactive


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd exec`; its exit code is the command's."""
    parser = argparse.ArgumentParser(
        prog="vfsd exec",
        description="Run one more command in a sandbox that runs ('vfsd ps' lists them), closed"
        " as its first one is. Its exit code is passed on.",
    )
    parser.add_argument("--chdir", metavar="DIR", help="start there, inside")
    parser.add_argument(
        "--env", metavar="KEY=VALUE", action="append", default=[], help="set a variable inside"
    )
    parser.add_argument("id", metavar="ID", help="a run's id, or how it begins")
    parser.add_argument("command", metavar="-- CMD", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    if not command:
        parser.error("no command is given; it stands after --")
    record = _with_sandbox(find(given.id))
    with terminal_if_interactive() as terminal, Wakeups() as wakeup:
        source = given_file()
        joining = Joining(
            tuple(command),
            os.path.normpath(os.path.join(record.directory, given.chdir or "")),
            {**environment_of(record.init), **_variables(given.env)},
            programs() if record.filtered else (),
            None if terminal is None else terminal.slave,
            () if terminal is None else terminal.covers,
            source[0].reader if source else None,
        )
        return _Following(_joined(record, joining), wakeup, terminal, source).wait()


def _with_sandbox(record: Record) -> Record:
    if not record.init:
        raise UserError(
            f"the run {record.id} has no sandbox ({record.engine} engine, or not started yet)",
            ExitCode.RUN_FAILED,
        )
    return record


def _joined(record: Record, joining: Joining) -> Joined:
    try:
        init = os.pidfd_open(record.init)
    except ProcessLookupError:
        raise UserError(f"the run {record.id} has just ended", ExitCode.NOT_FOUND) from None
    try:
        # The run is still there after this was opened, so it is no other process.
        find(record.id)
        return join(record.init, init, joining)
    finally:
        os.close(init)


def _variables(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise UserError(f"--env {text!r} sets no variable; write KEY=VALUE", ExitCode.USAGE)
        found[key] = value
    return found


class _Following:
    """A command that was started, until its end."""

    def __init__(
        self, joined: Joined, wakeup: int, terminal: Terminal | None, sources: list[GivenFile]
    ) -> None:
        self._joined = joined
        self._sources = sources
        self._wakeup = wakeup
        self._terminal = terminal
        self._ended = os.pidfd_open(joined.usher)
        self._kill_at_s: float | None = None

    def wait(self) -> int:
        """Pass everything on; return the command's exit code, or 128 + its signal."""
        terminal = self._terminal
        if terminal is not None:
            terminal.close_slave()
        ready: dict[int, int] = {}
        while self._ended not in ready:
            ready = self._poll()
            if self._wakeup in ready:
                for number in os.read(self._wakeup, 64):
                    self._pass_on(number)
            if terminal is not None:
                terminal.pump(ready)
            for source in self._sources:
                source.pump(ready)
            if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
                self._kill_at_s = None
                self._send(signal.SIGKILL)
        os.close(self._ended)
        _, status = os.waitpid(self._joined.usher, 0)
        if terminal is not None:
            terminal.drain()
        for source in self._sources:
            source.ended(0)
        if os.WIFSIGNALED(status):
            return 128 + os.WTERMSIG(status)
        return os.waitstatus_to_exitcode(status)

    def _poll(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        poll.register(self._wakeup, select.POLLIN)
        for each in (*self._sources, *((self._terminal,) if self._terminal else ())):
            for fd, events in each.interests().items():
                poll.register(fd, events)
        if self._kill_at_s is None:
            return dict(poll.poll())
        return dict(poll.poll(max(0.0, self._kill_at_s - time.monotonic()) * 1000 + 1))

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGWINCH and self._terminal is not None:
            self._terminal.resize()
        elif number == signal.SIGTSTP:
            self._stop()
        elif number in FORWARDED:
            self._send(number)
            if number in ENDING and self._kill_at_s is None:
                self._kill_at_s = time.monotonic() + GRACE_S

    def _stop(self) -> None:
        """Stop the command and then ourselves, until SIGCONT, as runner.py does."""
        self._send(signal.SIGSTOP)
        if self._terminal is not None:
            self._terminal.release()
        os.kill(os.getpid(), signal.SIGSTOP)
        if self._terminal is not None:
            self._terminal.take()
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._joined.command, number)
