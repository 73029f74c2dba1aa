"""`vfsd top`: what a mount is asked, live; on a terminal a picture, piped one text per sample.

The daemon measures only while this runs: the connection's end is the measuring's end.

What it is *not*: what is shown of a sample (topview.py), or the measuring.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import islice

from vfsd import client, runtime
from vfsd.cli.topview import Row, rows_of
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

INTERVAL_LEAST_S, INTERVAL_MOST_S = 0.01, 3600.0


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd top`."""
    parser = argparse.ArgumentParser(
        prog="vfsd top",
        description="Show what a mount is asked: how often, how long it takes, and by whom.",
        epilog="Latencies are from the start of a handler to its reply. Ctrl-C ends it.",
    )
    parser.add_argument("path", nargs="?", help="in the mount; may be left out if there is one")
    parser.add_argument("--interval", type=_interval, default=1.0, metavar="S", help="seconds: 1")
    parser.add_argument("-n", type=_count, metavar="COUNT", help="end after so many samples")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    given = parser.parse_args(arguments)
    with client.connect(given.path or _only_mount()) as tree, tree.top(given.interval) as samples:
        wanted = islice(samples, given.n)
        if given.json:
            for sample in wanted:
                print(json.dumps(sample), flush=True)
        elif sys.stdout.isatty():
            from vfsd.cli.toplive import show

            show(wanted)
        else:
            for sample in wanted:
                print(_plain(rows_of(sample)), end="\n\n", flush=True)
    return ExitCode.OK


def _only_mount() -> bytes | str:
    """Return where to look if nobody says: here, or in the only mount there is."""
    try:
        runtime.find(".")
    except UserError:
        mountpoints = runtime.mountpoints()
        if len(mountpoints) == 1:
            return mountpoints[0]
        if mountpoints:
            raise UserError(
                f"there are {len(mountpoints)} mounts; say which: 'vfsd top DIRECTORY'"
                " ('vfsd status' lists them)",
                ExitCode.USAGE,
            ) from None
        raise
    return "."


def _interval(text: str) -> float:
    seconds = float(text)
    if not INTERVAL_LEAST_S <= seconds <= INTERVAL_MOST_S:
        raise argparse.ArgumentTypeError(
            f"{text} is not between {INTERVAL_LEAST_S} and {INTERVAL_MOST_S:.0f} seconds"
        )
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text} samples are none")
    return count


def _plain(tables: list[list[Row]]) -> str:
    return "\n".join(line for table in tables for line in _aligned(table))


def _aligned(table: list[Row]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
