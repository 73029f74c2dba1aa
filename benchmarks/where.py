"""Where the time of a request goes, from a profile: `python benchmarks/where.py`.

For each load of load.c and each provider, py-spy looks at the daemon's stack, C frames included,
some hundred times per second; each look counts for the part that the innermost frames belong to.
The shares are laid over the daemon's CPU time per request, which is measured on its own before,
for looking stops the daemon each time.

Parts: what the kernel does in read(2) and writev(2) on /dev/fuse, and in poll(2) and
sched_yield(2) between two requests; libfuse with the shim; pyfuse3; trio; our serving loop, our
handlers, the provider. Sleep is no part: it costs nothing.

Concurrency: one client process at a time. Needs root, or a ptrace scope that permits it.
Source: py-spy(1), `record --native --format raw`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import downloads
import machine
from catalogue import choose
from experiment import say, start_all
from measure import Placement, cpu_seconds
from systems import Mounted
from table import Sheet, markdown, show
from workspace import workspace

LOADS = ("stat", "read", "write", "make")
SYSTEMS = "vfsd,vfsd-passthrough,vfsd-overlay"
LOOKS_PER_SECOND = 200
CALLS = {"read": "kernel: read(2) of the request", "writev": "kernel: writev(2) of the reply"}
CALLS |= {
    "poll": "kernel: poll(2), sched_yield(2)",
    "sched_yield": "kernel: poll(2), sched_yield(2)",
}
CALLS |= {
    name: "kernel: calls of the provider" for name in ("pread64", "pwrite64", "pread", "pwrite")
}
PLACES = (
    ("libfuse3.so", "libfuse and shim"),
    ("_shim.so", "libfuse and shim"),
    ("providers/", "provider"),
    ("vfsd/fuse/waiting.py", "our serving loop"),
    ("vfsd/fuse/servingloop.py", "our serving loop"),
    ("vfsd/", "our handlers"),
    ("trio/", "trio"),
    ("pyfuse3", "pyfuse3"),
    (".pyx", "pyfuse3"),
    (".pxi", "pyfuse3"),
)
"""What a frame's text holds, and the part it is; the innermost frame that is any counts."""
SLEEPING = "Waiting._sleep"
OTHER = "other"


def main() -> int:
    """Profile and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Where the time of a request goes.")
    parser.add_argument("--systems", default=SYSTEMS, help="comma-separated; vfsd's own")
    parser.add_argument("--loads", default=",".join(LOADS), help="comma-separated")
    parser.add_argument("--seconds", type=int, default=5, help="of each profile")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    options = parser.parse_args()
    if reason := downloads.py_spy_missing():
        say(f"without py-spy there is no profile: {reason}")
        return 1
    caption = machine.describe()
    sheets = []
    with workspace() as root, ExitStack() as stack:
        program = root / "load"
        source = Path(__file__).with_name("load.c")
        subprocess.run(["gcc", "-O2", "-Wall", "-o", str(program), str(source)], check=True)
        live, _ = start_all(choose(options.systems), root, Placement.named("free"), stack)
        for mounted in live:
            loads = options.loads.split(",")
            found = {load: profile(program, load, mounted, options.seconds, root) for load in loads}
            sheets.append(make_sheet(mounted.system.name, found))
    print(caption + "\n")
    for sheet in sheets:
        show(sheet)
    if options.record:
        machine.record(options.record, "\n".join([caption, "", *map(markdown, sheets)]))
    return 0


def profile(
    program: Path, load: str, mounted: Mounted, seconds: int, root: Path
) -> dict[str, float]:
    """Return microseconds of daemon CPU per call of `load`, by part."""
    say(f"{mounted.system.name}: {load}")
    pid = mounted.pid
    assert pid is not None
    command = [str(program), load, "1"]
    before = cpu_seconds(pid)
    plain = subprocess.run(
        [*command, "1500"], cwd=mounted.directory, stdout=subprocess.PIPE, check=True
    )
    each_us = (cpu_seconds(pid) - before) / int(plain.stdout.split()[0]) * 1e6
    told = root / "stacks"
    look = [str(downloads.py_spy()), "record", "--pid", str(pid), "--native", "--format", "raw"]
    with subprocess.Popen(
        [*command, str((seconds + 4) * 1000)], cwd=mounted.directory, stdout=subprocess.DEVNULL
    ) as busy:
        time.sleep(0.2)
        subprocess.run(
            [*look, "-d", str(seconds), "-r", str(LOOKS_PER_SECOND), "-o", str(told)],
            check=True,
            capture_output=True,
            timeout=seconds * 10 + 60,
        )
        busy.kill()
    looks = count(told.read_text(errors="replace").splitlines())
    total = max(sum(looks.values()), 1)
    return {part: each_us * share / total for part, share in looks.items()}


def count(lines: list[str]) -> Counter[str]:
    """Return how many looks each part got; a line is frames, outermost first, and a number."""
    looks: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.rpartition(" ")
        if SLEEPING not in stack:
            looks[part_of(stack.split(";"))] += int(number)
    return looks


def part_of(frames: list[str]) -> str:
    """Return the part that the innermost frame of a known place belongs to."""
    innermost = frames[-1].partition(" ")[0].removeprefix("__GI___").removeprefix("__")
    if "libc.so" in frames[-1] and innermost in CALLS:
        return CALLS[innermost]
    for frame in reversed(frames):
        for text, part in PLACES:
            if text in frame:
                return part
    return OTHER


def make_sheet(name: str, found: dict[str, dict[str, float]]) -> Sheet:
    """Return a line per part, a column per load, and the sum."""
    parts = dict.fromkeys([*CALLS.values(), *(part for _, part in PLACES), OTHER])
    lines = [
        [part, *(f"{each.get(part, 0):.1f}" for each in found.values())]
        for part in parts
        if any(part in each for each in found.values())
    ]
    lines.append(["sum", *(f"{sum(each.values()):.1f}" for each in found.values())])
    title = f"{name}: daemon CPU microseconds per call, by part"
    note = "make is two calls that are three requests or four; polling between requests is in poll"
    return Sheet(title, ["part", *found], lines, [note])


if __name__ == "__main__":
    sys.exit(main())
