"""How much a compiled serving loop could save: `python benchmarks/bound.py`.

Between two requests that wait already, the loop is an open lock and one poll(2) (waiting.py). What
a loop in C could save is what this takes beyond the bare system call, which it would make as well;
that is measured alone, in CPU time, and laid over the daemon's CPU time per request, of vfsd and of
file systems in C. Handlers, libfuse and the kernel are no part of the loop.

Concurrency: one client process at a time; the loop is measured in this process, without a mount.
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
import trio
from catalogue import choose
from experiment import say, start_all
from measure import Placement, cpu_seconds
from systems import Mounted
from table import Sheet, markdown, show
from workspace import workspace

sys.path.insert(0, str(machine.REPOSITORY))

from vfsd.fuse.triointernals import bind
from vfsd.fuse.waiting import OpenLock, Waiting

SYSTEMS = "vfsd,fuse-overlayfs,bindfs"
LOADS = ("stat", "read", "write", "make")
WAITS = 200_000


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="What a compiled serving loop could save.")
    parser.add_argument("--systems", default=SYSTEMS, help="comma-separated; vfsd among them")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--milliseconds", type=int, default=700, help="of each load")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    options = parser.parse_args()
    caption = f"{machine.describe()}. {options.rounds} rounds."
    spent: dict[tuple[str, str], list[float]] = {}
    loops, bares = [], []
    with workspace() as root, ExitStack() as stack:
        programs = {name: compiled(name, root) for name in ("load", "poll")}
        systems = choose(options.systems)
        live, missing = start_all(systems, root, Placement.named("free"), stack)
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            loops.append(trio.run(loop_us))
            bares.append(float(subprocess.check_output([str(programs["poll"])])) / 1000)
            for mounted in live:
                for load in LOADS:
                    each = request_us(programs["load"], load, mounted, options.milliseconds)
                    spent.setdefault((load, mounted.system.name), []).append(each)
    names = [mounted.system.name for mounted in live]
    saved = median(loops) - median(bares)
    lines = []
    for load in LOADS:
        taken = [median(spent[load, name]) for name in names]
        ours = taken[names.index("vfsd")]
        requests = 2 if load == "make" else 1
        share = saved * requests / ours
        lines.append([load, *(f"{each:.1f}" for each in taken), f"{share * 100:.1f} %"])
    notes = [f"without {name}: {reason}" for name, reason in missing.items()]
    notes.append(
        f"lock and wait of one request {median(loops):.2f} µs, poll(2) alone {median(bares):.2f}:"
        f" a loop in C saves at most {saved:.2f}"
    )
    header = ["load", *names, "a loop in C saves at most"]
    sheet = Sheet("Daemon CPU microseconds per call, and what is the loop's", header, lines, notes)
    print(caption + "\n")
    show(sheet)
    if options.record:
        machine.record(options.record, f"{caption}\n\n{markdown(sheet)}")
    return 0


def compiled(name: str, root: Path) -> Path:
    """Compile a program that stands beside this one."""
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-o", str(root / name), str(source)], check=True)
    return root / name


async def loop_us() -> float:
    """Return what a worker's lock and wait take while requests wait, in CPU microseconds."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    lock, waiting = OpenLock(), Waiting(reader, bind(), 0, WAITS * 2)
    start = time.process_time()
    for _ in range(WAITS):
        async with lock:
            await waiting.wait_readable(reader)
    took = time.process_time() - start
    waiting.close()
    os.close(reader)
    os.close(writer)
    return took / WAITS * 1e6


def request_us(program: Path, load: str, mounted: Mounted, milliseconds: int) -> float:
    """Return the daemon's CPU microseconds per call of a load."""
    assert mounted.pid is not None
    before = cpu_seconds(mounted.pid)
    done = subprocess.run(
        [str(program), load, "1", str(milliseconds)],
        cwd=mounted.directory,
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    return (cpu_seconds(mounted.pid) - before) / int(done.stdout.split()[0]) * 1e6


if __name__ == "__main__":
    sys.exit(main())
