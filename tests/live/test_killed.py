"""Killed at any instant while a tree is stored: the whole snapshot or none, the others unharmed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import trio

from providers.memory import MemoryProvider
from tests.unit.memory.trees import mkdir, put, rename, unlink
from tests.unit.snapshots.killing import killed_everywhere
from tests.unit.snapshots.treedump import dump
from vfsd.snapshots.collection import collect
from vfsd.snapshots.frozen import FrozenView
from vfsd.snapshots.lineage import Lineage
from vfsd.snapshots.store import Store
from vfsd.snapshots.storing import Storing
from vfsd.snapshots.verification import verify


async def first(tree: MemoryProvider) -> None:
    await mkdir(tree, b"d")
    await put(tree, b"d/x", b"x" * 5000)
    await put(tree, b"gone", b"1")


async def second(tree: MemoryProvider) -> None:
    await put(tree, b"d/x", b"acknowledged")
    await put(tree, b"new", os.urandom(300_000))
    await unlink(tree, b"gone")
    await rename(tree, b"d", b"moved")


def shown(store: Store, name: str) -> dict[bytes, tuple]:
    with store.lease(name) as lease, lease.view() as view:
        return dump(view)


@pytest.mark.parametrize("replace", [False, True], ids=["new", "replacing"])
def test_storing_a_later_version(tmp_path, monkeypatch, replace):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tree = MemoryProvider()
    storing = Storing(Lineage(), lambda provider: provider.aclose())
    expected = []

    async def begin() -> None:
        await first(tree)
        await storing.store("one", tree)
        expected.append(await _dumped(tree))
        await second(tree)
        expected.append(await _dumped(tree))

    trio.run(begin)
    name = "one" if replace else "two"
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "vfsd", kept)

    def prepare() -> None:
        shutil.rmtree(tmp_path / "vfsd")
        shutil.copytree(kept, tmp_path / "vfsd")

    async def again() -> None:
        await storing.store(name, tree, replace=replace)

    outcomes = set()
    for _ in killed_everywhere(prepare, lambda: trio.run(again)):
        outcomes.add(_check(name, expected, replace=replace))
    assert outcomes == {False, True}, "it was killed both before and after the name was there"
    assert _check(name, expected, replace=replace), "it came to its end"


def _check(name: str, expected: list[dict], *, replace: bool) -> bool:
    """Check the store, and say whether it has the later version."""
    store = Store()
    names = store.names()
    if replace:
        assert names == ["one"]
        is_there = shown(store, "one") != expected[0]
    else:
        assert shown(store, "one") == expected[0]
        is_there = names == ["one", "two"]
        assert is_there or names == ["one"]
    if is_there:
        assert shown(store, name) == expected[1]
    assert verify(store).damages == []
    collect(store)
    assert list(Path(store.place.staging).iterdir()) == []
    assert set(store.layers()) == {
        layer for each in store.names() for layer in store.snapshot(each).chain
    }
    return is_there


async def _dumped(tree: MemoryProvider) -> dict[bytes, tuple]:
    return await trio.to_thread.run_sync(lambda: dump(FrozenView(tree.snapshot())))
