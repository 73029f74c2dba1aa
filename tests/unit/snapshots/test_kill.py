"""Killed at any instant, whatever it does, the store has each snapshot wholly or not at all."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.unit.snapshots.killing import killed_everywhere
from tests.unit.snapshots.storeworld import OPAQUE, WHITEOUT, World
from vfsd.errors import UserError
from vfsd.snapshots import sealing
from vfsd.snapshots.collection import collect, remove
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store
from vfsd.snapshots.verification import verify

FIRST = {"a": "1", "b": "1", "d/x": "1"}
SECOND = {"a": "2", "d": OPAQUE, "d/y": "2"}
THIRD = {"b": WHITEOUT, "d/z": "3"}
NEW = {"new": "4", "a": "4"}


@pytest.fixture
def kept(tmp_path) -> World:
    """A store of three snapshots in a chain, to be copied for each kill."""
    world = World(tmp_path)
    world.save("one", FIRST)
    world.save("two", SECOND, on="one")
    world.save("three", THIRD, on="two")
    for name in world.store.names():
        settle(world.store, name)
    return world


def restored(world: World) -> World:
    """Return a world like `world` was, in a place that is the same each time."""
    place = world.place / "again"
    shutil.rmtree(place, ignore_errors=True)
    again = World(place)
    os.system(f"cp -a --no-target-directory {world.root} {again.root}")
    return again


def check_everything(world: World, expected: dict[str, dict[str, str]]) -> None:
    """What is there shows what it should, verifies, and nothing but that is left after gc."""
    found = Store(str(world.root))
    assert set(found.names()) == set(expected)
    assert {name: world.shows(name) for name in expected} == expected
    assert verify(found).damages == []
    collect(found)
    assert {name: world.shows(name) for name in expected} == expected
    used = {layer for name in expected for layer in found.snapshot(name).chain}
    assert set(found.layers()) == used
    assert os.listdir(found.place.staging) == []
    assert verify(found).damages == []
    for name in expected:
        assert "name" not in os.listdir(found.place.layer(found.snapshot(name).chain[0]))


def shown(world: World) -> dict[str, dict[str, str]]:
    return {name: world.shows(name) for name in world.store.names()}


@pytest.mark.parametrize("replace", [False, True], ids=["new", "replacing"])
def test_saving(kept, replace):
    old = shown(kept)
    name = "two" if replace else "four"
    layer = {"again": None}

    def prepare():
        again = layer["again"] = restored(kept)
        layer["upper"] = again.upper(NEW)

    def work():
        again = layer["again"]
        with again.store.lease("three") as lease:
            again.store.save_directory(
                name,
                layer["upper"],
                base=lease.base,
                chain=lease.snapshot.chain,
                parent="three",
                replace=replace,
            )

    saved = old["three"] | {"new": "4", "a": "4"}
    outcomes = set()
    for _ in killed_everywhere(prepare, work):
        again = layer["again"]
        done = name in again.store.names() and "new" in again.shows(name)
        outcomes.add(done)
        assert done or not _is_lost(again, layer["upper"])
        check_everything(again, {**old, name: saved} if done else old)
    # The name is the last thing that is made.
    assert outcomes == {False}
    check_everything(layer["again"], {**old, name: saved})


def _is_lost(world: World, upper: str) -> bool:
    """Say whether the files of the command are nowhere: neither where they were nor staged."""
    places = [upper, *(f"{world.root}/{each}" for each in ("staging", "layers"))]
    return not any(
        name == "new" for place in places for _, _, names in os.walk(place) for name in names
    )


def test_packed(kept):
    """The archive's format does not matter to the store: it adopts a file."""
    old = shown(kept)
    layer = {}

    def prepare():
        layer["again"] = restored(kept)
        layer["pack"] = layer["again"].place / "made"
        layer["pack"].write_bytes(b"an archive")

    def work():
        layer["again"].store.save_packed("four", str(layer["pack"]))

    outcomes = set()
    for _ in killed_everywhere(prepare, work):
        found = Store(str(layer["again"].root))
        done = "four" in found.names()
        outcomes.add(done)
        if done:
            assert found.snapshot("four").settled
            assert verify(found, ["four"]).damages == []
            remove(found, "four")
        check_everything(layer["again"], old)
    assert outcomes == {True, False}


@pytest.mark.parametrize("gone", ["one", "two", "three"])
def test_removing(kept, gone):
    old = shown(kept)
    layer = {}

    def prepare():
        layer["again"] = restored(kept)

    def work():
        remove(layer["again"].store, gone)

    outcomes = set()
    for _ in killed_everywhere(prepare, work):
        still = gone in layer["again"].store.names()
        outcomes.add(still)
        left = old if still else {name: files for name, files in old.items() if name != gone}
        check_everything(layer["again"], left)
    assert outcomes == {True, False}


def test_settling(tmp_path):
    world = World(tmp_path)
    world.save("one", FIRST)
    world.save("two", SECOND, on="one")
    old = shown(world)
    layer = {}

    def prepare():
        layer["again"] = restored(world)

    def work():
        settle(layer["again"].store, "two")

    for _ in killed_everywhere(prepare, work):
        check_everything(layer["again"], old)
    assert layer["again"].store.snapshot("two").settled


def test_collecting_with_everything_to_do(kept):
    kept.save("lonely", {"x": "1"})
    kept.save("unsettled", {"x": "1"})
    os.unlink(kept.store.place.snapshot("lonely"))
    os.unlink(kept.store.place.snapshot("two"))
    os.makedirs(kept.store.place.staged("0123456789abcdef", "work"))
    with open(kept.store.place.format, "r+b") as file:
        file.write(b"\xff")
    old = shown(kept)
    layer = {}

    def prepare():
        layer["again"] = restored(kept)

    def work():
        collect(Store(str(layer["again"].root)))

    for _ in killed_everywhere(prepare, work):
        # The format's record was damaged; whoever comes next mends it.
        collect(Store(str(layer["again"].root)))
        check_everything(layer["again"], old)
    check_everything(layer["again"], old)


def test_an_error_at_any_call_loses_nothing(kept, monkeypatch):
    """Not a kill but a failing disk: the call fails, and the caller is told."""
    old = shown(kept)
    names = ("mkdir", "rename", "write", "open")
    outcomes = []
    for call in range(200):
        again = restored(kept)
        upper = again.upper(NEW)
        with again.store.lease("three") as lease:
            failed = _failing_at(monkeypatch, call, names)
            try:
                again.store.save_directory(
                    "four", upper, base=lease.base, chain=lease.snapshot.chain
                )
            except (UserError, OSError):
                outcomes.append("told")
                monkeypatch.undo()
                assert os.path.exists(f"{upper}/new")
                check_everything(again, old)
                continue
            monkeypatch.undo()
        if not failed():
            break
        outcomes.append("did not matter")
    assert outcomes.count("told") > 8
    check_everything(again, {**old, "four": old["three"] | {"new": "4", "a": "4"}})


def _failing_at(monkeypatch, call, names):
    left = [call]

    def wrapped(plain, name):
        def run(*args, **kwargs):
            if name == "open" and not args[1] & os.O_CREAT:
                return plain(*args, **kwargs)
            left[0] -= 1
            if left[0] == -1:
                raise OSError(5, "a disk that fails")
            return plain(*args, **kwargs)

        return run

    for name in names:
        monkeypatch.setattr(os, name, wrapped(getattr(os, name), name))
    monkeypatch.setattr(sealing, "rename_new", wrapped(sealing.rename_new, "rename_new"))
    return lambda: left[0] < 0
