"""What apply writes is exactly what the snapshot shows."""

from __future__ import annotations

import os
import random
import socket
import stat
from pathlib import Path

import pytest

from tests.unit.snapshots.fingerprints import take
from tests.unit.snapshots.overlaymount import overlay
from tests.unit.snapshots.randomtree import fill
from tests.unit.snapshots.test_layered import _change
from tests.unit.snapshots.treedump import dump_directory
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.apply import Applier, Outcome, locked
from vfsd.snapshots.applyplan import Side, plan
from vfsd.snapshots.changes import Aspect, compare
from vfsd.snapshots.fingerprint import Fingerprints
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.hostwriter import staged_name
from vfsd.snapshots.layered import LayeredView
from vfsd.snapshots.view import TreeView

SEEDS = range(12)


def apply(root: Path, view: TreeView, taken: Fingerprints, side: Side = Side.NEITHER) -> Outcome:
    """Plan and write; no conflict is expected."""
    with locked(str(root)) as fd, HostTree(f"/proc/self/fd/{fd}") as host:
        planned = plan(host, view, taken, side)
        assert planned.conflicts == [] or side is Side.THEIRS
        return Applier(fd, view).run(planned.changes, planned.stale)


def assert_complete(outcome: Outcome) -> None:
    assert (outcome.failed, outcome.waiting, outcome.incomplete) == ([], [], [])


def between(old: Path, new: Path) -> Fingerprints:
    with HostTree(old) as base, HostTree(new) as view:
        return take(base, view)


@pytest.mark.root
@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_becomes_exactly_another(tmp_path, seed):
    rng = random.Random(seed)
    fill(tmp_path / "a", rng, owners=True)
    fill(tmp_path / "b", rng, owners=True)
    taken = between(tmp_path / "a", tmp_path / "b")
    with HostTree(tmp_path / "b") as view:
        assert_complete(apply(tmp_path / "a", view, taken))
        assert dump_directory(tmp_path / "a") == dump_directory(tmp_path / "b")
        with HostTree(tmp_path / "a") as host:
            assert compare(host, view) == []
        again = apply(tmp_path / "a", view, taken)
    assert_complete(again)
    assert again.applied == 0


@pytest.mark.root
@pytest.mark.parametrize("seed", range(4))
def test_what_was_written_through_the_kernels_overlay_is_applied(tmp_path, seed):
    rng = random.Random(seed)
    fill(tmp_path / "base", rng, owners=True)
    (tmp_path / "base" / "dir").mkdir(exist_ok=True)
    (tmp_path / "upper").mkdir()
    with overlay(tmp_path, [tmp_path / "base"], tmp_path / "upper") as point:
        for step in range(150):
            _change(point, rng, step)
        expected = dump_directory(point)
    with LayeredView.of([tmp_path / "upper"], tmp_path / "base") as view:
        with HostTree(tmp_path / "base") as base:
            taken = take(base, view)
        outcome = apply(tmp_path / "base", view, taken)
    assert_complete(outcome)
    assert dump_directory(tmp_path / "base") == expected


def test_untouched_parts_are_neither_read_nor_written(tmp_path):
    base, upper = tmp_path / "base", tmp_path / "upper"
    (base / "big").mkdir(parents=True)
    (base / "big" / "file").write_text("x")
    (upper / "new").mkdir(parents=True)
    os.utime(upper, ns=(1, 1))
    seen = []
    with LayeredView.of([upper], base) as view, HostTree(base) as host:
        changes = compare(host, view, seen.append)
    assert b"big/file" not in seen
    assert {change.path for change in changes} == {b"", b"new"}


def test_a_read_only_file_and_one_without_permissions_are_replaced(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        (tmp_path / name / "file").chmod(0o444)
    taken = between(tmp_path / "a", tmp_path / "b")
    with HostTree(tmp_path / "b") as view:
        assert_complete(apply(tmp_path / "a", view, taken))
    assert (tmp_path / "a" / "file").read_text() == "b"
    assert stat.S_IMODE((tmp_path / "a" / "file").stat().st_mode) == 0o444


def test_a_writer_keeps_his_old_file(tmp_path):
    """A replaced file is a new one: whoever has the old one open is not disturbed."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    taken = between(tmp_path / "a", tmp_path / "b")
    with open(tmp_path / "a" / "file") as held, HostTree(tmp_path / "b") as view:
        apply(tmp_path / "a", view, taken)
        assert held.read() == "a"


def test_sockets_and_devices_are_named_and_left_out(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").write_text("x")
    os.mkfifo(tmp_path / "b" / "fifo")
    with socket.socket(socket.AF_UNIX) as listener, HostTree(tmp_path / "b") as view:
        listener.bind(str(tmp_path / "b" / "socket"))
        outcome = apply(tmp_path / "a", view, {})
    assert [path for path, _ in outcome.left_out] == [b"socket"]
    assert outcome.failed == []
    assert stat.S_ISFIFO((tmp_path / "a" / "fifo").stat().st_mode)
    assert (tmp_path / "a" / "file").read_text() == "x"


def test_large_holes_stay_holes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with open(tmp_path / "b" / "sparse", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"in the middle")
    with HostTree(tmp_path / "b") as view:
        assert_complete(apply(tmp_path / "a", view, {}))
    found = (tmp_path / "a" / "sparse").stat()
    assert found.st_size == 1 << 40
    assert found.st_blocks * 512 <= 1 << 20
    with open(tmp_path / "a" / "sparse", "rb") as file:
        file.seek(1 << 39)
        assert file.read(14) == b"in the middle\0"


def test_one_apply_at_a_time(tmp_path):
    with locked(str(tmp_path)), pytest.raises(UserError) as refused, locked(str(tmp_path)):
        pass
    assert refused.value.exit_code == ExitCode.REFUSED


def test_what_changes_under_its_hands_is_left_alone_and_told(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for root in (a, b):
        root.mkdir()
        for name in ("changed", "gone", "kept"):
            (root / name).write_text(root.name)
    (b / "gone").unlink()
    (b / "new").write_text("b")
    taken = between(a, b)
    with locked(str(a)) as fd, HostTree(a) as host, HostTree(b) as view:
        planned = plan(host, view, taken, Side.NEITHER)
        assert planned.conflicts == []
        (a / "changed").write_text("somebody's")
        (a / "gone").write_text("somebody's")
        (a / "new").write_text("somebody's")
        outcome = Applier(fd, view).run(planned.changes)
    assert {path for path, _ in outcome.failed} == {b"changed", b"gone", b"new"}
    assert all("meanwhile" in reason for _, reason in outcome.failed)
    assert {(a / name).read_text() for name in ("changed", "gone", "new")} == {"somebody's"}
    assert (a / "kept").read_text() == "b"


def test_a_file_staged_by_a_killed_run_goes_and_a_users_file_stays(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for root in (a, b):
        (root / "d").mkdir(parents=True)
        (root / "d" / "file").write_text(root.name)
    left = a / "d" / os.fsdecode(staged_name(b"file"))
    left.write_text("half")
    own = a / "d" / ".vfsd-apply.0123456789abcdef"
    own.write_text("a user's, although it looks like one")
    (b / "d" / own.name).write_text(own.read_text())
    taken = between(a, b)
    with HostTree(b) as view:
        apply(a, view, taken)
    assert not left.exists()
    assert own.exists()


def test_hard_links_are_made_broken_and_regrouped(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for root in (a, b):
        root.mkdir()
        for name in ("x", "y", "z"):
            (root / name).write_text("same")
    for name in ("y", "together"):
        (a / name).unlink(missing_ok=True)
        os.link(a / "x", a / name)
    (b / "z").unlink()
    os.link(b / "y", b / "z")
    (b / "together").write_text("same")
    os.link(b / "y", b / "new")
    taken = between(a, b)
    with HostTree(a) as host, HostTree(b) as view:
        found = {change.path: change for change in compare(host, view)}
        assert Aspect.LINKS in found[b"z"].aspects
        assert {found[name].link_to for name in (b"new", b"y", b"z")} == {None, b"new"}
        assert_complete(apply(a, view, taken))
    numbers = {name: (a / name).stat().st_ino for name in ("x", "y", "z", "together", "new")}
    assert numbers["y"] == numbers["z"] == numbers["new"]
    assert len(set(numbers.values())) == 3


def test_holes_are_compared_without_being_read(tmp_path):
    for name, at in (("a", 1 << 43), ("b", 1 << 43), ("c", (1 << 43) + 1)):
        (tmp_path / name).mkdir()
        with open(tmp_path / name / "sparse", "wb") as file:
            file.truncate(1 << 43)
            file.seek((1 << 42) + at - (1 << 43))
            file.write(b"data")
        os.utime(tmp_path / name / "sparse", ns=(0, 0))
    with (
        HostTree(tmp_path / "a") as a,
        HostTree(tmp_path / "b") as b,
        HostTree(tmp_path / "c") as c,
    ):
        assert [change for change in compare(a, b) if change.path] == []
        [change] = [change for change in compare(a, c) if change.path]
        assert change.aspects == Aspect.CONTENT
