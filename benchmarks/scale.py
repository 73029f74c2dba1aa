"""Many files: is the cost of each flat in how many there are? `python benchmarks/scale.py`.

Makes trees of growing size (a tenth, a third, all of `--files`) in vfsd's memory provider, each
in a daemon of its own, and times per file: create, list, stat, open and close, a live snapshot
(in all, not per file), a rename in the full tree, and remove; with the daemon's RSS per file.
Flat means: the largest tree's figure at most 1.5 times the smallest one's. Then, once each: one
directory of 200,000 entries beside one of 2,000, a sparse file of 64 GiB, 10,000 open files.

Concurrency: one client process; nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import machine
from catalogue import choose
from experiment import say
from measure import Placement, can_drop_caches, drop_caches, rss_bytes
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
SAMPLE = 20_000
"""Files that are looked at one by one in each tree, spread over it."""
FLAT = 1.5


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
    sizes = sorted({max(options.files // 10, 1), max(options.files // 3, 1), options.files})
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


def per_call_us(work: Callable[[str], object], paths: list[str]) -> float:
    """Call `work` with each path; return microseconds per call."""
    start = time.perf_counter()
    for path in paths:
        work(path)
    return (time.perf_counter() - start) / len(paths) * 1e6


def measure_tree(mounted: Mounted, files: int) -> dict[str, float]:
    """Make, use and remove one tree."""
    assert mounted.pid is not None
    root = mounted.directory
    paths = paths_of(root, files)
    sample = paths[:: max(files // SAMPLE, 1)]
    empty = rss_bytes(mounted.pid)
    start = time.perf_counter()
    for number in range(0, files, PER_DIRECTORY):
        os.mkdir(f"{root}/d{number // PER_DIRECTORY:05}")
        for path in paths[number : number + PER_DIRECTORY]:
            os.mknod(path, 0o644)
    found = {"create µs": (time.perf_counter() - start) / files * 1e6}
    found["RSS bytes per file"] = (rss_bytes(mounted.pid) - empty) / files
    forget(root)
    start = time.perf_counter()
    count = sum(len(os.listdir(f"{root}/{name}")) for name in os.listdir(root))
    found["list µs per entry"] = (time.perf_counter() - start) / count * 1e6
    assert count == files
    forget(root)
    found["stat µs"] = per_call_us(os.stat, sample)
    found["open and close µs"] = per_call_us(lambda path: os.close(os.open(path, 0)), sample)
    found["rename µs"] = per_call_us(lambda path: os.rename(path, path + "-"), sample)
    for path in sample:
        os.rename(path + "-", path)
    with client.connect(root) as tree:
        start = time.perf_counter()
        tree.snapshots.create("frozen")
        found["live snapshot ms"] = (time.perf_counter() - start) * 1e3
        found["create after it µs"] = per_call_us(
            lambda path: os.mknod(path, 0o644), [f"{path}-new" for path in sample]
        )
        for path in sample:
            os.unlink(f"{path}-new")
        tree.snapshots.remove("frozen")
    start = time.perf_counter()
    for path in paths:
        os.unlink(path)
    found["remove µs"] = (time.perf_counter() - start) / files * 1e6
    return found


def measure_directory(mounted: Mounted, entries: int) -> dict[str, float]:
    """Make, list, search and empty one directory."""
    wide = mounted.directory / "wide"
    wide.mkdir()
    paths = [f"{wide}/entry-{number}" for number in range(entries)]
    sample = paths[:: max(entries // SAMPLE, 1)]
    found = {"create µs": per_call_us(lambda path: os.mknod(path, 0o644), paths)}
    forget(mounted.directory)
    start = time.perf_counter()
    assert len(os.listdir(wide)) == entries
    found["list µs per entry"] = (time.perf_counter() - start) / entries * 1e6
    forget(mounted.directory)
    found["stat µs"] = per_call_us(os.stat, sample)
    with client.connect(mounted.directory) as tree:
        start = time.perf_counter()
        assert len(tree.listdir("wide")) == entries
        found["list by the socket µs per entry"] = (time.perf_counter() - start) / entries * 1e6
    found["remove µs"] = per_call_us(os.unlink, paths)
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
    blocks = os.fstat(fd).st_blocks * 512
    os.truncate(mounted.directory / "sparse", 1)
    os.close(fd)
    took = (time.perf_counter() - start) * 1e3
    grown = rss_bytes(mounted.pid) - before
    what = "a sparse file of 64 GiB, written and read at both ends and between, cut"
    return [[what, f"{took:.1f} ms, {blocks >> 10} KiB used, RSS +{grown >> 10} KiB"]]


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
    ]


def forget(root: Path) -> None:
    """Make the kernel forget what it knows, if that is possible."""
    if can_drop_caches():
        drop_caches()
        os.stat(root)


def compare(title: str, sizes: list[int], found: list[dict[str, float]]) -> Sheet:
    """Return a line per figure, a column per size, and whether it is flat."""
    lines = [
        [
            figure,
            *(f"{each[figure]:,.1f}" for each in found),
            f"{found[-1][figure] / max(found[0][figure], 1e-9):.2f}",
            "flat" if found[-1][figure] <= found[0][figure] * FLAT else "not flat",
        ]
        for figure in found[0]
    ]
    return Sheet(title, ["", *(f"{size:,}" for size in sizes), "ratio", ""], lines, [])


if __name__ == "__main__":
    sys.exit(main())
