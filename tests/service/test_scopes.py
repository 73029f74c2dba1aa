"""Limits of `vfsd run` for an ordinary user on control groups of version 2 that have controllers.

Beside a systemd of that user's own, as a login gives one: from within one of its services a group
is made beside it; from elsewhere nobody can put the run below that systemd where no other one runs
the machine, and then the limits are held in another way, which is said.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.service.manager import Manager

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap, pytest.mark.root, pytest.mark.systemd]

UNIFIED = Path("/sys/fs/cgroup")
NEEDED = {"memory", "pids", "cpu"}


@pytest.fixture(scope="module")
def manager() -> Iterator[Manager]:
    """A manager whose control group has controllers, as it has on a machine of today."""
    try:
        there = set((UNIFIED / "cgroup.controllers").read_text().split())
    except FileNotFoundError:
        there = set()
    if not there >= NEEDED:
        pytest.skip("no control groups of version 2 with memory, pids and cpu in /sys/fs/cgroup")
    with suppress(OSError):
        (UNIFIED / "cgroup.subtree_control").write_text("+memory +pids +cpu")
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)  # as distributions have it
    manager = Manager()
    manager.sh("mkdir -p project/.git", check=True)
    yield manager
    manager.close()
    os.chmod("/dev/fuse", mode)


def run(manager: Manager, options: str, script: str) -> str:
    """Run a shell script with limits in a service; return what is said, and the code last."""
    words = f"cd project; {manager.python} -m vfsd run {options} -- sh script; echo code $?"
    (manager.home / "project" / "script").write_text(script)
    (manager.home / "line").write_text(words)
    return manager.sh("systemd-run --user --quiet --pipe --wait -d sh line 2>&1")


def test_all_three_are_held(manager):
    script = "cat /proc/self/cgroup; echo ran"
    said = run(manager, "--memory 200M --pids 30 --cpus 0.5", script)
    assert "limits were held: memory, pids, cpus by cgroup v2" in said
    assert "ran" in said.split()
    assert said.endswith("code 0\n")
    left = [path for path in manager.groups[0].rglob("vfsd-run-*") if path.is_dir()]
    assert left == []


def test_a_program_that_takes_too_much_memory_is_ended(manager):
    script = '/usr/bin/python3 -c "bytearray(200 << 20)"; echo went on $?'
    said = run(manager, "--memory 60M", script)
    assert "memory by cgroup v2" in said
    assert "used up its 60M of memory" in said
    assert "went on 137" in said


def test_no_more_processes_than_allowed(manager):
    script = "import os, signal\nfor n in range(99):\n  if not os.fork(): signal.pause()"
    said = run(manager, "--pids 20", f"/usr/bin/python3 -c '{script}'")
    assert "Resource temporarily unavailable" in said
    assert "pids by cgroup v2" in said


def test_where_no_scope_can_be_made_something_else_holds(manager):
    """It was systemd-run that failed, without a word, and the run with it."""
    words = f"{manager.python} -m vfsd run --pids 30 -- sh -c 'echo ran'"
    said = manager.sh(f"cd project; {words}; echo code $?")
    assert "ran" in said.split()
    assert "code 0" in said
    assert "limits were held: pids by " in said
