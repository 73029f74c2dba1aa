"""How long a snapshot and a fork take, by the number of files: they should not care.

For each number of files, in this process and on this disk:

- memory: `snapshot()` and `fork()` of a memory provider, and the first write into a fork;
- daemon: the same through a daemon's control socket (livesnapshots.py);
- store: `save_directory` of a layer with so many new files, and a lease on the snapshot with the
  directories that an engine mounts.

Each is repeated, the numbers of files in turn, so that a busy moment falls on all. The figure is
the median; the plot (SVG, both axes logarithmic) shows all of them in one picture.

    python benchmarks/snapshots.py [--files 1000,10000,100000] [--plot FILE.svg] [--record TITLE]

Concurrency: one thread; nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import livesnapshots  # noqa: E402
import machine  # noqa: E402
import trio  # noqa: E402
from plot import Series, plot  # noqa: E402
from table import Sheet, markdown, show  # noqa: E402

from vfsd.assembly import open_provider  # noqa: E402
from vfsd.attributes import Identity  # noqa: E402
from vfsd.contract import Provider  # noqa: E402
from vfsd.snapshots.collection import remove  # noqa: E402
from vfsd.snapshots.store import Store  # noqa: E402

FILES = "1000,10000,100000"
ROUNDS = 21
PER_DIRECTORY = 100
LIMIT_MS = 10.0
LIMIT_SAVE_MS = 50.0
"""Saving may look at a name or two on disk; forking in memory may not."""

Times = dict[str, dict[int, list[float]]]


def main() -> int:
    """Measure, print, plot; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Times of snapshots and forks by size.")
    parser.add_argument("--files", default=FILES, help="numbers of files, joined by commas")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--place", help="where the store is made; by default $TMPDIR")
    parser.add_argument("--plot", metavar="FILE", help="write an SVG")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    options = parser.parse_args()
    counts = [int(text) for text in options.files.split(",")]
    caption = machine.describe()
    taken: Times = {}
    trio.run(measure_memory, counts, options.rounds, taken)
    with tempfile.TemporaryDirectory(dir=options.place) as place:
        _say("filling daemons")
        note = partial(_note, taken)
        livesnapshots.measure(Path(place), counts, options.rounds, note)
        measure_store(Path(place), counts, options.rounds, taken)
    sheet, missed = _sheet(counts, taken)
    print(caption + "\n")
    show(sheet)
    if options.plot:
        lines = [
            Series(name, [(count, statistics.median(times[count])) for count in counts])
            for name, times in taken.items()
        ]
        Path(options.plot).write_text(plot(lines, "files", "milliseconds"))
    if options.record:
        machine.record(options.record, f"{caption}\n\n{markdown(sheet)}")
    return int(missed)


async def measure_memory(counts: list[int], rounds: int, taken: Times) -> None:
    """Time a memory provider of each size, in turn."""
    trees = {}
    for count in counts:
        _say(f"making {count:,} files in memory")
        trees[count] = await _filled(count)
    _say("timing")
    for _ in range(rounds):
        for count, tree in trees.items():
            frozen = _timed(taken, "memory: snapshot", count, tree.snapshot)
            fork = _timed(taken, "memory: fork", count, frozen.fork)
            started = time.perf_counter()
            await _make(fork, fork.root, b"new")
            _note(taken, "memory: first file in a fork", count, started)
            # The tree changes between snapshots, as a tree in use does.
            await _make(tree, tree.root, b"change-%d" % time.perf_counter_ns())
            await fork.aclose()
            await frozen.aclose()
    for tree in trees.values():
        await tree.aclose()


def measure_store(place: Path, counts: list[int], rounds: int, taken: Times) -> None:
    """Time saving a layer of each size, in turn: it is taken out again each time."""
    base = place / "base"
    base.mkdir()
    uppers = {}
    for count in counts:
        _say(f"making {count:,} files on disk")
        uppers[count] = _upper(place / f"upper-{count}", count)
    store = Store(str(place / "store"))
    _say("timing")
    for _ in range(rounds):
        for count, upper in uppers.items():
            saved = _timed(
                taken,
                "store: save a directory",
                count,
                lambda upper=upper: store.save_directory("s", str(upper), base=str(base)),
            )
            with _timed(taken, "store: lease for a fork", count, lambda: store.lease("s")) as lease:
                _timed(taken, "store: directories of a fork", count, lease.lowerdirs)
            os.rename(store.place.layer(saved.chain[0], "tree"), upper)
            remove(store, "s")
    for upper in uppers.values():
        shutil.rmtree(upper)


async def _filled(count: int) -> Provider:
    tree = await open_provider("memory", {"size": "64G", "inodes": str(2 * count + 10_000)})
    for number in range(0, count, PER_DIRECTORY):
        entry = await tree.mkdir(tree.root, b"d%d" % number, 0o755, Identity(0, 0))
        for each in range(min(PER_DIRECTORY, count - number)):
            await _make(tree, entry.node, b"f%d" % each)
    return tree


async def _make(tree: Provider, parent, name: bytes) -> None:
    await tree.mknod(parent, name, 0o100644, 0, Identity(0, 0))


def _upper(upper: Path, count: int) -> Path:
    for number in range(0, count, PER_DIRECTORY):
        parent = upper / "node_modules" / f"package-{number}"
        parent.mkdir(parents=True)
        for each in range(min(PER_DIRECTORY, count - number)):
            (parent / f"{each}.js").write_text("module.exports = 1\n")
    return upper


def _timed(taken: Times, name: str, count: int, call: Callable):
    started = time.perf_counter()
    result = call()
    _note(taken, name, count, started)
    return result


def _note(taken: Times, name: str, count: int, started: float) -> None:
    spent_ms = (time.perf_counter() - started) * 1000
    taken.setdefault(name, {}).setdefault(count, []).append(spent_ms)


def _sheet(counts: list[int], taken: Times) -> tuple[Sheet, bool]:
    lines = []
    missed = False
    for name, times in taken.items():
        medians = [statistics.median(times[count]) for count in counts]
        limit = LIMIT_SAVE_MS if name.startswith("store: save") else LIMIT_MS
        met = max(medians) <= limit
        missed = missed or not met
        growth = medians[-1] / medians[0]
        shown = [f"{median:.3f}" for median in medians]
        verdict = "met" if met else "missed"
        lines.append([name, *shown, f"{growth:.1f}x", f"{limit:.0f}", verdict])
    heads = ["what", *(f"{count:,} files" for count in counts), "last / first", "at most", ""]
    return Sheet("Milliseconds, median", heads, lines, []), missed


def _say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
