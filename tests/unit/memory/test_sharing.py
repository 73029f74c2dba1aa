"""Snapshots and forks: what they cost, what they share, and what dropping one frees.

Cost is counted in copied parts, never in seconds.
"""

import gc
import os
from collections import Counter
from contextlib import suppress

import pytest

from providers.memory import MemoryProvider
from providers.memory.chunks import CHUNK, Chunk
from providers.memory.records import Directory, File
from tests.unit.memory.trees import (
    ADMIN,
    check_books,
    find,
    get,
    mkdir,
    open_at,
    put,
    raises,
    rename,
    unlink,
    walk,
)
from vfsd.provider import SetAttr

COPIED = ("copied_records", "copied_pages", "copied_names", "copied_chunks")


def copied(provider: MemoryProvider) -> dict[str, int]:
    statistics = provider.statistics()
    return {key: int(statistics[key]) for key in COPIED}


@pytest.fixture
async def wide():
    """2,000 files in one directory, and a file of ten chunks."""
    provider = MemoryProvider()
    await mkdir(provider, b"many")
    for number in range(2000):
        await put(provider, b"many/%04d" % number, b"data")
    await put(provider, b"large", bytes(range(250)) * (10 * CHUNK // 250 + 1))
    return provider


async def test_nothing_is_copied_before_the_first_snapshot(wide):
    assert copied(wide) == dict.fromkeys(COPIED, 0)


async def test_a_snapshot_copies_nothing(wide):
    snapshot = wide.snapshot()
    fork = wide.fork()
    fork_of_snapshot = snapshot.fork()
    for provider in (wide, snapshot, fork, fork_of_snapshot):
        assert copied(provider) == dict.fromkeys(COPIED, 0)


async def test_a_change_after_a_snapshot_copies_what_changes_and_no_more(wide):
    snapshot = wide.snapshot()
    handle = await open_at(wide, b"large", os.O_WRONLY)
    await handle.write(5 * CHUNK + 3, b"changed")
    first = copied(wide)
    assert first["copied_records"] == first["copied_chunks"] == 1
    assert first["copied_pages"] <= 4
    assert first["copied_names"] == 0
    await handle.write(5 * CHUNK + 30, b"again")
    assert copied(wide) == first, "what it copied is its own"
    await handle.release()
    await put(wide, b"many/new")
    second = copied(wide)
    assert second["copied_records"] <= 2
    assert second["copied_names"] <= 256
    assert second["copied_pages"] <= 10
    assert copied(snapshot) == dict.fromkeys(COPIED, 0)
    for provider in (wide, snapshot):
        check_books(provider)


async def test_each_side_sees_its_own_changes_only(wide):
    before = await walk(wide)
    snapshot, fork = wide.snapshot(), wide.fork()
    await put(wide, b"many/0001", b"live")
    await put(fork, b"many/0001", b"fork")
    await unlink(wide, b"many/0002")
    await rename(fork, b"many", b"few")
    second = fork.fork()
    await put(second, b"few/0003", b"second")
    assert await walk(snapshot) == before
    assert await get(wide, b"many/0001") == b"live"
    assert await get(fork, b"few/0001") == b"fork"
    assert await get(fork, b"few/0003") == b"data"
    assert await get(second, b"few/0003") == b"second"
    assert await get(second, b"few/0001") == b"fork"
    for provider in (wide, snapshot, fork, second):
        check_books(provider)


async def test_numbers_and_hard_links_survive():
    provider = MemoryProvider()
    node = await put(provider, b"one", b"1")
    await provider.link(node, provider.root, b"two")
    fork = provider.snapshot().fork()
    one, two = await find(fork, b"one"), await find(fork, b"two")
    assert one.node.number == two.node.number == node.number
    assert one.stat.nlink == 2
    await put(fork, b"two", b"both")
    assert await get(fork, b"one") == b"both"
    assert await get(provider, b"one") == b"1"
    await unlink(fork, b"one")
    assert (await fork.getattr(node)).nlink == 1
    assert (await provider.getattr(node)).nlink == 2


async def test_a_new_file_never_takes_a_number_that_the_other_side_knows_from_before():
    provider = MemoryProvider()
    node = await put(provider, b"gone")
    fork = provider.fork()
    await unlink(fork, b"gone")
    assert (await put(fork, b"new")).number != node.number


async def test_a_snapshot_is_sealed():
    provider = MemoryProvider()
    await put(provider, b"file", b"kept")
    snapshot = provider.snapshot()
    assert snapshot.traits.immutable
    assert not snapshot.traits.writable
    with raises(30):
        await put(snapshot, b"other")
    with raises(30):
        await open_at(snapshot, b"file", os.O_RDWR)
    with raises(30):
        snapshot.set_read_only(False)
    assert snapshot.fork().traits.writable
    assert not snapshot.snapshot().traits.writable


async def test_a_handle_from_before_the_snapshot_writes_to_the_live_tree():
    provider = MemoryProvider()
    await put(provider, b"log", b"one ")
    handle = await open_at(provider, b"log", os.O_RDWR | os.O_APPEND)
    snapshot = provider.snapshot()
    await handle.write(0, b"two")
    assert bytes(await handle.read(0, 100)) == b"one two"
    assert await get(provider, b"log") == b"one two"
    assert await get(snapshot, b"log") == b"one "
    await handle.release()


async def test_a_file_without_a_name_is_not_in_the_snapshot():
    provider = MemoryProvider(inodes=10)
    node = await put(provider, b"file", b"x" * 10_000)
    handle = await open_at(provider, b"file", os.O_RDWR)
    await unlink(provider, b"file")
    snapshot, fork = provider.snapshot(), provider.fork()
    for other in (snapshot, fork):
        check_books(other)
        assert other.statistics()["used_bytes"] == 0
        with raises(116):
            await other.getattr(node)
    assert bytes(await handle.read(0, 3)) == b"xxx"
    await handle.write(0, b"abc")
    await handle.release()
    assert provider.statistics()["used_bytes"] == 0
    check_books(provider)
    check_books(snapshot)


async def test_a_file_open_in_one_side_may_go_in_the_other():
    provider = MemoryProvider()
    await put(provider, b"file", b"data")
    handle = await open_at(provider, b"file", os.O_RDONLY)
    fork = provider.fork()
    await unlink(fork, b"file")
    assert bytes(await handle.read(0, 10)) == b"data"
    await handle.release()
    assert await get(provider, b"file") == b"data"
    check_books(fork)


def alive() -> Counter[type]:
    kinds = (File, Directory, Chunk)
    return Counter(type(each) for each in gc.get_objects() if type(each) in kinds)


async def test_dropping_a_snapshot_frees_what_only_it_held():
    """With the collector off: reference counts alone must do it."""
    provider = MemoryProvider()
    await mkdir(provider, b"dir")
    for number in range(100):
        await put(provider, b"dir/%d" % number, bytes(2 * CHUNK))
    gc.collect()
    gc.disable()
    try:
        start = alive()
        snapshot = provider.snapshot()
        for number in range(40):
            await put(provider, b"dir/%d" % number, bytes(2 * CHUNK))
        for number in range(40, 60):
            await unlink(provider, b"dir/%d" % number)
        both = alive()
        assert both[File] == start[File] + 40
        assert both[Chunk] == start[Chunk] + 40
        await snapshot.aclose()
        del snapshot
        left = alive()
        assert left[File] == start[File] - 20
        assert left[Chunk] == start[Chunk] - 20
        assert left[Directory] == start[Directory]
    finally:
        gc.enable()
    check_books(provider)


async def test_closing_one_version_leaves_the_others():
    provider = MemoryProvider()
    await put(provider, b"file", b"data")
    fork = provider.fork()
    await provider.aclose()
    assert await get(fork, b"file") == b"data"
    with raises(116):
        await provider.getattr(provider.root)


async def test_metadata_changes_share_the_data():
    provider = MemoryProvider()
    node = await put(provider, b"file", b"data" * 1000)
    snapshot = provider.snapshot()
    await provider.setattr(node, SetAttr(mode=0o600), ADMIN)
    assert copied(provider)["copied_chunks"] == 0
    assert (await find(snapshot, b"file")).stat.mode & 0o777 == 0o644
    mine, theirs = provider._version.find(node.number), snapshot._version.find(node.number)
    assert mine is not theirs
    assert mine.content is theirs.content


async def test_requests_leave_no_cycles():
    provider = MemoryProvider()
    gc.collect()
    gc.disable()
    try:
        for number in range(20):
            node = await put(provider, b"f%d" % number, b"data")
            await provider.getattr(node)
            await get(provider, b"f%d" % number)
            with suppress(FileNotFoundError):
                await find(provider, b"absent")
            await provider.readdir(provider.root)
            await unlink(provider, b"f%d" % number)
            provider.snapshot()
        assert gc.collect() == 0
    finally:
        gc.enable()


async def test_what_versions_share_is_known_to_be_unchanged(wide):
    await mkdir(wide, b"other")
    await put(wide, b"other/f", b"1")
    snapshot = wide.snapshot()
    handle = await open_at(wide, b"many/0001", os.O_WRONLY)
    await handle.write(0, b"live")
    await handle.release()
    await put(wide, b"other/g")

    async def unchanged(path: bytes) -> bool:
        here, there = await find(wide, path), await find(snapshot, path)
        return wide.unchanged(here.node, snapshot, there.node)

    expected = {b"": True, b"large": True, b"many": True, b"many/0002": True, b"other/f": True}
    expected |= {b"many/0001": False, b"other": False}
    assert {path: await unchanged(path) for path in expected} == expected
    root = (await find(wide, b"")).node
    assert not wide.unchanged(root, MemoryProvider(), root)
