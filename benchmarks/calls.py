"""Microseconds per call of each kind, on every system: `python benchmarks/calls.py`.

The loop that calls is calls.c; what the kinds are and how caches are kept out of them stands
there. Systems take turns, round after round, as in run.py.

Concurrency: one client process at a time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import machine
from catalogue import SYSTEMS, choose
from experiment import say, start_all
from measure import Placement
from systems import Mounted
from table import Sheet, markdown, show
from workspace import workspace

Times = dict[tuple[str, str], list[tuple[float, float]]]
"""Microseconds per call and of daemon CPU per call, by (kind, system)."""


def main() -> int:
    """Measure and print; return the exit code."""
    options = parse(sys.argv[1:])
    try:
        systems = choose(options.systems)
    except KeyError as error:
        say(f"there is no system {error}; there are {', '.join(each.name for each in SYSTEMS)}")
        return 2
    if shutil.which("gcc") is None:
        say("gcc is not installed; it compiles calls.c (apt install gcc libc6-dev)")
        return 1
    placement = Placement.named(options.pin)
    with workspace() as root, ExitStack() as stack:
        program = root / "calls"
        source = Path(__file__).with_name("calls.c")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
        live, missing = start_all(systems, root, placement, stack)
        os.sched_setaffinity(0, placement.client)
        caption = f"{machine.describe()}. {options.rounds} rounds; placement: {options.pin}."
        times: Times = {}
        for number in range(options.rounds):
            turn = number % len(live)
            for mounted in live[turn:] + live[:turn]:
                say(f"round {number + 1} of {options.rounds}: {mounted.system.name}")
                one_round(program, mounted, times)
    sheets = make_sheets(times, live, missing)
    print(caption + "\n")
    for sheet in sheets:
        show(sheet)
    if options.record:
        machine.record(options.record, "\n".join([caption, "", *map(markdown, sheets)]))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Microseconds per system call of each kind.")
    parser.add_argument("--systems", help="comma-separated; default: all that are installed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pin", choices=["same", "apart", "free"], default="free")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    return parser.parse_args(arguments)


def one_round(program: Path, mounted: Mounted, times: Times) -> None:
    """Run the client once on `mounted` and add what it printed to `times`."""
    done = subprocess.run(
        [str(program), str(mounted.pid or 0)],
        cwd=mounted.directory,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        say(f"{mounted.system.name}: {done.stderr.strip()}")
    for line in done.stdout.splitlines():
        kind, wall, cpu = line.split()
        taken = times.setdefault((kind, mounted.system.name), [])
        taken.append((float(wall) / 1000, float(cpu) / 1000))


def make_sheets(times: Times, live: list[Mounted], missing: dict[str, str]) -> list[Sheet]:
    """Return two tables: a line per kind in the order they ran, a column per system."""
    kinds = list(dict.fromkeys(kind for kind, _ in times))
    names = [mounted.system.name for mounted in live]
    daemons = [mounted.system.name for mounted in live if mounted.pid]
    notes = [f"without {name}: {reason}" for name, reason in missing.items()]
    walls = [[kind, *(_cell(times.get((kind, name)), 0) for name in names)] for kind in kinds]
    cpus = [[kind, *(_cell(times.get((kind, name)), 1) for name in daemons)] for kind in kinds]
    return [
        Sheet("Microseconds per call, median (least)", ["call", *names], walls, notes),
        Sheet("Daemon CPU microseconds per call, median (least)", ["call", *daemons], cpus, []),
    ]


def _cell(taken: list[tuple[float, float]] | None, position: int) -> str:
    if not taken:
        return "-"
    values = [each[position] for each in taken]
    return f"{median(values):.1f} ({min(values):.1f})"


if __name__ == "__main__":
    sys.exit(main())
