"""What vfsd's memory provider costs while it holds files, and while nobody asks anything.

Three figures, each with its target: daemon RSS per empty file at 200,000 files, daemon RSS per
byte of file data (1.0 is: stored once), and CPU time over half a minute of idleness. The exit
code is 1 if a target is missed. `python benchmarks/memory.py`.

Concurrency: one client; nothing else runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import machine
from catalogue import choose
from experiment import say
from measure import Placement, can_drop_caches, cpu_seconds, drop_caches, rss_bytes
from systems import running
from table import Sheet, markdown, show
from workspace import workspace

FILES = 200_000
PER_DIRECTORY = 1_000
DATA_MIB = 1_024
IDLE_SECONDS = 30
LIMIT_FILE_BYTES = 1.2 * 1024
LIMIT_DATA_FACTOR = 1.05
"""File data stored once, with a twentieth for what indexes it."""
LIMIT_IDLE_SHARE = 0.001


def main() -> int:
    """Measure and print; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(description="Memory and idle CPU of a vfsd daemon.")
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--mib", type=int, default=DATA_MIB)
    parser.add_argument("--idle", type=float, default=IDLE_SECONDS, help="seconds")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    options = parser.parse_args()
    (vfsd,) = choose("vfsd")
    caption = machine.describe()
    lines: list[list[str]] = []
    with workspace() as root:
        placement = Placement.named("free")
        with running(vfsd, root / "data", placement) as mounted:
            assert mounted.pid is not None
            say(f"writing {options.mib} MiB")
            lines += measure_data(mounted.directory, mounted.pid, options.mib)
        with running(vfsd, root / "files", placement) as mounted:
            assert mounted.pid is not None
            say(f"idle for {options.idle:.0f} s")
            lines += measure_idle(mounted.pid, options.idle, "idle, empty")
            say(f"making {options.files:,} empty files")
            lines += measure_files(mounted.directory, mounted.pid, options.files)
            say(f"idle for {options.idle:.0f} s")
            lines += measure_idle(mounted.pid, options.idle, "idle, with these files")
    sheet = Sheet("Memory and idleness of the daemon", ["what", "is", "at most", ""], lines, [])
    print(caption + "\n")
    show(sheet)
    if options.record:
        machine.record(options.record, f"{caption}\n\n{markdown(sheet)}")
    return int(any(line[3] == "missed" for line in lines))


def measure_data(directory: Path, pid: int, mib: int) -> list[list[str]]:
    """Write `mib` MiB of distinct bytes; compare the daemon's growth with that."""
    before = rss_bytes(pid)
    with open(directory / "big", "wb", buffering=0) as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    factor = (rss_bytes(pid) - before) / (mib << 20)
    return [_line(f"RSS per byte of data, {mib} MiB", factor, LIMIT_DATA_FACTOR, "{:.3f}")]


def measure_files(directory: Path, pid: int, files: int) -> list[list[str]]:
    """Make empty files; RSS per file while the kernel holds them all, and once it let go."""
    before = rss_bytes(pid)
    for number in range(files):
        if number % PER_DIRECTORY == 0:
            parent = directory / f"directory-{number // PER_DIRECTORY:05}"
            parent.mkdir()
        os.mknod(parent / f"file-{number:06}", 0o644)
    each = (rss_bytes(pid) - before) / files
    title = f"RSS bytes per empty file, {files:,} files"
    lines = [_line(f"{title}, known to the kernel", each, LIMIT_FILE_BYTES, "{:.0f}")]
    if can_drop_caches():
        drop_caches()
        # Forgetting arrives in batches, after the kernel said it is done.
        time.sleep(5)
        each = (rss_bytes(pid) - before) / files
        lines.append(_line(f"{title}, forgotten by the kernel", each, LIMIT_FILE_BYTES, "{:.0f}"))
    return lines


def measure_idle(pid: int, seconds: float, title: str) -> list[list[str]]:
    """Wait, asking nothing; return the share of one CPU that the daemon used meanwhile."""
    time.sleep(1)
    before = cpu_seconds(pid)
    time.sleep(seconds)
    share = (cpu_seconds(pid) - before) / seconds
    return [_line(f"CPU share, {title}", share, LIMIT_IDLE_SHARE, "{:.5f}")]


def _line(title: str, value: float, limit: float, form: str) -> list[str]:
    verdict = "met" if value <= limit else "missed"
    return [title, form.format(value), form.format(limit), verdict]


if __name__ == "__main__":
    sys.exit(main())
