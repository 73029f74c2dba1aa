"""Saving, finding and leasing snapshots."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from tests.unit.snapshots.callcount import counted
from tests.unit.snapshots.storeworld import OPAQUE, WHITEOUT, World
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots import records
from vfsd.snapshots.collection import remove
from vfsd.snapshots.kept import Snapshot
from vfsd.snapshots.locking import hold_if_free
from vfsd.snapshots.refusals import Damaged, NameTaken, NotFound
from vfsd.snapshots.store import Store, snapshots


def test_a_directory_becomes_a_snapshot_of_the_base(world):
    upper = world.upper({"changed": "mine", "new/file": "new", "d": WHITEOUT})
    inode = os.stat(upper).st_ino
    saved = world.store.save_directory(
        "one", upper, base=str(world.base), command=["npm", b"ci\xff"], parent=None
    )
    assert not os.path.exists(upper)
    assert world.store.snapshot("one") == saved
    assert saved.base == os.fsencode(world.base)
    assert saved.command == (b"npm", b"ci\xff")
    assert not saved.settled
    with world.store.lease("one") as lease:
        assert os.stat(lease.lowerdirs()[0]).st_ino == inode
    assert world.shows("one") == {"kept": "base", "changed": "mine", "new/file": "new"}


def test_a_chain_without_base_is_a_whole_tree(world):
    world.save("one", {"a": "1", "b": "1"}, base=False)
    second = world.save("two", {"a": WHITEOUT, "c": "2"}, on="one")
    assert (len(second.chain), second.base, second.parent) == (2, None, "one")
    assert world.shows("two") == {"b": "1", "c": "2"}
    assert world.shows("one") == {"a": "1", "b": "1"}
    assert world.store.layer(second.chain[1]).whole
    assert not world.store.layer(second.chain[0]).whole


def test_nothing_is_made_before_something_is_kept(world):
    assert world.store.names() == []
    assert world.store.layers() == []
    assert list(snapshots(world.store)) == []
    with pytest.raises(NotFound):
        world.store.snapshot("none")
    assert not world.root.exists()


def test_the_store_is_its_users_own(world):
    world.save("one", {})
    assert os.stat(world.root).st_mode & 0o077 == 0
    assert os.stat(world.store.place.snapshot("one")).st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\0b", "-rf", "a b", "x" * 129, "ü"])
def test_names_that_no_snapshot_may_have(world, name):
    upper = world.upper({"x": "y"})
    for call in (
        lambda: world.store.save_directory(name, upper),
        lambda: world.store.snapshot(name),
        lambda: world.store.lease(name),
        lambda: world.store.check_free(name),
    ):
        with pytest.raises(UserError) as caught:
            call()
        assert caught.value.exit_code == ExitCode.USAGE
    assert os.path.exists(f"{upper}/x")


def test_a_name_that_is_taken_is_refused_and_nothing_is_lost(world):
    world.save("one", {"a": "first"})
    upper = world.upper({"a": "second"})
    with pytest.raises(NameTaken) as caught:
        world.store.save_directory("one", upper, base=str(world.base))
    assert caught.value.exit_code == ExitCode.REFUSED
    assert world.shows("one")["a"] == "first"
    assert os.path.exists(f"{upper}/a")


def test_replacing_is_asked_for(world):
    old = world.save("one", {"a": "first"})
    new = world.save("one", {"a": "second"}, replace=True)
    assert old.id != new.id
    assert world.shows("one")["a"] == "second"


def test_of_two_that_save_one_name_at_once_exactly_one_wins(world):
    """Each thread is past every check when the other publishes: only the link decides."""
    uppers = [world.upper({"who": str(number)}) for number in range(8)]
    barrier = threading.Barrier(len(uppers))
    won: list[int] = []
    lost: list[int] = []

    class Held(Store):
        def check_free(self, name):
            super().check_free(name)
            barrier.wait(timeout=60)

    def save(number: int) -> None:
        try:
            Held(str(world.root)).save_directory("one", uppers[number], base=str(world.base))
            won.append(number)
        except NameTaken:
            lost.append(number)

    world.store.stage().close()
    threads = [threading.Thread(target=save, args=(number,)) for number in range(len(uppers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == len(uppers) - 1
    assert world.shows("one")["who"] == str(won[0])
    assert all(os.path.exists(f"{uppers[number]}/who") for number in lost)
    assert len(world.store.layers()) == 1
    assert os.listdir(world.store.place.staging) == []


def test_a_layer_on_another_file_system_stays_where_it_is(world):
    elsewhere = "/dev/shm" if os.stat("/dev/shm").st_dev != os.stat(world.place).st_dev else "/"
    upper = subprocess.run(
        ["mktemp", "-d", "-p", elsewhere], check=True, capture_output=True, text=True
    ).stdout.strip()
    try:
        with pytest.raises(UserError, match="another file system"):
            world.store.save_directory("one", upper)
        assert os.path.isdir(upper)
        assert world.store.names() == []
        assert world.store.layers() == []
    finally:
        os.rmdir(upper)


@pytest.mark.parametrize("upper", ["none", "kept"])
def test_a_layer_that_is_no_directory(world, upper):
    with pytest.raises((UserError, FileNotFoundError)):
        world.store.save_directory("one", str(world.base / upper))
    assert world.store.layers() == []


def test_a_chain_that_is_not_there_is_refused(world):
    upper = world.upper({"a": "b"})
    with pytest.raises(Damaged):
        world.store.save_directory("one", upper, chain=["0123456789abcdef"])
    assert os.path.exists(f"{upper}/a")
    assert world.store.layers() == []


def test_saving_costs_the_same_for_any_size(world):
    """Counted, not timed: system calls of a layer with few and with many new files."""
    calls = []
    world.store.stage().close()
    for count in (1, 400):
        upper = world.upper({f"node_modules/p{n}/index.js": "x" for n in range(count)})
        with counted() as done:
            world.store.save_directory(f"s{count}", upper, base=str(world.base))
        calls.append(done)
    assert calls[0] == calls[1]


def test_what_the_base_had_is_told_for_what_changes(world):
    base = world.base
    (base / "gone").mkdir()
    (base / "gone" / "inner").write_text("x")
    (base / "opaque").mkdir()
    (base / "opaque" / "old").write_text("x")
    world.save(
        "one",
        {
            "changed": "mine",
            "d/new": "n",
            "gone": WHITEOUT,
            "opaque": OPAQUE,
            "opaque/new": "n",
            "new/a": "n",
        },
    )
    told = world.store.fingerprints(world.store.snapshot("one"))
    assert set(told) == {
        b"",
        b"changed",
        b"d",
        b"gone",
        b"gone/inner",
        b"opaque",
        b"opaque/old",
    }
    found = os.stat(base / "changed")
    assert told[b"changed"][:8] == [
        found.st_mode,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        found.st_rdev,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    ]


def test_of_several_layers_the_lowest_tells_about_the_base(world):
    before = os.stat(world.base / "changed").st_mtime_ns
    world.save("one", {"changed": "mine"})
    (world.base / "changed").write_text("by somebody else")
    os.utime(world.base / "changed", ns=(1, 1))
    world.save("two", {"changed": "mine again", "kept": "two"}, on="one")
    told = world.store.fingerprints(world.store.snapshot("two"))
    assert told[b"changed"][6] == before
    assert b"kept" in told


def test_what_came_into_the_base_later_is_not_what_a_chain_stands_on(world):
    """Somebody makes files where the first layer has some: the second layer is none the wiser."""
    world.save("one", {"new": "mine", "made/mine": "mine", "d": WHITEOUT, "changed": OPAQUE})
    (world.base / "new").write_text("by somebody else")
    (world.base / "made").mkdir()
    (world.base / "made" / "mine").write_text("by somebody else")
    (world.base / "d" / "later").write_text("by somebody else")
    (world.base / "changed").unlink()
    (world.base / "changed").mkdir()
    (world.base / "changed" / "inner").write_text("by somebody else")
    files = {"new": "2", "made/mine": "2", "d/later": "2", "changed/inner": "2", "kept": "2"}
    world.save("two", files, on="one")
    told = set(world.store.fingerprints(world.store.snapshot("two")))
    assert told == {b"", b"changed", b"d", b"d/f", b"kept"}
    # The same when both layers are one.
    remove(world.store, "one")
    assert len(world.store.snapshot("two").chain) == 1
    assert set(world.store.fingerprints(world.store.snapshot("two"))) == told
    world.save("three", files, on="two")
    assert set(world.store.fingerprints(world.store.snapshot("three"))) == told


def test_a_lease_ends_with_its_process(world):
    world.save("one", {})
    code = "import sys, os; from vfsd.snapshots.store import Store\n"
    code += "lease = Store(sys.argv[1]).lease('one'); print('held', flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, world.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout
    assert child.stdin
    assert child.stdout.readline() == b"held\n"
    leases = [world.store.place.lease("one"), world.store.place.layer(*_first(world, "lease"))]
    assert [hold_if_free(path) for path in leases] == [None, None]
    child.kill()
    child.wait()
    child.stdout.close()
    child.stdin.close()
    for path in leases:
        fd = hold_if_free(path)
        assert fd is not None
        os.close(fd)


def _first(world: World, part: str) -> tuple[str, str]:
    return world.store.snapshot("one").chain[0], part


def test_a_lease_leaves_no_descriptor(world):
    world.save("one", {"a": "1"})
    before = os.listdir("/proc/self/fd")
    assert world.shows("one")
    os.unlink(world.store.place.layer(*_first(world, "record")))
    with pytest.raises(Damaged):
        world.store.lease("one")
    assert os.listdir("/proc/self/fd") == before


def test_a_snapshot_of_another_boot_that_was_not_on_disk_is_refused(world, monkeypatch):
    monkeypatch.setattr("vfsd.snapshots.store.boot", lambda: "an earlier one")
    world.save("one", {})
    monkeypatch.undo()
    with pytest.raises(Damaged, match="went down") as caught:
        world.store.lease("one")
    assert caught.value.exit_code == ExitCode.DAMAGED


def test_a_newer_version_is_told_from_damage(world):
    world.save("one", {})
    world.save("two", {"a": "2"})
    path = world.store.place.snapshot("one")
    value = records.read(path)
    newer = records.pack(value, version=2)
    with open(path, "wb") as file:
        file.write(newer)
    with pytest.raises(Damaged, match="unknown version 2"):
        world.store.snapshot("one")
    found = list(snapshots(world.store))
    assert [each if isinstance(each, Snapshot) else each[0] for each in found] == [
        "one",
        world.store.snapshot("two"),
    ]
    with open(world.store.place.format, "wb") as file:
        file.write(records.pack({}, version=2))
    with pytest.raises(Damaged, match="unknown version"):
        Store(str(world.root))


def test_a_damaged_format_record_leaves_the_rest_usable(world):
    world.save("one", {"a": "1"})
    with open(world.store.place.format, "r+b") as file:
        file.write(b"\xff")
    store = Store(str(world.root))
    assert store.format_damage is not None
    assert store.snapshot("one").name == "one"


@pytest.mark.parametrize("state", [None, "relative"])
def test_where_the_store_lies_by_default(monkeypatch, tmp_path, state):
    monkeypatch.setenv("HOME", str(tmp_path))
    if state is None:
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_STATE_HOME", state)
    assert Store().place.root == f"{tmp_path}/.local/state/vfsd/store"
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert Store().place.root == "/elsewhere/vfsd/store"
