"""After a save has returned: digests, everything on disk, and what was replaced goes."""

from __future__ import annotations

import os

from vfsd.snapshots import background, collection
from vfsd.snapshots.collection import collect
from vfsd.snapshots.folding import LAYERS_MAX, LAYERS_SOON
from vfsd.snapshots.settling import settle
from vfsd.snapshots.verification import verify


def run(world, name: str) -> None:
    pid = background.settle_in_background(world.store, name)
    assert os.getsid(pid) == pid
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


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
    pid = background.settle_in_background(world.store, "none")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


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
