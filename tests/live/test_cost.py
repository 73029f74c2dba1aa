"""What live snapshots cost: counted in calls, copied parts and live objects, never in seconds."""

from __future__ import annotations

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from providers.memory import MemoryProvider
from providers.memory.chunks import CHUNK, Chunk
from providers.memory.records import Directory, File
from tests.unit.memory.test_sharing import COPIED, copied
from tests.unit.memory.trees import ADMIN, find, get, mkdir, put
from vfsd.snapshots.lineage import Lineage
from vfsd.snapshots.live import LiveSnapshots

FILES = 100_000
CHAIN = 1000


def registry() -> LiveSnapshots:
    return LiveSnapshots(Lineage(), lambda provider: provider.aclose())


def calls_of(action: Callable[[], object]) -> int:
    """Return how many functions, Python's and C's, `action` calls; it must not suspend."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.collect()  # what it would call back is not the action's
    gc.disable()
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def finished(awaited) -> object:
    """Run a coroutine that must not suspend even once, and return its result."""
    try:
        awaited.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it suspended")


async def grown(files: int) -> MemoryProvider:
    provider = MemoryProvider()
    for directory in range(max(1, files // 1000)):
        parent = (await provider.mkdir(provider.root, b"%d" % directory, 0o755, ADMIN)).node
        for number in range(min(files, 1000)):
            _, handle = await provider.create(parent, b"%d" % number, 0o644, os.O_WRONLY, ADMIN)
            await handle.release()
    return provider


async def test_100_000_files_are_frozen_and_forked_in_as_many_steps_as_10():
    """The work is the same number of calls, and no part of the tree is copied."""
    steps = []
    for files in (10, FILES):
        provider = await grown(files)
        assert provider.statistics()["present_files"] > files
        snapshots = registry()
        frozen = calls_of(lambda: snapshots.create("s", provider, b"", replace=False))  # noqa: B023
        forked = calls_of(lambda: snapshots.fork("s"))  # noqa: B023
        seen = calls_of(lambda: snapshots.view("s"))  # noqa: B023
        steps.append((frozen, forked, seen))
        for each in (provider, snapshots.fork("s"), snapshots.view("s")):
            assert copied(each) == dict.fromkeys(COPIED, 0)
    assert steps[0] == steps[1]


async def test_a_chain_of_1000_does_not_slow_look_ups_reads_or_freezing():
    provider = MemoryProvider()
    await mkdir(provider, b"d")
    for number in range(50):
        await put(provider, b"d/%d" % number, b"data")
    snapshots = registry()
    parent = (await find(provider, b"d")).node
    node = (await find(provider, b"d/7")).node

    def work(tree: MemoryProvider) -> list[int]:
        return [
            calls_of(lambda: finished(tree.lookup(parent, b"7"))),
            calls_of(lambda: finished(tree.getattr(node))),
            calls_of(lambda: finished(tree.readdir(parent))),
            calls_of(lambda: finished(get(tree, b"d/7"))),
        ]

    def freeze() -> None:
        snapshots.create(f"s{number}", provider, b"", replace=False)

    freezing = []
    for number in range(CHAIN):
        await put(provider, b"d/7", b"version %d" % number)
        if number % 100 == 1:
            freezing.append(calls_of(freeze))
        else:
            freeze()
        if not number:
            first = [work(provider), work(snapshots.view("s0"))]
    last = [work(provider), work(snapshots.view(f"s{CHAIN - 1}"))]
    middle = snapshots.fork(f"s{CHAIN // 2}")
    assert first == last
    assert work(middle) == first[0]
    assert len(set(freezing)) == 1
    assert await get(middle, b"d/7") == b"version %d" % (CHAIN // 2)


def alive() -> Counter[type]:
    kinds = (File, Directory, Chunk)
    return Counter(type(each) for each in gc.get_objects() if type(each) in kinds)


@pytest.fixture
def no_collector():
    """Reference counts alone must free what is let go."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_removing_one_in_the_middle_frees_exactly_what_only_it_held(no_collector):
    provider = MemoryProvider()
    await put(provider, b"same", bytes(3 * CHUNK))
    snapshots = registry()
    held = []
    for number in range(CHAIN):
        # Of each version one file with two whole chunks after its head, and the root directory.
        await put(provider, b"changing", bytes([number % 256]) * (3 * CHUNK))
        if number % 100:
            snapshots.create(f"s{number}", provider, b"", replace=False)
            continue
        before = alive()
        snapshots.create(f"s{number}", provider, b"", replace=False)
        assert alive() == before, "freezing makes no records"
        held.append(before[File])
    assert held == [2 + number for number in range(0, CHAIN, 100)], "each holds its own file"
    full = alive()
    await snapshots.remove(f"s{CHAIN // 2}")
    after = alive()
    assert (full[File] - after[File], full[Chunk] - after[Chunk]) == (1, 2)
    for number in (CHAIN // 2 - 1, CHAIN // 2 + 1):
        data = await get(snapshots.view(f"s{number}"), b"changing")
        assert data == bytes([number % 256]) * (3 * CHUNK)
    for each in list(snapshots):
        await snapshots.remove(each.name)
    left = alive()
    assert (left[File], left[Chunk]) == (2, 4)


async def test_a_fork_keeps_what_it_needs_when_its_snapshot_goes(no_collector):
    provider = MemoryProvider()
    await put(provider, b"f", b"1" * (3 * CHUNK))
    snapshots = registry()
    snapshots.create("s", provider, b"", replace=False)
    fork = snapshots.fork("s")
    await put(provider, b"f", b"2" * (3 * CHUNK))
    both = alive()
    await snapshots.remove("s")
    assert alive() == both
    assert await get(fork, b"f") == b"1" * (3 * CHUNK)
    await fork.aclose()
    assert alive()[Chunk] == both[Chunk] - 2


async def test_a_snapshot_that_replaces_frees_the_one_it_replaces(no_collector):
    provider = MemoryProvider()
    snapshots = registry()
    for number in range(10):
        await put(provider, b"f", bytes([number]) * (3 * CHUNK))
        _, replaced = snapshots.create("s", provider, b"", replace=True)
        if replaced is not None:
            await snapshots.discard(replaced)
        del replaced
    assert alive()[File] == 1


async def test_quotas_count_each_tree_by_itself():
    provider = MemoryProvider(size_bytes=1 << 20, inodes=5)
    await put(provider, b"f", bytes(900_000))
    snapshots = registry()
    snapshots.create("s", provider, b"", replace=False)
    fork = snapshots.fork("s")
    for tree in (provider, fork):
        # As much is left to each as was left before, whatever the other wrote.
        await put(tree, b"f", bytes(1 << 20))
        assert (await tree.statfs()).blocks_free == 0
    for name in (b"g", b"h", b"i"):
        await put(fork, name)
    with pytest.raises(OSError, match="No space"):
        await put(fork, b"j")
    await put(provider, b"j")
    await snapshots.remove("s")
    assert (await fork.statfs()).files_free == 0
