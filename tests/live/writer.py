"""A program that uses a directory hard until its stdin ends: ``python -m tests.live.writer DIR``.

What it does in generation after generation is such that at *every* instant, between any two of
its system calls, `check` in test_consistency.py holds of the directory.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
from pathlib import Path

SIZE = 100_000
COUNTER = 8
RENAME_EXCHANGE = 2
AT_FDCWD = -100

_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: str, two: str) -> None:
    """Swap two names in one step. Source: renameat2(2)."""
    if _libc.renameat2(AT_FDCWD, one.encode(), AT_FDCWD, two.encode(), RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


def counted(generation: int) -> bytes:
    return generation.to_bytes(COUNTER, "big")


def replace(name: str, generation: int) -> None:
    """Give `name` new content as an editor does: a new file, written in two parts, renamed."""
    data = counted(generation) * (SIZE // COUNTER)
    with open(f"{name}.new", "wb", buffering=0) as file:
        file.write(data[:60_000])
        file.write(data[60_000:])
    os.rename(f"{name}.new", name)


def begin() -> None:
    """Make generation 0."""
    replace("a", 0)
    replace("b", 0)
    Path("x").write_bytes(b"1")
    Path("y").write_bytes(b"2")
    Path("one").write_bytes(b"")
    os.link("one", "two")
    os.mkdir("d0")
    Path("log").write_bytes(b"")
    Path("marks").write_bytes(bytes(SIZE))


def advance(generation: int, log: int, marks: int) -> None:
    """Make the next generation; the order of the calls is what can be checked."""
    replace("a", generation)
    replace("b", generation)
    exchange("x", "y")
    os.rename("one", "three")
    os.link("three", "one")
    os.unlink("two")
    os.rename("three", "two")
    os.mkdir(f"d{generation}")
    os.rmdir(f"d{generation - 1}")
    os.write(log, counted(generation))
    os.pwrite(marks, counted(generation), 0)
    os.pwrite(marks, counted(generation), SIZE - COUNTER)


def main() -> None:
    os.chdir(sys.argv[1])
    begin()
    log = os.open("log", os.O_WRONLY | os.O_APPEND)
    marks = os.open("marks", os.O_WRONLY)
    print("ready", flush=True)
    generation = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        generation += 1
        advance(generation, log, marks)
    print(generation, flush=True)


if __name__ == "__main__":
    main()
