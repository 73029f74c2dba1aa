"""`vfsd exec ID -- CMD`: one more command in a sandbox that runs.

Concurrency: one thread, which starts the command and passes on what it hears.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
from contextlib import suppress

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.joining import Joining, environment_of, join
from vfsd.sandbox.runner import FORWARDED, wakeups
from vfsd.sandbox.runs import Record, find
from vfsd.sandbox.seccomp import programs
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
    record = find(given.id)
    if not record.init:
        raise UserError(
            f"the run {record.id} has no sandbox ({record.engine} engine, or not started yet)",
            ExitCode.RUN_FAILED,
        )
    with terminal_if_interactive() as terminal, wakeups() as wakeup:
        joining = Joining(
            tuple(command),
            os.path.normpath(os.path.join(record.directory, given.chdir or "")),
            {**environment_of(record.init), **_variables(given.env)},
            programs() if record.filtered else (),
            None if terminal is None else terminal.slave,
            () if terminal is None else terminal.covers,
        )
        return _wait(join(_still(record).init, joining), wakeup, terminal)


def _variables(given: list[str]) -> dict[str, str]:
    found = {}
    for text in given:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise UserError(f"--env {text!r} sets no variable; write KEY=VALUE", ExitCode.USAGE)
        found[key] = value
    return found


def _still(record: Record) -> Record:
    # As late as can be, so that the number is that of the sandbox.
    return find(record.id)


def _wait(pid: int, wakeup: int, terminal: Terminal | None) -> int:
    ended = os.pidfd_open(pid)
    if terminal is not None:
        terminal.close_slave()
    while True:
        poll = select.poll()
        poll.register(ended, select.POLLIN)
        poll.register(wakeup, select.POLLIN)
        for fd, events in ({} if terminal is None else terminal.interests()).items():
            poll.register(fd, events)
        ready = dict(poll.poll())
        if wakeup in ready:
            for number in os.read(wakeup, 64):
                _pass_on(pid, number, terminal)
        if terminal is not None:
            terminal.pump(ready)
        if ended in ready:
            break
    _, status = os.waitpid(pid, 0)
    if terminal is not None:
        terminal.drain()
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.waitstatus_to_exitcode(status)


def _pass_on(pid: int, number: int, terminal: Terminal | None) -> None:
    if number == signal.SIGWINCH and terminal is not None:
        terminal.resize()
    elif number in FORWARDED:
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
