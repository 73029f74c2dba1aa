"""Nothing is left behind: not at the end, nor after `vfsd run` is killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from vfsd.sandbox.runner import ALIVE_FD, GATE, GO_FD, STATUS_FD

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
    go_on = os.open(gate, os.O_WRONLY)  # returns when the held one reads
    running.kill()
    running.wait(SECONDS)
    with suppress(BrokenPipeError):  # it has been killed, too
        os.write(go_on, b"go on\n")
    os.close(go_on)
    eventually(lambda: not processes_with(marker), "every process is gone")
    assert not (box.directory / "started").exists()


@pytest.mark.parametrize("alive", [True, False])
def test_a_word_of_vfsd_s_counts_only_while_vfsd_is_there(alive, tmp_path):
    """It may have been said before bwrap's first process was bound to anybody."""
    go_read, go_write = os.pipe()
    alive_read, alive_write = os.pipe()
    os.write(go_write, b"\n")
    if not alive:
        os.close(alive_read)
    started = tmp_path / "started"
    numbered = ((go_read, GO_FD), (go_read, STATUS_FD), (alive_write, ALIVE_FD))
    # Kept out of each other's way: the numbers wanted are low ones.
    high = [(fcntl.fcntl(fd, fcntl.F_DUPFD, 50), number) for fd, number in numbered]
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for fd, number in high]
    words = [*GATE, "touch", "touch", str(started)]
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    assert started.exists() is alive
    assert (status == 0) is alive
    for fd in (go_read, go_write, alive_write, *(fd for fd, _ in high), *([alive_read] * alive)):
        os.close(fd)


def test_kill_9_of_vfsd_ends_whatever_bwrap_has_left_in_its_group(box, marker, tmp_path):
    """In one moment of its start bwrap's child is bound to nobody; here it is for ever."""
    unbound = tmp_path / "bwrap"
    unbound.write_text(f"#!/bin/sh\nsh -c 'sleep 1000; : {marker}' & echo up; wait\n")
    unbound.chmod(0o755)
    environment = {**box.environment, "PATH": f"{tmp_path}:/usr/bin:/bin"}
    running = box.start("--", "true", marker, env=environment)
    assert running.stdout.readline() == b"up\n"
    eventually(lambda: _state(running.pid) == "S", "vfsd has started it and waits")
    running.kill()
    eventually(lambda: not processes_with(marker), "every process is gone")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_kill_9_at_every_moment_of_the_start_leaves_nothing(box, marker):
    for step in range(40):
        running = box.start("--memory", "500M", "--", "sh", "-c", f": {marker}; sleep 1000")
        time.sleep(0.04 + step * 0.001)
        running.kill()
        running.wait(SECONDS)
    eventually(lambda: not processes_with(marker), "every process is gone")
    eventually(lambda: not _left(box), "every directory is gone")


def _left(box) -> list[str]:
    """Return the directories of runs, and their control groups."""
    runs = Path(box.environment["XDG_RUNTIME_DIR"], "vfsd", "runs")
    groups = Path("/sys/fs/cgroup").glob("**/vfsd-run-*")
    return [str(each) for each in (*(runs.iterdir() if runs.is_dir() else ()), *groups)]


def test_kill_9_leaves_no_directory(box, marker):
    words = ("--memory", "500M", "--", "sh", "-c", f": {marker}; echo up; sleep 1000")
    running = box.start(*words)
    assert running.stdout.readline() == b"up\n"
    assert _left(box)
    running.kill()
    eventually(lambda: not _left(box), "every directory is gone")


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
