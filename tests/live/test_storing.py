"""A tree in use written to the store: as it was, whole or nothing, and no more than changed."""

from __future__ import annotations

import os
import stat
import weakref
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from providers.memory import MemoryProvider
from tests.live.test_delta import walked
from tests.unit.memory.trees import ADMIN, find, get, mkdir, open_at, put, rename, unlink
from vfsd.conformance import Model
from vfsd.conformance.files import Files
from vfsd.snapshots.frozen import FrozenView
from vfsd.snapshots.lineage import Lineage
from vfsd.snapshots.packed import PackedView
from vfsd.snapshots.store import Store
from vfsd.snapshots.storing import Storing


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return Store()


@pytest.fixture
def storing():
    return Storing(Lineage(), lambda provider: provider.aclose())


@pytest.fixture
async def tree():
    provider = MemoryProvider()
    for path in (b"a", b"a/deep", b"b"):
        await mkdir(provider, path)
    for path in (b"a/one", b"a/deep/two", b"b/three"):
        await put(provider, path, path)
    node = (await find(provider, b"a/one")).node
    await provider.link(node, (await find(provider, b"b")).node, b"same")
    await provider.setxattr(node, b"user.kept", b"\0value")
    await provider.symlink(provider.root, b"link", b"a/one", ADMIN)
    await provider.mknod(provider.root, b"fifo", stat.S_IFIFO | 0o600, 0, ADMIN)
    await provider.mknod(provider.root, b"null", stat.S_IFCHR | 0o666, os.makedev(1, 3), ADMIN)
    return provider


async def shown(store: Store, name: str) -> dict[bytes, tuple]:
    """Return all that the stored snapshot shows, read from the disk alone."""

    def look() -> dict[bytes, tuple]:
        with Store(store.place.root).lease(name) as lease, lease.view() as view:
            return walked(view)

    return await trio.to_thread.run_sync(look)


def leftovers(store: Store) -> list[Path]:
    return list(Path(store.place.root).glob("staging/*"))


async def as_is(tree: MemoryProvider) -> dict[bytes, tuple]:
    return await trio.to_thread.run_sync(walked, FrozenView(tree.snapshot()))


async def test_a_stored_tree_is_as_it_was(tree, storing, store):
    expected = await as_is(tree)
    stored = await storing.store("one", tree)
    await put(tree, b"a/one", b"changed later")
    assert await shown(store, "one") == expected
    assert stored.files == len(expected) - 1
    assert store.snapshot("one") == stored.snapshot
    assert (stored.snapshot.base, len(stored.snapshot.chain)) == (None, 1)


async def test_the_instant_is_that_of_the_call(tree, storing, store):
    expected = await as_is(tree)
    frozen = trio.Event()

    async def tell(files: int, size_bytes: int) -> None:
        frozen.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(storing.store, "one", tree, told=tell))
        await frozen.wait()
        for number in range(50):
            await put(tree, b"a/new%d" % number, b"x")
            await put(tree, b"a/deep/two", b"%d" % number)
    assert await shown(store, "one") == expected


async def test_a_later_version_is_a_layer_of_what_changed(tree, storing, store):
    await put(tree, b"large", os.urandom(3_000_000))
    await storing.store("one", tree)
    await put(tree, b"a/deep/two", b"changed")
    await unlink(tree, b"b/three")
    await rename(tree, b"a/deep", b"moved")
    expected = await as_is(tree)
    later = await storing.store("two", tree)
    assert await shown(store, "two") == expected
    assert later.snapshot.parent == "one"
    assert later.snapshot.chain[1:] == store.snapshot("one").chain
    assert later.size_bytes < 100
    size_bytes = store.layer(later.snapshot.chain[0]).size_bytes
    assert size_bytes is not None
    assert size_bytes < 100_000


async def test_a_fork_is_stored_over_what_its_tree_was_stored_as(tree, storing, store):
    await storing.store("one", tree)
    fork = tree.snapshot().fork()
    storing._lineage.inherit(tree, fork)
    await put(fork, b"a/one", b"fork")
    await put(tree, b"a/one", b"tree")
    stored = await storing.store("two", fork)
    assert stored.snapshot.parent == "one"
    assert stored.files == 4, "the file by both names, and their directories"
    assert await shown(store, "two") == await as_is(fork)


async def test_where_the_earlier_version_is_gone_the_whole_tree_is_written(tree, storing, store):
    first = await storing.store("one", tree)
    await storing.store("one", MemoryProvider(), replace=True)
    second = await storing.store("two", tree)
    assert second.snapshot.parent is None
    assert second.files == first.files
    os.unlink(store.place.snapshot("two"))
    third = await storing.store("three", tree)
    assert third.files == first.files


async def test_a_history_of_versions(storing, store):
    files = Files(MemoryProvider())
    model = Model(files, 3)
    expected = []
    for number in range(8):
        await model.run(40)
        expected.append(await as_is(files.provider))
        await storing.store(f"v{number}", files.provider)
    for number in range(8):
        assert await shown(store, f"v{number}") == expected[number]
    assert len(store.snapshot("v7").chain) == 8


async def test_a_chain_does_not_grow_past_its_limit(tree, storing, store, monkeypatch):
    monkeypatch.setattr("vfsd.snapshots.storing.LAYERS_MAX", 3)
    lengths = []
    for number in range(5):
        await put(tree, b"a/one", b"%d" % number)
        stored = await storing.store(f"v{number}", tree)
        lengths.append(len(stored.snapshot.chain))
        assert await shown(store, f"v{number}") == await as_is(tree)
    assert lengths == [1, 2, 3, 1, 2]


async def test_holes_are_stored_as_holes(storing, store):
    tree = MemoryProvider()
    await put(tree, b"disk", b"")
    handle = await open_at(tree, b"disk", os.O_WRONLY)
    await handle.write(0, b"begin")
    await handle.write(1 << 40, b"end")
    await handle.release()
    stored = await storing.store("one", tree)
    size_bytes = store.layer(stored.snapshot.chain[0]).size_bytes
    assert size_bytes is not None
    assert size_bytes < 1 << 20
    with PackedView.at(store.place.layer(stored.snapshot.chain[0], "pack")) as view:
        assert view.item(b"disk").stat.size == (1 << 40) + 3
        assert view.item(b"disk").stat.blocks * 512 < 1 << 20
        with view.open(b"disk") as file:
            assert file.read(5) == b"begin"
            file.seek(1 << 40)
            assert file.read() == b"end"


async def test_progress_is_told_and_the_loop_stays_free(storing, store, monkeypatch):
    monkeypatch.setattr("vfsd.snapshots.storing.TELL_EVERY_SECONDS", 0)
    tree = MemoryProvider()
    for number in range(500):
        await put(tree, b"%d" % number, b"data")
    told, turns = [], 0

    async def tell(files: int, size_bytes: int) -> None:
        told.append((files, size_bytes, turns))

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        await storing.store("one", tree, told=tell)
        nursery.cancel_scope.cancel()
    assert told[-1][:2] == (500, 2000)
    assert [each[0] for each in told] == sorted(each[0] for each in told)
    assert told[-1][2] > told[0][2], "other tasks ran in between"


@pytest.mark.parametrize("after_files", [0, 1, 5, 10])
async def test_cancelled_it_leaves_nothing(tree, storing, store, monkeypatch, after_files):
    monkeypatch.setattr("vfsd.snapshots.storing.TELL_EVERY_SECONDS", 0)

    async def tell(files: int, size_bytes: int) -> None:
        if files >= after_files:
            scope.cancel()
            await trio.sleep_forever()

    with trio.CancelScope() as scope:
        await storing.store("one", tree, told=tell)
    assert scope.cancelled_caught
    assert store.names() == store.layers() == []
    assert leftovers(store) == []
    await storing.store("one", tree)
    assert await shown(store, "one") == await as_is(tree)


async def test_a_taken_name_is_refused_and_keeps_what_it_had(tree, storing, store):
    await storing.store("one", tree)
    expected = await as_is(tree)
    await put(tree, b"a/one", b"later")
    with pytest.raises(Exception, match="'one' exists already"):
        await storing.store("one", tree)
    assert await shown(store, "one") == expected
    await storing.store("one", tree, replace=True)
    assert await shown(store, "one") == await as_is(tree)


async def test_what_was_kept_for_comparing_is_freed_with_the_tree(storing, store):
    tree = MemoryProvider()
    await put(tree, b"f", b"1")
    await storing.store("one", tree)
    kept = storing._lineage.past(tree).stored
    assert kept is not None
    assert await get(kept.provider, b"f") == b"1"
    seen = weakref.ref(kept.provider)
    del tree, kept
    assert seen() is None
    assert not storing._lineage._pasts
