"""What `vfsd top` costs while somebody looks, and while nobody does: `python benchmarks/top.py`.

Two mounts of the same daemon code take turns at the same work, chunk after chunk: one is never
looked at; the other is looked at in half of its chunks. So three figures come out of one run:
never looked at, looked at now, and not looked at any more (this one is to be within 2 % of the
first). The work is requests that always reach the daemon: a name that is not there is looked up
after being made and removed (mkdir, rmdir), which is `chunk` times two requests and more.

Concurrency: one client thread; chunks never overlap.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import ExitStack
from statistics import median

import machine
from catalogue import choose
from experiment import say
from measure import Placement, cpu_seconds
from systems import Mounted, running
from table import Sheet, markdown, show
from workspace import workspace

sys.path.insert(0, str(machine.REPOSITORY))

from vfsd import client

LIMIT_UNSEEN = 1.02
STATES = ("never looked at", "looked at", "not looked at any more")
Taken = dict[str, list[tuple[float, float]]]
"""Microseconds, of time and of daemon CPU, per pair of calls, by state."""


def main() -> int:
    """Measure and print; return 1 if the unseen cost is beyond its limit."""
    parser = argparse.ArgumentParser(description="The cost of vfsd top.")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--chunk", type=int, default=1000, help="mkdir and rmdir in a chunk")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    options = parser.parse_args()
    (vfsd,) = choose("vfsd")
    caption = machine.describe()
    taken: Taken = {state: [] for state in STATES}
    with workspace() as root, ExitStack() as stack:
        one, other = (
            stack.enter_context(running(vfsd, root / name, Placement.named("free")))
            for name in ("never", "sometimes")
        )
        for mounted in (one, other):
            chunk(mounted, options.chunk)
        for number in range(options.rounds):
            if number % 10 == 0:
                say(f"round {number + 1} of {options.rounds}")
            for state in STATES if number % 2 else reversed(STATES):
                taken[state].append(measure(state, one, other, options.chunk))
    sheet = make_sheet(taken)
    print(caption + "\n")
    show(sheet)
    if options.record:
        machine.record(options.record, f"{caption}\n\n{markdown(sheet)}")
    return int(ratio(taken, STATES[2], 1) > LIMIT_UNSEEN)


def measure(state: str, one: Mounted, other: Mounted, count: int) -> tuple[float, float]:
    """Time one chunk in a state."""
    if state == STATES[0]:
        return chunk(one, count)
    if state == STATES[2]:
        return chunk(other, count)
    with client.connect(other.directory) as tree, tree.top(0.25):
        return chunk(other, count)


def chunk(mounted: Mounted, count: int) -> tuple[float, float]:
    """Make and remove a directory `count` times; microseconds of time and of daemon CPU each."""
    assert mounted.pid is not None
    path = os.fspath(mounted.directory / "d")
    cpu, start = cpu_seconds(mounted.pid), time.perf_counter()
    for _ in range(count):
        os.mkdir(path)
        os.rmdir(path)
    seconds = time.perf_counter() - start
    return seconds / count * 1e6, (cpu_seconds(mounted.pid) - cpu) / count * 1e6


def ratio(taken: Taken, state: str, position: int) -> float:
    """Return the median over the rounds of a state's figure by that of the one never looked at."""
    pairs = zip(taken[state], taken[STATES[0]], strict=True)
    return median(mine[position] / base[position] for mine, base in pairs)


def make_sheet(taken: Taken) -> Sheet:
    """Return a line per state."""
    lines = [
        [
            state,
            *(f"{median(each[position] for each in taken[state]):.1f}" for position in (0, 1)),
            *(f"{ratio(taken, state, position):.3f}" for position in (0, 1)),
        ]
        for state in STATES
    ]
    note = f"target: {STATES[2]} at most {LIMIT_UNSEEN} in CPU; ratios are medians of each round's"
    header = ["mkdir + rmdir", "µs", "daemon CPU µs", "ratio of time", "ratio of CPU"]
    return Sheet("What vfsd top costs", header, lines, [note])


if __name__ == "__main__":
    sys.exit(main())
