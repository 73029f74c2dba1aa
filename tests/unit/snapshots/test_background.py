"""After a save has returned: digests, everything on disk, and what was replaced goes."""

from __future__ import annotations

import os

import pytest

from vfsd.snapshots import background, collection, folding
from vfsd.snapshots.collection import collect, remove
from vfsd.snapshots.folding import LAYERS_MAX, LAYERS_SOON
from vfsd.snapshots.naming import rename
from vfsd.snapshots.refusals import NotFound
from vfsd.snapshots.settling import settle
from vfsd.snapshots.verification import verify


def run(world, name: str, *, code: int = 0) -> None:
    pid = background.settle_in_background(world.store, name)
    assert os.getsid(pid) == pid
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code


def test_a_program_of_its_own_settles_and_frees_what_was_replaced(world):
    world.save("one", {"a": "1"})
    world.save("one", {"a": "2"}, replace=True)
    assert len(world.store.layers()) == 2
    run(world, "one")
    snapshot = world.store.snapshot("one")
    assert snapshot.settled
    assert world.store.layers() == list(snapshot.chain)
    assert verify(world.store).damages == []


def test_it_imports_nothing_from_where_it_is_started(world, monkeypatch):
    trap = world.place / "vfsd"
    trap.mkdir()
    (trap / "__init__.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(world.place)
    world.save("one", {"a": "1"})
    run(world, "one")
    assert world.store.snapshot("one").settled


def test_it_folds_what_is_deep(world):
    name = None
    for number in range(LAYERS_SOON + 1):
        world.save(f"s{number}", {"f": str(number)}, on=name)
        name = f"s{number}"
    run(world, str(name))
    assert len(world.store.snapshot(str(name)).chain) == 1
    assert world.shows(str(name))["f"] == str(LAYERS_SOON)


def test_a_name_that_has_gone_is_no_trouble(world):
    world.save("one", {"a": "1"})
    run(world, "none", code=1)


def test_settling_is_no_fork_so_what_is_settled_can_be_removed(world):
    """As `vfsd snapshot rm` right after `vfsd run --save` does."""
    world.save("one", {"a": "1"})
    held = []

    def told(files: int, size_bytes: int) -> None:
        if "one" in world.store.names():
            remove(world.store, "one")
            held.extend(world.store.layers())

    with pytest.raises(NotFound):
        settle(world.store, "one", told=told)
    assert len(held) == 1
    run(world, "one", code=1)
    assert world.store.layers() == []


def test_what_is_renamed_while_it_is_settled_is_settled_under_its_new_name(world):
    world.save("one", {"a": "1"})

    def told(files: int, size_bytes: int) -> None:
        if "one" in world.store.names():
            rename(world.store, "one", "two")

    assert settle(world.store, "one", told=told).name == "two"
    assert world.store.snapshot("two").settled
    assert world.store.names() == ["two"]


def test_folding_is_no_fork_either(world, monkeypatch):
    name = None
    for number in range(LAYERS_SOON + 1):
        world.save(f"s{number}", {"f": str(number)}, on=name)
        name = f"s{number}"
    merge = folding.merge

    def removed_first(*arguments, **words):
        remove(world.store, str(name))
        merge(*arguments, **words)

    monkeypatch.setattr(folding, "merge", removed_first)
    with world.store.lease(f"s{LAYERS_SOON - 1}"):
        assert not folding.fold_if_deep(world.store, str(name))
    assert name not in world.store.names()


def test_an_archive_over_a_chain_that_had_to_be_folded_is_not_settled(world):
    """What the record says is on disk is on disk: the folded layer is not, yet."""
    name = None
    for number in range(LAYERS_MAX):
        world.save(f"s{number}", {"f": str(number)}, on=name)
        name = f"s{number}"
    settle(world.store, str(name))
    with world.store.lease(str(name)) as lease:
        assert len(lease.layers) == LAYERS_MAX
        top = world.store.save_packed(
            "top", world.pack({"top": "1"}), base=lease.base, chain=lease.snapshot.chain
        )
    assert len(top.chain) == 2
    assert not top.settled
    assert settle(world.store, "top").settled


def test_a_deep_chain_that_cannot_be_folded_is_durable_all_the_same(world, monkeypatch):
    world.save("one", {"a": "1"})

    def closed(store, name):
        raise PermissionError(13, "closed to its owner")

    monkeypatch.setattr(collection, "fold_if_deep", closed)
    done = collect(world.store)
    assert done.settled == ["one"]
    assert any("not folded" in reason for reason in done.kept)
    assert world.store.snapshot("one").settled
