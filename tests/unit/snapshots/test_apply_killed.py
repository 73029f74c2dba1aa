"""Killed at any of its steps, apply leaves every file old or new, and a second one finishes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.snapshots.randomtree import fill
from tests.unit.snapshots.test_apply import apply, assert_complete, between
from tests.unit.snapshots.treedump import dump_directory
from vfsd.snapshots.apply import Applier, locked
from vfsd.snapshots.applyplan import Side, plan
from vfsd.snapshots.fingerprint import Fingerprints
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.hostwriter import may_be_staged

pytestmark = pytest.mark.root

MUTATIONS = frozenset(
    {
        *("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"),
        *("os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr", "os.truncate"),
    }
)
"""Audit events of what changes a file system; opening a file to write it comes with them."""

ROUNDS_MAX = 40


def applied_until(root: Path, view_root: Path, taken: Fingerprints, step: int) -> bool:
    """Apply in a child that is killed right before its mutation number `step`.

    Say whether it was: False if it ended before that.
    """
    child = os.fork()
    if child == 0:
        try:
            count = 0

            def audit(event: str, arguments: tuple) -> None:
                nonlocal count
                if event in MUTATIONS or (event == "open" and arguments[2] & os.O_CREAT):
                    count += 1
                    if count == step:
                        os.kill(os.getpid(), signal.SIGKILL)

            with locked(str(root)) as fd, HostTree(root) as host, HostTree(view_root) as view:
                planned = plan(host, view, taken, Side.NEITHER)
                assert planned.conflicts == []
                sys.addaudithook(audit)
                outcome = Applier(fd, view).run(planned.changes, planned.stale)
            os._exit(0 if not outcome.failed else 3)
        except BaseException:
            os._exit(4)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)


def assert_old_or_new(root: Path, old: dict, new: dict) -> None:
    """Every file is the old or the new one; of directories the type counts, they fill up."""
    for path, found in dump_directory(root).items():
        if may_be_staged(path.rpartition(b"/")[2]):
            continue
        states = [state[path] for state in (old, new) if path in state]
        if found[3] is None:
            assert any(state[3] is None for state in states), path
        else:
            # Without the names that it shares a file with: they come one after the other.
            assert found[:7] in [state[:7] for state in states], path
    for path in old.keys() & new.keys():
        assert os.path.lexists(os.fsencode(root) + b"/" + path), path


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_step(tmp_path, seed):
    rng = random.Random(seed)
    fill(tmp_path / "origin", rng, owners=True)
    fill(tmp_path / "b", rng, owners=True)
    old, new = dump_directory(tmp_path / "origin"), dump_directory(tmp_path / "b")
    total = _steps(tmp_path)
    assert total > 100
    chosen = sorted(rng.sample(range(1, total + 1), min(ROUNDS_MAX, total)))
    for step in [1, *chosen, total]:
        root = tmp_path / "a"
        copy(tmp_path / "origin", root)
        taken = between(root, tmp_path / "b")
        assert applied_until(root, tmp_path / "b", taken, step), step
        assert_old_or_new(root, old, new)
        with HostTree(tmp_path / "b") as view:
            assert_complete(apply(root, view, taken))
        assert dump_directory(root) == new, step


def _steps(place: Path) -> int:
    """Count the mutations of a whole apply."""
    low, high = 1, 4096
    while low < high:
        middle = (low + high) // 2
        copy(place / "origin", place / "a")
        taken = between(place / "a", place / "b")
        if applied_until(place / "a", place / "b", taken, middle):
            low = middle + 1
        else:
            high = middle
    return low - 1


def test_killed_again_and_again(tmp_path):
    """Each run gets only a few steps further, and the end is reached all the same."""
    rng = random.Random(5)
    root = tmp_path / "a"
    fill(root, rng, owners=True)
    fill(tmp_path / "b", rng, owners=True)
    old, new = dump_directory(root), dump_directory(tmp_path / "b")
    taken = between(root, tmp_path / "b")
    rounds = 0
    while applied_until(root, tmp_path / "b", taken, 15 + rounds % 7):
        assert_old_or_new(root, old, new)
        rounds += 1
    assert rounds > 10
    assert dump_directory(root) == new
