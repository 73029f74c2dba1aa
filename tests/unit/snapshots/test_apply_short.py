"""Apply where room or a permission lacks: nothing is half-written, and it can be repeated."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.unit.snapshots.test_apply import apply, assert_complete, between
from tests.unit.snapshots.treedump import dump_directory
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.hostwriter import may_be_staged

pytestmark = pytest.mark.root


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of `size` in a namespace of its own; yield where it can be seen."""
    point = place / "disk"
    point.mkdir()
    script = 'mount -t tmpfs -o "size=$1" none "$2" && echo ready && read -r line'
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh"]
    with subprocess.Popen(
        [*command, size, point], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        try:
            yield Path(f"/proc/{child.pid}/root{point}")
        finally:
            child.stdin.close()


def test_a_full_disk(tmp_path):
    files = {f"file{number}": os.urandom(300_000) for number in range(6)}
    with small_disk(tmp_path, "2M") as disk:
        root = disk / "a"
        for place, content in ((root, None), (tmp_path / "b", files)):
            place.mkdir()
            for name in files:
                (place / name).write_bytes(content[name] if content else b"old " * 40_000)
        (root / "gone").write_text("old")
        taken = between(root, tmp_path / "b")
        (disk / "filler").write_bytes(bytes(700_000))
        old, new = dump_directory(root), dump_directory(tmp_path / "b")
        with HostTree(tmp_path / "b") as view:
            outcome = apply(root, view, taken)
            assert outcome.error is not None
            assert outcome.applied > 0
            [(failed, _)] = outcome.failed
            now = dump_directory(root)
            done = {path for path in new if path and now[path][5] == new[path][5]}
            # The root's time is one of them.
            assert len(done) + 1 == outcome.applied
            undone = now.keys() - done - {b""}
            assert undone == {failed, *outcome.waiting} - {b""}
            assert all(now[path][:6] == old[path][:6] for path in undone)
            (disk / "filler").unlink()
            assert_complete(apply(root, view, taken))
        assert dump_directory(root) == new


SCRIPT = """
import json, sys
from vfsd.snapshots.apply import Applier, locked
from vfsd.snapshots.applyplan import Side, plan
from tests.unit.snapshots.fingerprints import take
from vfsd.snapshots.hosttree import HostTree
root, wanted = sys.argv[1:]
with locked(root) as fd, HostTree(root) as host, HostTree(wanted) as view:
    planned = plan(host, view, take(host, view), Side.NEITHER)
    outcome = Applier(fd, view).run(planned.changes, planned.stale)
show = lambda rows: sorted((path.decode(), why) for path, why in rows)
print(json.dumps([outcome.applied, show(outcome.failed), show(outcome.incomplete)]))
"""


@pytest.fixture
def theirs() -> Iterator[tuple[Path, int, list[str]]]:
    """A place of an ordinary user's, his number, and what makes a command his."""
    ids = pwd.getpwnam("nobody")
    place = Path(tempfile.mkdtemp(prefix="vfsd-apply-"))
    os.chown(place, ids.pw_uid, ids.pw_gid)
    yield (
        place,
        ids.pw_uid,
        ["setpriv", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}", "--clear-groups"],
    )
    shutil.rmtree(place)


def apply_as(theirs, root: Path, wanted: Path) -> list:
    _, _, prefix = theirs
    done = subprocess.run(
        [*prefix, sys.executable, "-c", SCRIPT, root, wanted],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def own(place: Path, number: int) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, number, number, follow_symlinks=False)


def test_an_ordinary_user_and_write_protected_directories(theirs):
    place, number, _ = theirs
    for name in ("a", "b"):
        root = place / name
        (root / "locked" / "inner").mkdir(parents=True)
        (root / "locked" / "inner" / "file").write_text(name)
        (root / "locked" / "inner" / "file").chmod(0o444)
    (place / "b" / "new" / "inner").mkdir(parents=True)
    (place / "b" / "new" / "inner" / "file").write_text("new")
    (place / "a" / "locked" / "gone").mkdir()
    (place / "a" / "locked" / "gone" / "file").write_text("gone")
    own(place, number)
    for each in ("b/new/inner", "b/new", "a/locked/gone", "a/locked/inner", "b/locked/inner"):
        (place / each).chmod(0o555)
    for each in ("a/locked", "b/locked"):
        (place / each).chmod(0o555)
    _, failed, incomplete = apply_as(theirs, place / "a", place / "b")
    assert (failed, incomplete) == ([], [])
    assert dump_directory(place / "a") == dump_directory(place / "b")


def test_what_an_ordinary_user_may_not_do_is_named_and_the_rest_is_done(theirs):
    place, number, _ = theirs
    for name in ("a", "b"):
        root = place / name
        (root / "roots").mkdir(parents=True)
        (root / "roots" / "file").write_text(name)
        (root / "mine").write_text(name)
    (place / "b" / "new").write_text("somebody's")
    own(place, number)
    for name in ("a", "b"):
        for each in (place / name / "roots", place / name / "roots" / "file"):
            os.chown(each, 0, 0)
    os.chown(place / "b" / "new", 1, 1)
    old = dump_directory(place / "a")
    applied, failed, incomplete = apply_as(theirs, place / "a", place / "b")
    now, new = dump_directory(place / "a"), dump_directory(place / "b")
    assert [path for path, _ in failed] == ["roots/file"]
    assert ["new", "the owner 1:1"] in incomplete
    assert applied >= 2
    assert now[b"roots/file"][5] == old[b"roots/file"][5]
    assert now[b"mine"][5] == new[b"mine"][5]
    assert now[b"new"][5] == new[b"new"][5]
    assert now[b"new"][1] == number
    assert not any(may_be_staged(path.rpartition(b"/")[2]) for path in now)
    # Repeatable: what is done is no conflict with itself.
    again = apply_as(theirs, place / "a", place / "b")
    assert [path for path, _ in again[1]] == ["roots/file"]


def test_a_set_id_bit_of_ones_own_is_set(theirs):
    place, number, _ = theirs
    (place / "a").mkdir()
    (place / "b").mkdir()
    (place / "b" / "tool").write_text("x")
    own(place, number)
    (place / "b" / "tool").chmod(0o6755)
    apply_as(theirs, place / "a", place / "b")
    assert stat.S_IMODE((place / "a" / "tool").stat().st_mode) == 0o6755
