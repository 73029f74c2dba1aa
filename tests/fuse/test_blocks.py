"""Memory made ready for large writes (blocks.c): given when it is wanted, and only then.

In a process of its own, since the allocator of a Python cannot be put back.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.fuse.builtshim import need_shim
from vfsd import client as client_module

LARGEST = 128 << 10
BEGIN = f"""
import ctypes, resource
from vfsd.fuse.shim import LIBRARY, shim

LARGEST = {LARGEST}
expected = ctypes.c_int.in_dll(ctypes.CDLL(str(LIBRARY)), "vfsd_blocks_expected")
touched = ctypes.c_uint64.in_dll(ctypes.CDLL(str(LIBRARY)), "vfsd_blocks_touched")
shim.enable()

def written(size=LARGEST, of=b"x"):
    expected.value = 1
    data = of * size
    expected.value = 0
    return data

def prepared():
    steps = 0
    while shim.prepare():
        steps += 1
    return steps

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
"""


def run(program: str) -> None:
    need_shim()
    subprocess.run([sys.executable, "-c", BEGIN + program], check=True, timeout=60)


def test_a_block_is_made_for_each_large_write_and_given_to_the_next():
    run("""
assert prepared() == 0, "nobody wrote"
first = written()
assert shim.blocks_given() == 0
assert prepared() > 0 and prepared() == 0, "one block for one write"
second = written(of=b"y")
assert shim.blocks_given() == 1
assert first == b"x" * LARGEST and second == b"y" * LARGEST
""")


def test_what_a_block_holds_was_touched_before():
    run("""
kept = [written()]
prepared()
assert touched.value >= 7
before = faults()
kept.append(written())
grown = faults() - before
assert shim.blocks_given() == 1
assert grown < LARGEST // 4096 // 2, f"{grown} page faults"
""")


def test_at_most_four_blocks_wait():
    run("""
kept = [written() for _ in range(100)]
prepared()
kept += [written() for _ in range(100)]
assert shim.blocks_given() == 4
""")


def test_memory_that_was_used_before_is_not_touched_again():
    run("""
for _ in range(50):
    written()
    prepared()
many = touched.value
for _ in range(50):
    written()
    prepared()
assert touched.value - many <= 8, "freed blocks are made again for nothing"
assert shim.blocks_given() >= 90
""")


def test_other_objects_are_the_allocators():
    run("""
kept = [written()]
prepared()
kept += [bytes(LARGEST), written(LARGEST - 1), written(LARGEST + 1), written(1), bytearray(LARGEST)]
assert shim.blocks_given() == 0
kept.append(written())
assert shim.blocks_given() == 1
""")


def test_threads_may_allocate_meanwhile():
    run("""
import threading
def work(number):
    for _ in range(300):
        data = bytes([number]) * LARGEST
        assert data.count(number) == LARGEST
threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 4)]
for thread in threads:
    thread.start()
kept = []
for number in range(300):
    kept.append(written(of=bytes([number % 251])))
    prepared()
for thread in threads:
    thread.join()
for number, data in enumerate(kept):
    assert data.count(number % 251) == LARGEST
assert shim.blocks_given() > 250
""")


@pytest.mark.fuse
def test_a_mount_makes_memory_ready_between_writes(vfsd_mount, monkeypatch):
    need_shim()
    mount = vfsd_mount()
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    data = os.urandom(LARGEST)
    fd = os.open(mount.path / "f", os.O_RDWR | os.O_CREAT)
    with client_module.connect(mount.path) as client:
        end = time.monotonic() + 30
        written = 0
        while not client.status()["blocks_given"]:
            assert os.pwrite(fd, data, written * LARGEST) == LARGEST
            written += 1
            assert time.monotonic() < end, "no write found memory ready"
    assert os.pread(fd, LARGEST, (written - 1) * LARGEST) == data
    os.close(fd)
