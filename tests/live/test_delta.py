"""A frozen tree read by a thread, and the layer that makes a later version of an earlier one."""

from __future__ import annotations

import os
import stat

import pytest
import trio
import trio.testing

from providers.memory import MemoryProvider
from tests.unit.memory.trees import ADMIN, find, mkdir, put, rename, unlink
from vfsd.conformance import Model
from vfsd.conformance.files import Files
from vfsd.snapshots import frozen
from vfsd.snapshots.delta import Delta
from vfsd.snapshots.frozen import FrozenView
from vfsd.snapshots.layered import LayeredView
from vfsd.snapshots.view import TreeView


def walked(view: TreeView) -> dict[bytes, tuple]:
    """Return all that a view shows, by path; hard links as sets of paths."""
    found: dict[bytes, tuple] = {}
    names: dict[object, list[bytes]] = {}
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        item = view.item(path)
        kind = stat.S_IFMT(item.stat.mode)
        content: object = None
        if kind == stat.S_IFDIR:
            waiting += [path + b"/" + name if path else name for name in view.scan(path)]
        elif kind == stat.S_IFLNK:
            content = view.readlink(path)
        elif kind == stat.S_IFREG:
            with view.open(path) as file:
                content = file.read()
            assert len(content) == item.stat.size
        if kind != stat.S_IFDIR:
            names.setdefault(item.identity, []).append(path)
        kept = item.stat
        found[path] = (
            kept.mode,
            kept.uid,
            kept.gid,
            kept.rdev,
            kept.mtime_ns,
            content,
            dict(view.xattrs(path)),
        )
    linked = {path: sorted(paths) for paths in names.values() for path in paths}
    return {path: (*each, linked.get(path)) for path, each in found.items()}


def paths_of(view: TreeView) -> set[bytes]:
    return set(walked(view)) - {b""}


async def in_thread(function, *arguments):
    return await trio.to_thread.run_sync(function, *arguments)


async def delta_of(tree: MemoryProvider, before: MemoryProvider) -> dict[bytes, tuple]:
    """Check that the delta makes `tree` of `before`; return what it holds."""

    def compare() -> dict[bytes, tuple]:
        new, old = FrozenView(tree), FrozenView(before)
        delta = Delta(new, old)
        merged = LayeredView([delta, FrozenView(before)])
        assert walked(merged) == walked(FrozenView(tree))
        return walked(delta)

    return await in_thread(compare)


@pytest.fixture
async def tree():
    provider = MemoryProvider()
    for path in (b"a", b"a/deep", b"a/deep/er", b"b"):
        await mkdir(provider, path)
    for path in (b"a/one", b"a/deep/two", b"a/deep/er/three", b"b/four"):
        await put(provider, path, path)
    return provider


async def test_a_frozen_tree_reads_as_it_is(tree, monkeypatch):
    """With little at a time, so that pages, pieces and what is fetched ahead all end."""
    for name, value in (
        ("PAGE_NAMES", 3),
        ("SMALL_BYTES", 100),
        ("AHEAD_FILES", 2),
        ("AHEAD_BYTES", 150),
        ("PIECE_BYTES", 64),
        ("XATTRS_AHEAD_BYTES", 20),
        ("DIRECTORIES_MAX", 2),
    ):
        monkeypatch.setattr(frozen, name, value)
    sizes = [0, 1, 99, 100, 101, 1000, 7, 0, 64, 128]
    for number, size in enumerate(sizes):
        node = await put(tree, b"a/f%d" % number, os.urandom(size))
        await tree.setxattr(node, b"user.n", b"%d" % number)
    await tree.symlink(tree.root, b"link", b"../target", ADMIN)
    await tree.mknod(tree.root, b"fifo", stat.S_IFIFO | 0o600, 0, ADMIN)
    await tree.link((await find(tree, b"a/f5")).node, tree.root, b"hard")
    shown = await in_thread(walked, FrozenView(tree.snapshot()))
    assert shown[b"hard"][-1] == [b"a/f5", b"hard"]
    for number, size in enumerate(sizes):
        assert len(shown[b"a/f%d" % number][5]) == size
        assert shown[b"a/f%d" % number][6] == {b"user.n": b"%d" % number}
    assert shown[b"link"][5] == b"../target"
    assert len(shown) == 9 + len(sizes) + 3


async def test_it_refuses_what_a_view_refuses(tree):
    def refused() -> None:
        view = FrozenView(tree.snapshot())
        for action in (view.item, view.scan, view.open, view.xattrs):
            with pytest.raises(FileNotFoundError):
                action(b"a/none")
        with pytest.raises(OSError, match="Invalid"):
            view.open(b"a")
        with pytest.raises(NotADirectoryError):
            view.scan(b"a/one")

    await in_thread(refused)


async def test_the_loop_stays_free_while_a_tree_is_read():
    """Between two trips of the thread other tasks get their turn, however large a directory is."""
    tree = MemoryProvider()
    for number in range(5 * frozen.PAGE_NAMES):
        await put(tree, b"%d" % number, b"x")
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        view = FrozenView(tree.snapshot())
        await in_thread(view.scan, b"")
        assert turns >= 5
        nursery.cancel_scope.cancel()


async def test_reading_ends_when_its_task_is_cancelled(tree):
    ended = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def read_for_ever() -> None:
        try:
            while True:
                walked(FrozenView(tree))
        finally:
            token.run_sync_soon(ended.set)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(in_thread, read_for_ever)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert ended.is_set()


async def test_nothing_changed_is_an_empty_layer(tree):
    assert set(await delta_of(tree.snapshot(), tree.snapshot())) == {b""}


async def test_a_layer_holds_what_changed_and_the_way_to_it(tree):
    before = tree.snapshot()
    await put(tree, b"a/deep/two", b"changed")
    held = await delta_of(tree.snapshot(), before)
    assert set(held) == {b"", b"a", b"a/deep", b"a/deep/two"}


async def test_what_is_gone_is_a_whiteout(tree):
    before = tree.snapshot()
    await unlink(tree, b"b/four")
    held = await delta_of(tree.snapshot(), before)
    assert set(held) == {b"", b"b", b"b/four"}
    assert (stat.S_IFMT(held[b"b/four"][0]), held[b"b/four"][3]) == (stat.S_IFCHR, 0)


async def test_a_renamed_directory_is_whole_where_it_is_and_gone_where_it_was(tree):
    before = tree.snapshot()
    await rename(tree, b"a/deep", b"moved")
    held = await delta_of(tree.snapshot(), before)
    assert set(held) == {
        *(b"", b"a", b"a/deep", b"moved", b"moved/two", b"moved/er", b"moved/er/three")
    }
    assert b"user.overlay.opaque" not in held[b"moved"][6]


async def test_a_directory_in_place_of_another_is_opaque(tree):
    before = tree.snapshot()
    await rename(tree, b"a/deep", b"kept")
    await mkdir(tree, b"a/deep")
    await put(tree, b"a/deep/new", b"new")
    held = await delta_of(tree.snapshot(), before)
    assert held[b"a/deep"][6] == {b"user.overlay.opaque": b"y"}
    assert b"a/deep/two" not in held


async def test_types_take_each_others_place(tree):
    before = tree.snapshot()
    await unlink(tree, b"b/four")
    await mkdir(tree, b"b/four")
    await put(tree, b"b/four/in", b"1")
    await unlink(tree, b"a/one")
    await tree.symlink((await find(tree, b"a")).node, b"one", b"x", ADMIN)
    await delta_of(tree.snapshot(), before)


async def test_a_new_name_brings_all_names_of_the_file(tree):
    node = (await find(tree, b"a/one")).node
    await tree.link(node, (await find(tree, b"b")).node, b"same")
    before = tree.snapshot()
    await rename(tree, b"a", b"c")  # the file itself does not change, but its path does
    held = await delta_of(tree.snapshot(), before)
    assert held[b"b/same"][-1] == [b"b/same", b"c/one"]


async def test_deep_trees_are_compared():
    tree = MemoryProvider()
    parent = tree.root
    for _ in range(1500):
        parent = (await tree.mkdir(parent, b"d", 0o755, ADMIN)).node
    before = tree.snapshot()
    await tree.mkdir(parent, b"last", 0o755, ADMIN)
    new = tree.snapshot()

    def depth() -> int:
        delta, path = Delta(FrozenView(new), FrozenView(before)), b"d"
        while names := list(delta.scan(path)):
            assert len(names) == 1
            path += b"/" + names[0]
        return path.count(b"/")

    assert await in_thread(depth) == 1500


@pytest.mark.parametrize("seed", range(12))
async def test_random_histories(seed):
    """Whatever happens between two versions, their delta over the first one is the second one."""
    files = Files(MemoryProvider())
    model = Model(files, seed)
    versions = [files.provider.snapshot()]
    for _ in range(4):
        await model.run(60)
        versions.append(files.provider.snapshot())
    for position, version in enumerate(versions[1:], 1):
        await delta_of(version, versions[position - 1])
    await delta_of(versions[-1], versions[0])
