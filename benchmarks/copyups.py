"""What changing lower files of an overlay costs, without a kernel: `python benchmarks/copyups.py`.

An overlay over a directory on tmpfs, with an upper in memory or in a directory on tmpfs: a thousand
lower files, in a hundred directories, are listed. In half of the directories they are opened to
append, written and closed, which copies them up. All are removed, which leaves whiteouts, and then
the directories, which leaves one whiteout for each. CPU time of this one process, calls of the
host's kernel included. `--against DIR` runs another checkout's code in turn.

Concurrency: one process; nothing suspends on tmpfs.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import inprocess
import trio
from inprocess import Times

DIRECTORIES, FILES_EACH, SIZE_BYTES = 100, 10, 3000


def measure() -> Times:
    """Return the CPU microseconds per file of each step, for both kinds of upper."""
    # As the daemon does (vfsd/daemon.py): what was imported is not looked at again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    found: Times = {}
    for upper in ("memory", "directory"):
        with tempfile.TemporaryDirectory(prefix="vfsd-copyups-", dir="/dev/shm") as place:
            lay(Path(place))
            for kind, taken in trio.run(changed, Path(place), upper).items():
                found[f"{kind}, upper in {upper if upper == 'memory' else 'a directory'}"] = taken
    return found


def lay(place: Path) -> None:
    """Make the lower's files and an empty upper."""
    (place / "upper").mkdir()
    for directory in range(DIRECTORIES):
        below = place / "lower" / f"d{directory}"
        below.mkdir(parents=True)
        for number in range(FILES_EACH):
            (below / f"f{number}").write_bytes(b"x" * SIZE_BYTES)


async def changed(place: Path, upper_kind: str) -> Times:
    """List, append to and remove files, and return what each took per file or directory."""
    from providers.memory import MemoryProvider
    from providers.overlay import OverlayProvider
    from providers.passthrough import PassthroughProvider
    from vfsd.attributes import Identity

    options = {"links": "keep"}
    lower = await PassthroughProvider.from_options(str(place / "lower"), options)
    upper: Any = MemoryProvider()
    if upper_kind == "directory":
        options["watch"] = "off"
        upper = await PassthroughProvider.from_options(str(place / "upper"), options)
    overlay = await OverlayProvider.over(upper, [lower])
    found: Times = {}
    before = time.process_time_ns()

    def took(kind: str, count: int) -> None:
        nonlocal before
        now = time.process_time_ns()
        found[kind] = (now - before) / count / 1000
        before = time.process_time_ns()

    directories = [
        (each, (await overlay.lookup(overlay.root, each)).node)
        for each in await overlay.readdir(overlay.root)
    ]
    took("look up a directory", DIRECTORIES)
    files: list[tuple[Any, bytes, Any]] = []
    for _, directory in directories:
        names = await overlay.readdir(directory)
        entries = await overlay.lookup_many(directory, names)
        for name, entry in zip(names, entries, strict=True):
            assert entry is not None
            files.append((directory, name, entry.node))
    took("list", len(files))
    half = len(files) // 2
    for _, _, node in files[:half]:
        handle = await overlay.open(node, os.O_WRONLY | os.O_APPEND, Identity(0, 0))
        await handle.write(0, b"more\n")
        await handle.release()
    took("append", half)
    for directory, name, _ in files[:half]:
        await overlay.unlink(directory, name)
    took("remove what was appended to", half)
    for directory, name, _ in files[half:]:
        await overlay.unlink(directory, name)
    took("remove", half)
    for name, _ in directories:
        await overlay.rmdir(overlay.root, name)
    took("remove a directory", DIRECTORIES)
    await overlay.aclose()
    return found


if __name__ == "__main__":
    title = "CPU microseconds per file of a lower, the least"
    sys.exit(inprocess.main(__file__, title, "step", measure))
