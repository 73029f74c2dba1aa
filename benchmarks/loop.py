"""Times single requests through pyfuse3's own loop and through the serving loop.

Run as `python benchmarks/loop.py [--calls N] [--rounds N]`. The file system is the small one
of the loop's tests (tests/fuse/loopfs.py): its handlers do next to nothing, so the loop is
what is compared. Client and daemon are timed left alone and pinned on one CPU together. The
loops take turns in each round, and the median round counts; ratios are to the stock loop of
the same placement.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fuse.loopserver import Server, serving

LOOPS: dict[str, dict] = {
    "stock": {"loop": "stock"},
    "ours, poll 0": {"loop": "ours", "poll_us": 0},
    "ours, poll 50": {"loop": "ours", "poll_us": 50},
}


def getattr_(path: str, calls: int) -> None:
    fd = os.open(path, os.O_RDONLY)
    for _ in range(calls):
        os.fstat(fd)
    os.close(fd)


def lookup_miss(path: str, calls: int) -> None:
    access, absent = os.access, path + "-absent"
    for _ in range(calls):
        access(absent, os.F_OK)


def create(path: str, calls: int) -> None:
    for number in range(calls):
        os.close(os.open(f"{path}{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def open_close(path: str, calls: int) -> None:
    for _ in range(calls):
        os.close(os.open(path, os.O_RDONLY))


CALLS: dict[str, Callable[[str, int], None]] = {
    "getattr": getattr_,
    "lookup miss": lookup_miss,
    "create": create,
    "open+close": open_close,
}


def microseconds(server: Server, call: Callable[[str, int], None], calls: int, tag: str) -> float:
    path = server.mountpoint / f"file{tag}"
    path.touch()
    call(str(path), calls // 10)
    path = server.mountpoint / f"file{tag}-timed"
    path.touch()
    start = time.perf_counter()
    call(str(path), calls)
    return (time.perf_counter() - start) / calls * 1e6


def measure(calls: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return µs per call by kind of call and loop, one number for each round."""
    times: dict[str, dict[str, list[float]]] = {
        kind: {loop: [] for loop in LOOPS} for kind in CALLS
    }
    with ExitStack() as stack:
        servers = {}
        for loop, settings in LOOPS.items():
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            servers[loop] = stack.enter_context(serving(directory, **settings))
        for number in range(rounds):
            for kind, call in CALLS.items():
                for loop, server in servers.items():
                    tag = f"{kind}{number}"
                    times[kind][loop].append(microseconds(server, call, calls, tag))
        for server in servers.values():
            server.finish()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    cpus = os.sched_getaffinity(0)
    print(f"kernel {platform.release()}, Python {platform.python_version()}, {len(cpus)} CPUs")
    print("µs per call (ratio to the stock loop)")
    for placement, affinity in {"left alone": cpus, "one CPU": {min(cpus)}}.items():
        os.sched_setaffinity(0, affinity)
        times = measure(options.calls, options.rounds)
        print(f"\n{placement:12}" + "".join(f"{loop:>20}" for loop in LOOPS))
        for kind, by_loop in times.items():
            medians = {loop: statistics.median(each) for loop, each in by_loop.items()}
            cells = [f"{each:.1f} ({each / medians['stock']:.2f})" for each in medians.values()]
            print(f"{kind:12}" + "".join(f"{cell:>20}" for cell in cells))
    os.sched_setaffinity(0, cpus)


if __name__ == "__main__":
    main()
