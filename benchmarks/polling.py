"""What polling costs others: an idle minute, and neighbours that compute on every CPU.

vfsd polls for some 50 microseconds before it sleeps (`poll_us`; vfsd-no-poll has it off), its peers
do not. `python benchmarks/polling.py` tells of each:

- the CPU share of the daemon over a minute in which nobody asks, after a burst: at most 0.1 %;
- the share of its CPU that a neighbour who only computes gets, one on each CPU: alone, beside a
  daemon that is asked a thousand times per second, and beside one that is asked without a pause;
- how often vfsd polled for all of this: not once with poll_us=0.

Concurrency: one client (this process) and the neighbours; the idle minute is the same for all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import machine
from catalogue import choose
from experiment import say, start_all
from measure import Placement, cpu_seconds
from systems import Mounted
from table import Sheet, markdown, show
from workspace import workspace

sys.path.insert(0, str(machine.REPOSITORY))

from vfsd import client

SYSTEMS = "vfsd,vfsd-no-poll,fuse-overlayfs,bindfs"
LIMIT_IDLE_SHARE = 0.001
BURST = 2_000
PACE_S = 0.001
NEIGHBOUR = """
import sys, time
end = time.perf_counter() + float(sys.argv[1])
while time.perf_counter() < end:
    pass
print(time.process_time())
"""
"""Computes for so many seconds; tells how much CPU time it got."""


def main() -> int:
    """Measure and print; return 1 if an idle vfsd is not idle, or polls though it must not."""
    parser = argparse.ArgumentParser(description="What polling costs others.")
    parser.add_argument("--systems", default=SYSTEMS, help="comma-separated")
    parser.add_argument("--idle", type=float, default=60, help="seconds")
    parser.add_argument("--rounds", type=int, default=3, help="of the neighbour's")
    parser.add_argument("--seconds", type=float, default=1, help="of each of the neighbour's turns")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    options = parser.parse_args()
    caption = f"{machine.describe()}. {options.rounds} rounds."
    with workspace() as root, ExitStack() as stack:
        live, missing = start_all(choose(options.systems), root, Placement.named("free"), stack)
        shares: dict[tuple[str, str], list[float]] = {}
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            for mounted in live:
                for title, pace in (("a pause", PACE_S), ("none", 0.0)):
                    found = beside(mounted, options.seconds, pace)
                    shares.setdefault((title, mounted.system.name), []).append(found)
        alone = share(start_neighbours(options.seconds), options.seconds)
        say(f"idle for {options.idle:.0f} s")
        idle = measure_idle(live, options.idle)
        spun = {mounted.system.name: spins(mounted) for mounted in live}
    names = [mounted.system.name for mounted in live]
    lines = [
        ["CPU share of the daemon, idle", *(f"{idle[name]:.5f}" for name in names)],
        ["neighbour's share, daemon not asked", *(f"{alone:.2f}" for _ in names)],
    ]
    for title, words in (("a pause", "asked 1,000 times per second"), ("none", "asked always")):
        cells = [f"{median(shares[title, name]):.2f}" for name in names]
        lines.append([f"neighbour's share, daemon {words}", *cells])
    lines.append(["polls", *(str(spun[name]) for name in names)])
    notes = [f"without {name}: {reason}" for name, reason in missing.items()]
    ours = [mounted.system.name for mounted in live if mounted.system.language == "vfsd"]
    met = all(idle[name] <= LIMIT_IDLE_SHARE for name in ours) and spun.get("vfsd-no-poll", 0) == 0
    notes.append(f"idle at most {LIMIT_IDLE_SHARE}, no poll when off: {'met' if met else 'missed'}")
    sheet = Sheet("What polling costs others", ["", *names], lines, notes)
    print(caption + "\n")
    show(sheet)
    if options.record:
        machine.record(options.record, f"{caption}\n\n{markdown(sheet)}")
    return int(not met)


def ask(directory: Path, seconds: float, pace_s: float) -> None:
    """Ask the daemon of `directory` for so long, with a pause after each request."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        os.statvfs(directory)
        if pace_s:
            time.sleep(pace_s)


def start_neighbours(seconds: float) -> list[subprocess.Popen[bytes]]:
    """Start who computes, one on each CPU."""
    started = []
    for cpu in os.sched_getaffinity(0):
        command = [sys.executable, "-S", "-E", "-c", NEIGHBOUR, str(seconds)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        os.sched_setaffinity(started[-1].pid, {cpu})
    return started


def share(started: list[subprocess.Popen[bytes]], seconds: float) -> float:
    """Wait for the neighbours; return the share of its CPU that one got, their mean."""
    got = [float(process.communicate(timeout=60)[0]) for process in started]
    return sum(got) / len(got) / seconds


def beside(mounted: Mounted, seconds: float, pace_s: float) -> float:
    """Return the neighbours' share while the daemon is asked."""
    started = start_neighbours(seconds)
    ask(mounted.directory, seconds + 0.1, pace_s)
    return share(started, seconds)


def measure_idle(live: list[Mounted], seconds: float) -> dict[str, float]:
    """Ask all of them a little, then nothing; return the share of a CPU that each used."""
    for mounted in live:
        for _ in range(BURST):
            os.statvfs(mounted.directory)
    time.sleep(1)
    before = {each.system.name: cpu_seconds(each.pid) for each in live if each.pid}
    time.sleep(seconds)
    return {
        each.system.name: (cpu_seconds(each.pid) - before[each.system.name]) / seconds
        for each in live
        if each.pid
    }


def spins(mounted: Mounted) -> int | str:
    """Return how often vfsd polled; "-" for the others."""
    if mounted.system.language != "vfsd":
        return "-"
    with client.connect(mounted.directory) as tree:
        return int(tree.status()["serving_loop"]["spins"])


if __name__ == "__main__":
    sys.exit(main())
