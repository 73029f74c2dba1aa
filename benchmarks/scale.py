"""Many files: is the cost of each flat in how many there are? `python benchmarks/scale.py`.

Makes trees of growing size (a hundredth, a tenth, all of `--files`) in vfsd's memory provider, each
in a daemon of its own, and takes time and the daemon's CPU time per file: create, list, stat, open
and close, rename, create beside a live snapshot, remove; a live snapshot in all; and the daemon's
RSS per file. Flat means: the largest tree's CPU time, or memory, is at most 1.5 times the smallest
one's; CPU time, because that is the daemon's own and the same on a busy machine. Then, once each:
one directory of 200,000 entries beside one of 2,000, a sparse file of 64 GiB, 10,000 open files.

Concurrency: one client process; nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import machine
from catalogue import choose
from experiment import say
from measure import Placement, can_drop_caches, cpu_seconds, drop_caches, rss_bytes
from systems import Mounted, running
from table import Sheet, markdown, show
from workspace import workspace

sys.path.insert(0, str(machine.REPOSITORY))

from vfsd import client

FILES = 1_000_000
PER_DIRECTORY = 1_000
WIDE, NARROW = 200_000, 2_000
HANDLES = 10_000
SPARSE_BYTES = 64 << 30
HOLE_BYTES = 256 << 20
SAMPLE = 20_000
"""Files that are looked at one by one in each tree, spread over it."""
FLAT = 1.5
Figures = dict[str, tuple[float, float | None]]
"""What was measured, by its name: the figure, and the daemon's CPU part of it where it is time."""


def main() -> int:
    """Measure and print; return 1 if something is not flat or did not work."""
    parser = argparse.ArgumentParser(description="Costs by the number of files.")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--wide", type=int, default=WIDE, help="entries of the wide directory")
    parser.add_argument("--handles", type=int, default=HANDLES, help="files open at a time")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    options = parser.parse_args()
    (vfsd,) = choose("vfsd")
    caption = machine.describe()
    sizes = sorted({max(options.files // part, 1) for part in (100, 10, 1)})
    trees, others = [], []
    with workspace() as root:
        placement = Placement.named("free")
        for size in sizes:
            say(f"a tree of {size:,} files")
            with running(vfsd, root / f"tree-{size}", placement) as mounted:
                trees.append(measure_tree(mounted, size))
        for size in (options.wide // 100, options.wide):
            say(f"a directory of {size:,} entries")
            with running(vfsd, root / f"wide-{size}", placement) as mounted:
                others.append(measure_directory(mounted, size))
        with running(vfsd, root / "single", placement) as mounted:
            say("a sparse file, and many open ones")
            single = [*measure_sparse(mounted), *measure_handles(mounted, options.handles)]
    sheets = [
        compare("A tree in memory, by its number of files", sizes, trees),
        compare("One directory", [options.wide // 100, options.wide], others),
        Sheet("Once", ["what", "is"], single, []),
    ]
    print(caption + "\n")
    for sheet in sheets:
        show(sheet)
    if options.record:
        machine.record(options.record, "\n".join([caption, "", *map(markdown, sheets)]))
    return int(any(line[-1] == "not flat" for sheet in sheets for line in sheet.lines))


def paths_of(root: Path, files: int) -> list[str]:
    """Return the paths of the tree's files."""
    return [f"{root}/d{number // PER_DIRECTORY:05}/f{number}" for number in range(files)]


@contextmanager
def timed(mounted: Mounted, found: Figures, name: str, each: float) -> Iterator[None]:
    """Note what the body takes, in time and in the daemon's CPU time, times `each`."""
    assert mounted.pid is not None
    cpu, start = cpu_seconds(mounted.pid), time.perf_counter()
    yield
    took = time.perf_counter() - start
    found[name] = (took * each, (cpu_seconds(mounted.pid) - cpu) * each)


def per_call(
    mounted: Mounted,
    found: Figures,
    name: str,
    work: Callable[[str], object],
    paths: list[str],
) -> None:
    """Call `work` with each path; note microseconds per call."""
    with timed(mounted, found, f"{name} µs", 1e6 / len(paths)):
        for path in paths:
            work(path)


def make(path: str) -> None:
    """Make an empty file."""
    os.mknod(path, 0o644)


def measure_tree(mounted: Mounted, files: int) -> Figures:
    """Make, use and remove one tree."""
    assert mounted.pid is not None
    root = mounted.directory
    paths = paths_of(root, files)
    sample = paths[:: max(files // SAMPLE, 1)]
    found: Figures = {}
    empty = rss_bytes(mounted.pid)
    with timed(mounted, found, "create µs", 1e6 / files):
        for number in range(0, files, PER_DIRECTORY):
            os.mkdir(f"{root}/d{number // PER_DIRECTORY:05}")
            for path in paths[number : number + PER_DIRECTORY]:
                make(path)
    found["RSS bytes per file"] = ((rss_bytes(mounted.pid) - empty) / files, None)
    forget(root)
    with timed(mounted, found, "list µs per entry", 1e6 / files):
        count = sum(len(os.listdir(f"{root}/{name}")) for name in os.listdir(root))
    assert count == files
    forget(root)
    per_call(mounted, found, "stat", os.stat, sample)
    per_call(mounted, found, "open and close", lambda path: os.close(os.open(path, 0)), sample)
    per_call(mounted, found, "rename", lambda path: os.rename(path, path + "-"), sample)
    for path in sample:
        os.rename(path + "-", path)
    with client.connect(root) as tree:
        with timed(mounted, found, "live snapshot ms", 1e3):
            tree.snapshots.create("frozen")
        per_call(mounted, found, "create after it", make, [f"{path}-new" for path in sample])
        for path in sample:
            os.unlink(f"{path}-new")
        tree.snapshots.remove("frozen")
    per_call(mounted, found, "remove", os.unlink, paths)
    return found


def measure_directory(mounted: Mounted, entries: int) -> Figures:
    """Make, list, search and empty one directory."""
    wide = mounted.directory / "wide"
    wide.mkdir()
    paths = [f"{wide}/entry-{number}" for number in range(entries)]
    sample = paths[:: max(entries // SAMPLE, 1)]
    found: Figures = {}
    per_call(mounted, found, "create", make, paths)
    forget(mounted.directory)
    with timed(mounted, found, "list µs per entry", 1e6 / entries):
        assert len(os.listdir(wide)) == entries
    forget(mounted.directory)
    per_call(mounted, found, "stat", os.stat, sample)
    with (
        client.connect(mounted.directory) as tree,
        timed(mounted, found, "list by the socket µs per entry", 1e6 / entries),
    ):
        assert len(tree.listdir("wide")) == entries
    with timed(mounted, found, "rm -rf µs per entry", 1e6 / entries):
        subprocess.run(["rm", "-rf", str(wide)], check=True)
    assert not wide.exists()
    return found


def measure_sparse(mounted: Mounted) -> list[list[str]]:
    """Write at the ends of a file of 64 GiB, and read there and in between."""
    assert mounted.pid is not None
    before, start = rss_bytes(mounted.pid), time.perf_counter()
    fd = os.open(mounted.directory / "sparse", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"begin", 0)
    os.pwrite(fd, b"end", SPARSE_BYTES - 3)
    assert os.fstat(fd).st_size == SPARSE_BYTES
    assert os.pread(fd, 5, 0) == b"begin"
    assert os.pread(fd, 4096, SPARSE_BYTES // 2) == bytes(4096)
    assert os.pread(fd, 9, SPARSE_BYTES - 3) == b"end"
    took = (time.perf_counter() - start) * 1e3
    path = mounted.directory / "sparse"
    du = subprocess.run(["du", "-k", path], check=True, capture_output=True, text=True).stdout
    start = time.perf_counter()
    for offset in range(HOLE_BYTES, HOLE_BYTES * 2, 1 << 20):
        assert not any(os.pread(fd, 1 << 20, offset)[:: PER_DIRECTORY * 4])
    hole = (time.perf_counter() - start) * 1e3
    os.truncate(path, 1)
    os.close(fd)
    grown = rss_bytes(mounted.pid) - before
    what = "a sparse file of 64 GiB, written and read at both ends and between"
    return [
        [what, f"{took:.1f} ms, du {du.split()[0]} KiB"],
        ["reading 256 MiB of its hole", f"{hole:.0f} ms"],
        ["RSS after all of this, and cutting it to a byte", f"+{grown >> 10} KiB"],
    ]


def measure_handles(mounted: Mounted, count: int) -> list[list[str]]:
    """Hold many files open at a time; compare the first thousand with the last."""
    assert mounted.pid is not None
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + 100, hard), hard))
    before, fds, took = rss_bytes(mounted.pid), [], []
    for number in range(count):
        path, start = mounted.directory / f"open-{number}", time.perf_counter()
        fds.append(os.open(path, os.O_RDWR | os.O_CREAT))
        took.append(time.perf_counter() - start)
    each = (rss_bytes(mounted.pid) - before) / count
    part = max(count // 10, 1)
    first, last = sum(took[:part]) / part * 1e6, sum(took[-part:]) / part * 1e6
    descriptors = len(os.listdir(f"/proc/{mounted.pid}/fd"))
    with client.connect(mounted.directory) as tree:
        held = tree.status()["open_handles"]
    for number, fd in enumerate(fds):
        os.pwrite(fd, b"%d" % number, 0)
    for number, fd in enumerate(fds):
        assert os.pread(fd, 20, 0) == b"%d" % number
    for fd in fds:
        os.close(fd)
    verdict = "flat" if last <= first * FLAT else "not flat"
    return [
        [f"{count:,} files open at a time: RSS each, with the file", f"{each:.0f} bytes"],
        [f"creating the first and the last {part:,} of them", f"{first:.0f} and {last:.0f} µs"],
        ["the last against the first", verdict],
        [
            "open files that `vfsd status` tells; descriptors of the daemon",
            f"{held}; {descriptors}",
        ],
    ]


def forget(root: Path) -> None:
    """Make the kernel forget what it knows, if that is possible."""
    if can_drop_caches():
        drop_caches()
        os.stat(root)


def compare(title: str, sizes: list[int], found: list[Figures]) -> Sheet:
    """Return a line per figure, a column per size, and whether it is flat."""
    lines = []
    for figure in found[0]:
        first, last = (float(each[figure][1] or each[figure][0]) for each in (found[0], found[-1]))
        ratio = last / max(first, 1e-9)
        # What takes less than a millisecond in all is flat enough.
        flat = ratio <= FLAT or (figure.endswith("ms") and last < 1)
        cells = [shown(*each[figure]) for each in found]
        lines.append([figure, *cells, f"{ratio:.2f}", "flat" if flat else "not flat"])
    notes = ["in brackets: the daemon's CPU time, which the ratio is of"]
    return Sheet(title, ["", *(f"{size:,}" for size in sizes), "ratio", ""], lines, notes)


def shown(figure: float, cpu: float | None) -> str:
    """Return a figure, with its CPU part if it is time."""
    return f"{figure:,.1f}" if cpu is None else f"{figure:,.1f} ({cpu:,.1f})"


if __name__ == "__main__":
    sys.exit(main())
