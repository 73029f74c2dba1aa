"""Snapshots and forks through the control socket of a real daemon, as its users have them.

Timed is what a client waits for: freezing under a name, and attaching a fork, seen through the
mount before the answer comes. Between two rounds the tree changes, as a tree in use does.

Concurrency: one daemon per number of files, all of them idle but the one that is asked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from vfsd import client as client_module
from vfsd.client import Client
from vfsd.control import calls
from vfsd.control.batchverbs import PutEntry
from vfsd.control.bounds import BATCH_LIMIT

PER_DIRECTORY = 100

Note = Callable[[str, int, float], None]
"""Takes a row's name, a number of files, and when it began, by `time.perf_counter`."""


def measure(place: Path, counts: list[int], rounds: int, note: Note) -> None:
    """Time daemons whose trees have so many files, in turn."""
    with ExitStack() as held:
        trees = {}
        for count in counts:
            trees[count] = held.enter_context(_mounted(place / f"daemon-{count}"))
            _fill(trees[count], count)
        for number in range(rounds):
            for count, tree in trees.items():
                _once(tree, count, number, note)


def _once(tree: Client, count: int, number: int, note: Note) -> None:
    started = time.perf_counter()
    tree.snapshots.create("s")
    note("daemon: snapshot", count, started)
    started = time.perf_counter()
    tree.snapshots.fork("s", "/fork")
    note("daemon: fork, attached", count, started)
    tree.write_bytes(f"/fork/new-{number}", b"new")
    tree.write_bytes(f"/changed-{number}", b"changed")
    tree.detach("/fork")
    tree.snapshots.remove("s")


def _fill(tree: Client, count: int) -> None:
    entries: list[PutEntry] = []
    for number in range(count):
        if number % PER_DIRECTORY == 0:
            directory = b"d%d" % number
            entries.append((directory, 0o040755, None, None))
        entries.append((directory + b"/f%d" % number, 0o100644, None, b""))
    for first in range(0, len(entries), BATCH_LIMIT):
        failed = tree._call(calls.put(b"", entries[first : first + BATCH_LIMIT]))
        assert not failed, failed


@contextmanager
def _mounted(place: Path) -> Iterator[Client]:
    for name in ("mount", "run", "state"):
        (place / name).mkdir(parents=True, mode=0o700)
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(place / "run"),
        "XDG_STATE_HOME": str(place / "state"),
    }
    vfsd = [sys.executable, "-m", "vfsd"]
    subprocess.run([*vfsd, "mount", place / "mount"], env=environment, check=True)
    try:
        usual = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = environment["XDG_RUNTIME_DIR"]
        try:
            client = client_module.connect(place / "mount")
        finally:
            if usual is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = usual
        with client:
            yield client
    finally:
        subprocess.run([*vfsd, "unmount", place / "mount"], env=environment, check=True)
