"""`vfsd ps` and `vfsd kill`: the sandboxes of this user that run, and their end.

Concurrency: one thread; `kill` waits until each run has ended.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shlex
import signal
import time

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.runner import GRACE_S
from vfsd.sandbox.runs import Record, find, living

COMMAND_LENGTH_MAX = 60


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd ps` or `vfsd kill`."""
    return _list(arguments) if verb == "ps" else _kill(arguments)


def _list(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd ps", description="List the sandboxes of this user that run."
    )
    parser.add_argument("--json", action="store_true", help="as a JSON array")
    given = parser.parse_args(arguments)
    runs = living()
    if given.json:
        print(json.dumps([_plain(each) for each in runs], indent=2))
        return ExitCode.OK
    rows = [("ID", "PID", "ENGINE", "FOR", "BASE", "COMMAND")] + [_row(each) for each in runs]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows if runs else ():
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print("  ".join([*cells, row[5]]))
    return ExitCode.OK


def _plain(record: Record) -> dict[str, object]:
    return {
        "id": record.id,
        "pid": record.pid,
        "init": record.init or None,
        "engine": record.engine,
        "base": _printable(record.base),
        "directory": _printable(record.directory),
        "started_s": record.started_s,
        "command": [_printable(word) for word in record.command],
    }


def _row(record: Record) -> tuple[str, ...]:
    command = _printable(shlex.join(record.command))
    if len(command) > COMMAND_LENGTH_MAX:
        command = command[: COMMAND_LENGTH_MAX - 1] + "…"
    age = _age(max(0.0, time.time() - record.started_s))
    return (record.id, str(record.pid), record.engine, age, _printable(record.base), command)


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def _printable(text: str) -> str:
    # A command's words can hold anything, also what a terminal would obey.
    shown = text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown)


def _kill(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd kill",
        description="End sandboxes: SIGTERM to the command, and SIGKILL to all of it after"
        f" {GRACE_S:g} s. Returns when they have ended.",
    )
    parser.add_argument("--now", action="store_true", help="kill at once, with SIGKILL")
    parser.add_argument("ids", metavar="ID", nargs="+", help="a run's id, or how it begins")
    given = parser.parse_args(arguments)
    ended = [_signalled(find(each), now=given.now) for each in given.ids]
    for fd in ended:
        select.select([fd], [], [])
        os.close(fd)
    return ExitCode.OK


def _signalled(record: Record, *, now: bool) -> int:
    """Send the signal, and return an fd that is readable once the run has ended."""
    try:
        run = os.pidfd_open(record.pid)
        # It held its lock after this fd was opened, so this is the process.
        record = find(record.id)
        if now and record.init:
            init = os.pidfd_open(record.init)
            try:
                signal.pidfd_send_signal(init, signal.SIGKILL)
            finally:
                os.close(init)
        else:
            signal.pidfd_send_signal(run, signal.SIGTERM)
    except ProcessLookupError:
        raise UserError(f"the run {record.id} has just ended", ExitCode.NOT_FOUND) from None
    return run
