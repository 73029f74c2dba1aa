"""`vfsd logs`: what the daemon of a mount logged, also after it died.

What it is *not*: the log of a daemon that runs in the foreground or under systemd, which goes to
stderr and from there to the journal (`vfsd service logs`).

Concurrency: becomes tail(1), which knows how to follow a file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys

from vfsd import runtime
from vfsd.cli.launch import log_of
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ([A-Z]+) ([^ :]+): (.*)")


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd logs`."""
    parser = argparse.ArgumentParser(
        prog="vfsd logs", description="Show what the daemon of a mount logged."
    )
    parser.add_argument("path", nargs="?", default=".", help="the mount (default: here)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as more is logged")
    parser.add_argument(
        "-n", "--lines", type=_count, default=100, metavar="N", help="the last N lines (100)"
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each")
    given = parser.parse_args(arguments)
    if given.json and given.follow:
        raise UserError("--json and --follow exclude each other; leave one out", ExitCode.USAGE)
    mountpoint = _mountpoint(given.path)
    path = log_of(mountpoint)
    if not path.exists():
        raise UserError(
            f"there is no log for {mountpoint}; a daemon that runs in the foreground or as a"
            " service logs to its terminal or the journal (journalctl --user)",
            ExitCode.NOT_FOUND,
        )
    if given.json:
        for line in path.read_text(errors="replace").splitlines()[-given.lines or sys.maxsize :]:
            print(json.dumps(_read(line)))
        return ExitCode.OK
    follow = ["-F"] if given.follow else []
    sys.stdout.flush()
    os.execvp("tail", ["tail", "-n", str(given.lines), *follow, "--", str(path)])


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def _mountpoint(path: str) -> str:
    """Return the mountpoint that holds `path`; one whose daemon is gone must be named itself."""
    try:
        return os.fsdecode(runtime.find(path).mountpoint)
    except UserError:
        parent, name = os.path.split(os.path.abspath(path))
        return os.path.join(os.path.realpath(parent), name)


def _read(line: str) -> dict[str, str]:
    """Return the parts of a line; a traceback's lines are messages alone."""
    found = _LINE.fullmatch(line)
    if found is None:
        return {"message": line}
    moment, ms, level, logger, message = found.groups()
    return {"time": f"{moment}.{ms}", "level": level, "logger": logger, "message": message}
