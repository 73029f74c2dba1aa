"""Nothing is left behind: not at the end, nor after `vfsd run` is killed."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from .conftest import SECONDS, eventually, processes_with

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

ORPHAN = "setsid sh -c ': {marker}; trap \"\" TERM HUP INT; while :; do sleep 0.1; done' &"


def test_orphans_are_gone_when_it_returns(box, marker):
    script = ORPHAN.format(marker=marker) + "while ! pgrep -f '[m]arker-' >seen; do :; done; exit 4"
    assert box.run("--", "sh", "-c", script).returncode == 4
    assert processes_with(marker) == []
    assert (box.directory / "seen").read_text()


def test_the_tree_is_not_busy_afterwards(box, vfsd_mount):
    """An orphan with an open file in the tree is no hindrance to unmounting it."""
    other = vfsd_mount()
    for _ in range(5):
        done = box.run("--base", str(other.path), "--", "sh", "-c", "setsid sleep 1000 >f & :")
        assert done.returncode == 0
    unmounted = other.vfsd("unmount", str(other.path))
    assert unmounted.returncode == 0, unmounted.stderr
    other.close = lambda: other._destroy() or []


def test_kill_9_leaves_nothing(box, marker):
    script = f": {marker};" + ORPHAN.format(marker=marker) + "echo up; exec sleep 1000"
    running = box.start("--", "sh", "-c", script)
    assert running.stdout.readline() == b"up\n"
    running.kill()
    assert running.wait(SECONDS) == -signal.SIGKILL
    eventually(lambda: not processes_with(marker), "every process is gone")


def test_kill_9_before_bwrap_has_started_anything(box, marker, tmp_path):
    """bwrap is held up until its parent is dead: then it must start nothing."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    held = tmp_path / "bwrap"
    held.write_text(f'#!/bin/sh\nread x <{gate}\nexec {shutil.which("bwrap")} "$@"\n')
    held.chmod(0o755)
    environment = {**box.environment, "PATH": str(tmp_path)}
    running = box.start("--", "sh", "-c", f": {marker}; echo >started", env=environment)
    with open(gate, "w") as go_on:  # returns when the held one reads
        running.kill()
        running.wait(SECONDS)
        go_on.write("go on\n")
    eventually(lambda: not processes_with(marker), "every process is gone")
    assert not (box.directory / "started").exists()


def test_several_at_once(box):
    running = [
        box.start("--", "sh", "-c", f"echo {number} >file{number}; cat file{number}; exit {number}")
        for number in range(8)
    ]
    for number, each in enumerate(running):
        assert each.communicate(timeout=SECONDS)[0] == b"%d\n" % number
        assert each.returncode == number
    assert len(list(box.directory.iterdir())) == 8


def test_what_it_wrote_stays_in_the_tree_and_nowhere_else(box):
    box.sh("echo kept >kept; echo lost >$HOME/lost; echo lost >/tmp/lost")
    assert (box.directory / "kept").read_text() == "kept\n"
    assert box.run("--", "sh", "-c", "ls $HOME/lost /tmp/lost").returncode != 0
