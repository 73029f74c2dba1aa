"""What vfsd's own code costs per request, without a kernel: `python benchmarks/handlers.py`.

Calls the handlers of a mount that is not mounted, over the memory provider, in one process; so what
is measured is our handlers and the provider, and neither pyfuse3, libfuse nor the kernel. The
least of the rounds, in CPU time: a busy machine hardly shows. To compare two states of the code,
give the other one's checkout: `--against DIR` runs it in turn, round after round.

Concurrency: one process; none of these handlers suspends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import machine
from table import Sheet, markdown, show

FILES = 3000
Times = dict[str, float]


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description="Microseconds of each handler, in one process.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--against", metavar="DIR", type=Path, help="another checkout")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure()))
        return 0
    places = [machine.REPOSITORY, *([options.against] if options.against else [])]
    taken: list[list[Times]] = [[] for _ in places]
    for _ in range(options.rounds):
        for place, rounds in zip(places, taken, strict=True):
            rounds.append(one_round(place))
    best = [{kind: min(each[kind] for each in rounds) for kind in rounds[0]} for rounds in taken]
    lines = [
        [kind, *(f"{each[kind]:.2f}" for each in best)]
        + ([f"{best[0][kind] / best[1][kind]:.2f}"] if options.against else [])
        for kind in best[0]
    ]
    header = ["handler", "µs", *(["against", "ratio"] if options.against else [])]
    sheet = Sheet("CPU microseconds per call of a handler, the least", header, lines, [])
    print(machine.describe() + "\n")
    show(sheet)
    if options.record:
        machine.record(options.record, f"{machine.describe()}\n\n{markdown(sheet)}")
    return 0


def one_round(place: Path) -> Times:
    """Measure the code in a checkout, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", __file__, "--once"],
        env={**os.environ, "PYTHONPATH": f"{place}:{Path(__file__).parent}"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: Times = json.loads(done.stdout)
    return found


def measure() -> Times:
    """Return the CPU microseconds of each handler."""
    from providers.memory import MemoryProvider
    from vfsd.attributes import Identity
    from vfsd.fuse.operations import Operations
    from vfsd.handles import HandleTable
    from vfsd.tree import Tree

    tree = Tree(MemoryProvider())
    serve = Operations(tree, HandleTable())
    tree.subscribe(serve.door)  # as a session does: it is asked whether the kernel keeps a file
    caller: Any = Identity(0, 0, 1)
    names = [b"file-%d" % number for number in range(FILES)]
    found: Times = {}

    def timed(
        kind: str, call: Callable[[Any], Coroutine[Any, Any, Any]], over: Iterable[Any]
    ) -> Any:
        start = time.process_time_ns()
        results = [run(call(each)) for each in over]
        found[kind] = (time.process_time_ns() - start) / len(results) / 1000
        return results

    flags = os.O_WRONLY | os.O_CREAT
    timed("lookup of nothing", lambda name: serve.lookup(1, name, caller), names)
    made = timed("create", lambda name: serve.create(1, name, 0o644, flags, caller), names)
    data = bytes(4096)
    timed("write 4 KiB", lambda each: serve.write(each[0].fh, 0, data), made)
    timed("release", lambda each: serve.release(each[0].fh), made)
    timed("getattr", lambda each: serve.getattr(each[1].st_ino, caller), made)
    timed("lookup", lambda name: serve.lookup(1, name, caller), names)
    opened = timed("open", lambda each: serve.open(each[1].st_ino, os.O_RDONLY, caller), made)
    timed("read 4 KiB", lambda each: serve.read(each.fh, 0, 4096), opened)
    for each in opened:
        run(serve.release(each.fh))
    timed("rename", lambda name: serve.rename(1, name, 1, name + b"-", 0, caller), names)
    timed("unlink", lambda name: serve.unlink(1, name + b"-", caller), names)
    timed("forget", lambda each: serve.forget([(each[1].st_ino, 2)]), made)
    timed("mkdir", lambda name: serve.mkdir(1, name, 0o755, caller), names)
    timed("rmdir", lambda name: serve.rmdir(1, name, caller), names)
    return found


def run(handler: Coroutine[Any, Any, Any]) -> Any:
    """Run a handler that does not suspend to its end."""
    try:
        handler.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("the handler suspended")


if __name__ == "__main__":
    sys.exit(main())
