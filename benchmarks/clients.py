"""Many clients at a time, and what a busy one does to the others: `python benchmarks/clients.py`.

Three questions, on vfsd and its peers in turn, round after round:

- 1, 8 and 64 readers and writers: calls per second in all, and the fewest calls that one of
  them made against the most (1.0: all alike);
- one caller's `stat` (always asked of the daemon) while nobody else works, beside a writer of
  1 GiB after the other, and beside 64 writers of 4 KiB: its 99th percentile over the idle one;
- on vfsd, a `stat` through the control socket beside all of these: the longest answer.

The stat is to stay within 5 times its idle percentile beside the large writer, and the control
socket within 50 ms. On a busy machine both are the machine's: the row of tmpfs tells.

Concurrency: the load is processes of load.c; the control client is this process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import machine
from catalogue import choose
from experiment import say, start_all
from measure import Placement
from systems import Mounted
from table import Sheet, markdown, show
from workspace import workspace

sys.path.insert(0, str(machine.REPOSITORY))

from vfsd import client

DEFAULT_SYSTEMS = "tmpfs,vfsd,vfsd-passthrough,fuse-overlayfs,bindfs"
COUNTS = (1, 8, 64)
STAT_FACTOR_LIMIT = 5.0
CONTROL_LIMIT_MS = 50.0
Load = tuple[str, int]
"""A kind of load.c's, and how many processes."""
BESIDE: tuple[Load, ...] = (("big", 1), ("write", 64))
Numbers = dict[tuple[str, str], list[float]]
"""Figures of all rounds, by (line, system)."""


def main() -> int:
    """Measure and print; return 1 if vfsd misses a limit."""
    parser = argparse.ArgumentParser(description="Many clients at a time.")
    parser.add_argument("--systems", default=DEFAULT_SYSTEMS, help="comma-separated")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--milliseconds", type=int, default=1000, help="of each load")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    options = parser.parse_args()
    numbers: Numbers = {}
    with workspace() as root, ExitStack() as stack:
        program = root / "load"
        source = Path(__file__).with_name("load.c")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
        caption = f"{machine.describe()}. {options.rounds} rounds."
        systems = choose(options.systems)
        live, missing = start_all(systems, root, Placement.named("free"), stack)
        for number in range(options.rounds):
            turn = number % len(live)
            for mounted in live[turn:] + live[:turn]:
                say(f"round {number + 1} of {options.rounds}: {mounted.system.name}")
                one_round(program, mounted, options.milliseconds, numbers)
    names = [mounted.system.name for mounted in live]
    sheet = make_sheet(numbers, names, [f"without {name}: {why}" for name, why in missing.items()])
    print(caption + "\n")
    show(sheet)
    if options.record:
        machine.record(options.record, f"{caption}\n\n{markdown(sheet)}")
    return int(any("missed" in note for note in sheet.notes))


def one_round(program: Path, mounted: Mounted, milliseconds: int, numbers: Numbers) -> None:
    """Put all loads on one system, and add its figures."""

    def add(line: str, figure: float) -> None:
        numbers.setdefault((line, mounted.system.name), []).append(figure)

    for kind in ("read", "write"):
        for count in COUNTS:
            done, fewest, most, *_ = run(program, (kind, count), mounted, milliseconds)
            add(f"{kind} 4 KiB, {count} clients: calls/s", done / milliseconds * 1000)
            if count > 1:
                add(f"{kind} 4 KiB, {count} clients: fewest / most", fewest / max(most, 1))
    idle = run(program, ("stat", 1), mounted, milliseconds)
    add("stat alone: p99 µs", idle[4])
    for load in BESIDE:
        title = f"stat beside {load[1]} x {load[0]}"
        with subprocess.Popen(
            [str(program), load[0], str(load[1]), str(milliseconds + 400)],
            cwd=mounted.directory,
            stdout=subprocess.DEVNULL,
        ):
            time.sleep(0.2)
            beside = run(program, ("stat", 1), mounted, milliseconds // 2)
            add(f"{title}: p99 µs", beside[4])
            add(f"{title}: p99 / alone", beside[4] / idle[4])
            if mounted.system.language == "vfsd":
                longest = control(mounted, milliseconds / 2000)
                add(f"control socket beside {load[1]} x {load[0]}: longest ms", longest)


def run(program: Path, load: Load, mounted: Mounted, milliseconds: int) -> list[float]:
    """Run a load to its end; what load.c prints."""
    done = subprocess.run(
        [str(program), load[0], str(load[1]), str(milliseconds)],
        cwd=mounted.directory,
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    return [float(word) for word in done.stdout.split()]


def control(mounted: Mounted, seconds: float) -> float:
    """Ask the control socket again and again; return how long the longest answer took, in ms."""
    longest = 0.0
    with client.connect(mounted.directory) as tree:
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            tree.stat("")
            longest = max(longest, time.perf_counter() - start)
            time.sleep(0.005)
    return longest * 1000


def make_sheet(numbers: Numbers, names: list[str], notes: list[str]) -> Sheet:
    """Return a line per figure, a column per system: medians of the rounds, and the verdicts."""
    titles = list(dict.fromkeys(line for line, _ in numbers))
    lines = [[title, *(cell(numbers.get((title, name))) for name in names)] for title in titles]
    for title in titles:
        limit = None
        if title.startswith("stat beside 1 x big") and title.endswith("alone"):
            limit = STAT_FACTOR_LIMIT
        elif title.startswith("control socket"):
            limit = CONTROL_LIMIT_MS
        taken = numbers.get((title, "vfsd"))
        if limit is not None and taken:
            verdict = "met" if median(taken) <= limit else "missed"
            notes.append(f"{title}: {median(taken):.2f}, at most {limit:g}: {verdict}")
    return Sheet("Many clients, medians", ["", *names], lines, notes)


def cell(taken: list[float] | None) -> str:
    """Return a median, with as many digits as mean something."""
    if not taken:
        return "-"
    value = median(taken)
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
