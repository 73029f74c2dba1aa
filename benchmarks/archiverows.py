"""What archives.py measures on a mount: each row in a program of its own, printed as it is known.

Concurrency: one mount at a time; nothing else is timed beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from archivepeers import System, mounted, rss_of, surroundings, vfsd

Rows = dict[str, float | str]
"""Seconds by row; ``> N`` where nothing came within N seconds."""

START = r"""
import json, os, random, sys, time
top, clock = sys.argv[1], time.perf_counter
def told(row, start):
    print(json.dumps([row, clock() - start]), flush=True)
def find(top):
    files = []
    for folder, folders, names in os.walk(top):
        for name in names:
            os.lstat(f"{folder}/{name}")
            files.append(f"{folder}/{name}")
    return files
def read(files):
    for path in files:
        with open(path, "rb") as file:
            file.read()
"""
SEEK = r"""
chance = random.Random(1)
fd = os.open(f"{top}/{sys.argv[2]}", os.O_RDONLY)
pages = os.fstat(fd).st_size // 4096
start = clock()
for _ in range(2000):
    os.pread(fd, 4096, chance.randrange(pages) * 4096)
told(sys.argv[3], start)
"""
TREE = r"""
start = clock()
files = find(top)
told("find and stat, cold", start)
for row in ("read all, cold", "read all, warm"):
    start = clock()
    read(files)
    told(row, start)
"""
LIST = r"""
start = clock()
assert len(os.listdir(f"{top}/d00/e50")) == 1000
told(sys.argv[2], start)
"""
MANY = r"""
start = clock()
files = find(f"{top}/{sys.argv[2]}")
told(sys.argv[3], start)
start = clock()
read(files[:: len(files) // 2000][:2000])
told(sys.argv[4], start)
"""
ATTACH = r"""
import os, sys, time
from vfsd.client import connect
place, archive, inner = sys.argv[1:]
with connect(place) as client:
    start = time.perf_counter()
    client.attach(archive, "at")
    os.stat(f"{place}/at/{inner}")
    print(time.perf_counter() - start)
    client.detach("at", lazy=True)
"""
TREE_ROWS = ("find and stat, cold", "read all, cold", "read all, warm")
LIST_ROW = "ls of one directory of 1,000"
MANY_TOP = "d00"
MANY_ROWS = ("find and stat 100,000, cold", "read 2,000 files, cold")
SEEKS = {
    "random.bin": "random 4 KiB, 2,000 in 32 MiB of noise",
    "text.txt": "random 4 KiB, 2,000 in 32 MiB of text",
}


def client(
    script: str, rows: Sequence[str], place: Path, home: Path, limit_s: float, *words: str
) -> Rows:
    """Run a script on a mount and return its rows; those it did not come to in time say so."""
    command = [sys.executable, "-c", START + script, str(place), *words]
    process = subprocess.Popen(command, env=surroundings(home), stdout=subprocess.PIPE, text=True)
    try:
        said, _ = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    else:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, script)
    found = dict(json.loads(line) for line in said.splitlines())
    return {row: found.get(row, f"> {limit_s:.0f}") for row in rows}


def attach_s(archive: Path, inner: str, place: Path, home: Path) -> float:
    """Return how long a daemon that runs takes to attach an archive, until a look in it."""
    with mounted(vfsd("mount", place, "-o", "mode=0755"), place, home, 60, empty=True):
        command = [sys.executable, "-c", ATTACH, place, archive, inner]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env=surroundings(home)
        )
        return float(done.stdout)
    raise AssertionError


def measure_tree(system: System, archive: Path, place: Path, home: Path, limit_s: float) -> Rows:
    """Measure a tree of some thousand files."""
    words = system.mount(archive, place)
    with mounted(words, place, home, limit_s) as took:
        rows: Rows = {"mount": took, **client(TREE, TREE_ROWS, place, home, limit_s)}
    if system.ours:
        rows["attach, in a daemon that runs"] = attach_s(archive, "random.bin", place, home)
    return {**rows, **_seek(system, archive, place, home, limit_s)}


def measure_many(system: System, archive: Path, place: Path, home: Path, limit_s: float) -> Rows:
    """Measure a tree of very many files: what does not have to look at all of them."""
    words = system.mount(archive, place)
    with mounted(words, place, home, limit_s) as took:
        rows: Rows = {"mount": took}
        rows |= client(LIST, [LIST_ROW], place, home, limit_s, LIST_ROW)
        rows["RSS after it, MiB"] = rss_of(place) / (1 << 20)
        rows |= client(MANY, MANY_ROWS, place, home, limit_s, MANY_TOP, *MANY_ROWS)
    if system.ours:
        rows["attach, in a daemon that runs"] = attach_s(archive, "d00/e50", place, home)
    return {**rows, **_seek(system, archive, place, home, limit_s)}


def _seek(system: System, archive: Path, place: Path, home: Path, limit_s: float) -> Rows:
    rows: Rows = {}
    for name, row in SEEKS.items():
        with mounted(system.mount(archive, place), place, home, limit_s):
            rows |= client(SEEK, [row], place, home, limit_s, name, row)
    return rows
