"""Nothing outside is written while a directory becomes a symlink and back under apply's hands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from vfsd.snapshots.apply import Applier, locked
from vfsd.snapshots.applyplan import Side, plan
from vfsd.snapshots.hosttree import HostTree

SWAPPER = """
import ctypes, os, sys
renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
one, two = (os.path.join(sys.argv[1], name).encode() for name in ("swap", "trap"))
print("ready", flush=True)
while not renameat2(-100, one, -100, two, 2):
    os.sched_yield()
"""

ENOUGH = 500
ROUNDS_MAX = 4000


def fill(root: Path, text: str) -> None:
    (root / "swap" / "sub").mkdir(parents=True)
    for folder in ("swap", "swap/sub"):
        for number in range(4):
            (root / folder / f"file{number}").write_text(text)


def picture(root: Path) -> dict[Path, tuple]:
    found = {}
    for path in (root, *root.rglob("*")):
        stat = path.lstat()
        content = path.read_bytes() if path.is_file() else None
        found[path] = (*stat[:7], stat.st_mtime_ns, stat.st_ctime_ns, content)
    return found


def test_nothing_outside_is_touched(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    states = [tmp_path / "one", tmp_path / "two"]
    fill(tmp_path, "secret")
    (tmp_path / "swap").rename(outside)
    fill(root, "root")
    (root / "trap").symlink_to(outside)
    for state in states:
        fill(state, state.name)
    # One adds and the other removes: both directions run all the time.
    (states[0] / "swap" / "sub" / "new").mkdir()
    (states[0] / "swap" / "sub" / "new" / "file").write_text("new")
    os.symlink("file0", states[0] / "swap" / "sub" / "link")
    before = picture(outside)
    assert len(before) > 8
    child = subprocess.Popen([sys.executable, "-c", SWAPPER, str(root)], stdout=subprocess.PIPE)
    done = lost = rounds = 0
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        while (done < ENOUGH or lost < ENOUGH) and rounds < ROUNDS_MAX:
            rounds += 1
            # Planned as if all were quiet: the race is the writer's alone.
            with locked(str(root)) as fd, HostTree(states[rounds % 2]) as view:
                with HostTree(states[(rounds + 1) % 2]) as other:
                    changes = plan(other, view, {}, Side.OURS).changes
                applier = Applier(fd, view)
                # The race: the check that would see it is taken out.
                applier._check_unchanged = lambda change: None  # type: ignore[method-assign]
                outcome = applier.run(changes)
            done += outcome.applied
            lost += len(outcome.failed)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    assert picture(outside) == before
    assert done >= ENOUGH
    assert lost >= ENOUGH
