"""Removing frees exactly what only the removed one held; collecting keeps what is in use."""

from __future__ import annotations

import os
import random

import pytest

from tests.unit.snapshots.callcount import counted
from tests.unit.snapshots.inodes import inodes
from tests.unit.snapshots.overlaymount import overlay
from tests.unit.snapshots.storeworld import OPAQUE, WHITEOUT, fill
from tests.unit.snapshots.treedump import dump, dump_directory
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.collection import collect, foresee, remove
from vfsd.snapshots.folding import LAYERS_MAX, LAYERS_SOON, fold_if_deep
from vfsd.snapshots.refusals import InUse, NotFound
from vfsd.snapshots.removal import remove_tree
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store
from vfsd.snapshots.usage import runs, without

BIG = "x" * 40_000


def test_the_first_of_a_chain_frees_its_name_alone(world):
    world.save("one", {"a": BIG})
    world.save("two", {"b": BIG}, on="one")
    before = world.shows("two")
    done = remove(world.store, "one")
    assert world.store.names() == ["two"]
    assert world.shows("two") == before
    assert done.freed_bytes < len(BIG)


def test_the_last_of_a_chain_frees_its_layer(world):
    world.save("one", {"a": BIG})
    kept = inodes(world.root / "layers")
    world.save("two", {"b": BIG}, on="one")
    done = remove(world.store, "two")
    assert done.freed_bytes >= len(BIG)
    assert inodes(world.root / "layers") == kept


def test_one_in_the_middle_frees_exactly_what_only_it_held(world):
    """Of the three layers, what the middle one has and the top one shadows goes; no more."""
    world.save("one", {"first": BIG, "shadowed-by-two": BIG})
    world.save(
        "two",
        {
            "shadowed-by-two": BIG,
            "shadowed-by-three": BIG,
            "deleted-by-three": BIG,
            "tree/a": BIG,
            "tree/b": BIG,
            "kept": BIG,
        },
        on="one",
    )
    world.save(
        "three",
        {
            "shadowed-by-three": "3",
            "deleted-by-three": WHITEOUT,
            "tree": OPAQUE,
            "tree/c": "3",
            "new": "3",
        },
        on="two",
    )
    shown = {name: world.shows(name) for name in ("one", "three")}
    middle = world.root / "layers" / world.store.snapshot("two").chain[0] / "tree"
    only_it = {
        os.stat(middle / name).st_ino
        for name in ("shadowed-by-three", "deleted-by-three", "tree/a", "tree/b")
    }
    before = inodes(world.root / "layers")
    done = remove(world.store, "two")
    after = inodes(world.root / "layers")
    data = {inode for inode, size in before.items() if size >= len(BIG)}
    assert data - set(after) == only_it
    assert done.freed_bytes >= len(only_it) * len(BIG)
    assert done.freed_bytes < (len(only_it) + 1) * len(BIG)
    assert {name: world.shows(name) for name in ("one", "three")} == shown
    assert world.store.snapshot("three").parent == "one"
    assert len(world.store.snapshot("three").chain) == 2
    # And the base still shows through what is not in the way.
    (world.base / "later").write_text("base")
    assert world.shows("three")["later"] == "base"


def test_a_layer_that_two_branches_use_stays_apart(world):
    world.save("one", {"a": "1"})
    world.save("two", {"a": "2"}, on="one")
    world.save("left", {"l": "left"}, on="two")
    world.save("right", {"r": "right"}, on="two")
    shown = {name: world.shows(name) for name in ("left", "right")}
    done = remove(world.store, "two")
    # "one" keeps its layer; that of "two" is under two others.
    assert done.merged == []
    remove(world.store, "right")
    assert world.shows("left") == shown["left"]
    assert len(world.store.snapshot("left").chain) == 2


@pytest.mark.parametrize(
    ("chains", "expected"),
    [
        ([["a"]], []),
        ([["c", "b", "a"]], [("c", "b", "a")]),
        ([["c", "b", "a"], ["a"]], [("c", "b")]),
        ([["c", "b", "a"], ["d", "b", "a"]], [("b", "a")]),
        ([["c", "b", "a"], ["b", "a"], ["a"]], []),
        ([["c", "b"], ["c", "a"]], []),
        ([["e", "d", "b", "a"], ["c", "b", "a"]], [("b", "a"), ("e", "d")]),
    ],
)
def test_which_layers_are_only_used_together(chains, expected):
    assert runs(chains) == expected
    for run in expected:
        chains = [without(chain, run, "m") for chain in chains]
    assert all(set(chain) & set(run) == set() for chain in chains for run in expected)


@pytest.mark.parametrize("seed", range(3))
def test_any_order_of_removal_leaves_the_others_as_they_are(world, seed):
    rng = random.Random(seed)
    names: list[str] = []
    for number in range(14):
        files = {
            rng.choice(["a", "b", "d/x", "d/y", "e/f/g", "e/h", "kept"]): rng.choice(
                [f"by {number}", WHITEOUT]
            )
            for _ in range(3)
        }
        name = f"s{number}"
        world.save(name, files, on=rng.choice([None, *names]) if names else None)
        names.append(name)
    shown = {name: world.shows(name) for name in names}
    while names:
        gone = names.pop(rng.randrange(len(names)))
        remove(world.store, gone)
        assert {name: world.shows(name) for name in names} == {name: shown[name] for name in names}
        used = {layer for name in names for layer in world.store.snapshot(name).chain}
        assert used == set(world.store.layers())
    assert os.listdir(world.store.place.staging) == []


@pytest.mark.root
def test_a_merged_layer_shows_the_same_through_the_kernel(world, tmp_path):
    world.save("one", {"a": "1", "d/x": "1", "d/y": "1", "e/z": "1", "t": "file", "kept": "1"})
    world.save(
        "two",
        {"d": OPAQUE, "d/new": "2", "e/z": WHITEOUT, "t/inner": "2", "kept": WHITEOUT},
        on="one",
    )
    world.save("three", {"a": WHITEOUT, "d/more": "3", "changed": ("symlink", "a")}, on="two")
    with world.store.lease("three") as lease, lease.view() as view:
        before = dump(view)
    remove(world.store, "one")
    remove(world.store, "two")
    snapshot = world.store.snapshot("three")
    assert len(snapshot.chain) == 1
    tree = world.root / "layers" / snapshot.chain[0] / "tree"
    with overlay(tmp_path, [tree, world.base]) as point:
        through = dump_directory(point)
    with world.store.lease("three") as lease, lease.view() as view:
        after = dump(view)
    # Only the top layer's root keeps its time; nothing else tells merged from unmerged.
    assert after == before
    assert through == before


def test_a_whole_tree_needs_no_whiteouts(world):
    world.save("one", {"a": "1", "d/x": "1", "gone": "1"}, base=False)
    world.save("two", {"gone": WHITEOUT, "d": OPAQUE, "d/y": "2"}, on="one")
    remove(world.store, "one")
    tree = world.root / "layers" / world.store.snapshot("two").chain[0] / "tree"
    assert sorted(os.listdir(tree)) == ["a", "d"]
    assert os.listxattr(tree / "d") == []
    assert world.shows("two") == {"a": "1", "d/y": "2"}


def test_hard_links_stay_links(world):
    world.save("one", {"x": "1", "y": ("link", "x"), "z": ("link", "x")})
    world.save("two", {"z": "2"}, on="one")
    remove(world.store, "one")
    with world.store.lease("two") as lease, lease.view() as view:
        assert view.item(b"x").identity == view.item(b"y").identity != view.item(b"z").identity


def test_what_a_fork_stands_on_is_not_removed(world):
    world.save("one", {"a": "1"})
    world.save("two", {"a": "2"}, on="one")
    with world.store.lease("two") as lease:
        with pytest.raises(InUse) as caught:
            remove(world.store, "two")
        assert caught.value.exit_code == ExitCode.REFUSED
        lowers = lease.lowerdirs()
        # The one below may lose its name; the layers stay.
        remove(world.store, "one")
        remove(world.store, "two", force=True)
        assert world.store.names() == []
        assert collect(world.store).layers == []
        assert all(os.path.isdir(lower) for lower in lowers)
    assert len(collect(world.store).layers) == 2
    assert not any(os.path.isdir(lower) for lower in lowers)
    assert os.listdir(world.store.place.leases) == []


def test_what_is_being_made_is_not_collected(world):
    with world.store.stage() as staging:
        fill(world.root / "staging" / staging.id / "upper", {"a": "1"})
        assert collect(world.store).leftovers == 0
        assert os.path.exists(staging.part("upper/a"))
    assert not os.path.exists(staging.path)


def test_what_a_dead_process_left_is_collected(world):
    world.save("one", {"a": "1"})
    pid = os.fork()
    if pid == 0:
        staging = Store(str(world.root)).stage()
        os.makedirs(staging.part("work/work"))
        os.chmod(staging.part("work/work"), 0)
        os._exit(0)
    os.waitpid(pid, 0)
    assert foresee(world.store).leftovers == 1
    assert collect(world.store).leftovers == 1
    assert os.listdir(world.store.place.staging) == []
    assert world.shows("one")["a"] == "1"


def test_a_dry_run_tells_what_the_real_one_does(world):
    world.save("one", {"a": BIG, "both": BIG})
    world.save("two", {"b": BIG}, on="one")
    os.unlink(world.store.place.snapshot("two"))
    expected = foresee(world.store)
    assert len(world.store.layers()) == 2
    done = collect(world.store)
    assert (done.layers, done.settled) == (expected.layers, expected.settled)
    assert len(done.layers) == 1
    # The lease, removed first, is the only difference.
    assert 0 <= expected.freed_bytes - done.freed_bytes < 4096
    assert len(world.store.layers()) == 1


def test_nothing_goes_while_a_record_cannot_be_read(world):
    world.save("one", {"a": "1"})
    world.save("two", {"b": "1"})
    with open(world.store.place.snapshot("two"), "r+b") as file:
        file.seek(40)
        damaged = bytes([file.read(1)[0] ^ 0xFF])  # what stands there differs from run to run
        file.seek(40)
        file.write(damaged)
    done = collect(world.store)
    assert len(world.store.layers()) == 2
    assert any("two" in reason for reason in done.kept)
    assert world.shows("one")["a"] == "1"
    remove(world.store, "two")
    assert len(world.store.layers()) == 1


def test_an_unknown_name(world):
    with pytest.raises(NotFound) as caught:
        remove(world.store, "none")
    assert caught.value.exit_code == ExitCode.NOT_FOUND
    world.save("one", {})
    with pytest.raises(NotFound):
        remove(world.store, "none")
    assert os.listdir(world.store.place.leases) == []


def test_replacing_leaves_the_old_layer_to_be_collected(world):
    old = world.save("one", {"a": BIG})
    world.save("one", {"a": "2"}, replace=True)
    assert collect(world.store).layers == [old.chain[0]]
    assert world.shows("one")["a"] == "2"


def test_a_deep_chain_is_folded_in_the_background(world):
    name = None
    for number in range(LAYERS_SOON + 1):
        world.save(f"s{number}", {f"f{number}": str(number), "changed": str(number)}, on=name)
        name = f"s{number}"
    assert name
    before = world.shows(name)
    assert len(world.store.snapshot(name).chain) == LAYERS_SOON + 1
    settle(world.store, name)
    assert fold_if_deep(world.store, name)
    assert not fold_if_deep(world.store, name)
    assert len(world.store.snapshot(name).chain) == 1
    assert world.store.snapshot(name).settled
    assert world.shows(name) == before
    # The base's state is that which the first layer saw.
    assert world.store.fingerprints(world.store.snapshot(name))[b"changed"][5] == len("base")
    assert world.shows("s3")["changed"] == "3"


def test_a_thousand_snapshots_of_a_chain_stay_usable(world):
    """No chain gets too deep, and what a lookup costs does not follow from the number."""
    name = None
    for number in range(1000):
        files = {f"d{number % 7}/f": str(number)}
        world.save(f"s{number}", files, on=name, base=False)
        name = f"s{number}"
        if number % 100 == 99:
            fold_if_deep(world.store, name)
    assert name
    depths = [len(world.store.snapshot(each).chain) for each in world.store.names()]
    assert max(depths) <= LAYERS_MAX
    assert depths.count(1) >= 10
    expected = {f"d{number % 7}/f": str(number) for number in range(993, 1000)}
    assert world.shows(name) == expected
    with counted() as calls:
        world.shows(name)
    assert calls["open_beneath"] < 100
    assert world.shows("s500")["d3/f"] == "500"
    # One in the middle goes, and its neighbours are as they were.
    remove(world.store, "s500")
    assert world.shows("s501")["d4/f"] == "501"
    assert world.shows("s499")["d2/f"] == "499"


def test_trees_that_resist_are_removed(tmp_path):
    root = tmp_path / "tree"
    fill(root, {"closed/inner/file": "x", "fifo-dir/x": "y", "link": ("symlink", "/etc")})
    os.mkfifo(root / "fifo")
    (root / "deep").mkdir()
    here = os.open(root / "deep", os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    for path in ("closed/inner", "closed"):
        os.chmod(root / path, 0)
    remove_tree(str(root))
    assert not root.exists()
    remove_tree(str(root))
