"""`make clean-mounts` unmounts what killed daemons left, and nothing that lives."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.install.workplace import environment, run

DEADLINE_S = 30


def is_listed(mountpoint: Path) -> bool:
    """Say whether the kernel has a mount there, without asking the mount itself."""
    escaped = str(mountpoint).replace(" ", r"\040")
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return escaped in (line.split()[4] for line in lines)


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[dict[Path, subprocess.Popen[bytes]]]:
    """Two mounts, each with its daemon; one's name needs escaping."""
    started: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for name in ("live", "left behind"):
            mountpoint = tmp_path / name
            mountpoint.mkdir()
            started[mountpoint] = subprocess.Popen(
                ["vfsd", "mount", "--foreground", mountpoint],
                env=environment(XDG_STATE_HOME=str(tmp_path / "state")),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + DEADLINE_S
        while not all(map(is_listed, started)):
            assert time.monotonic() < deadline, "the mounts did not appear"
            time.sleep(0.02)
        yield started
    finally:
        for mountpoint, daemon in started.items():
            daemon.kill()
            daemon.wait()
            if is_listed(mountpoint):
                subprocess.run(["fusermount3", "-uz", mountpoint], check=True)


@pytest.mark.fuse
def test_only_the_dead_mount_goes(
    daemons: dict[Path, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    live, dead = daemons
    daemons[dead].kill()
    daemons[dead].wait()
    assert is_listed(dead), "a killed daemon leaves its mount; else this tests nothing"
    result = run("scripts/clean-mounts", tmp_path)
    assert result.returncode == 0, result.stdout
    assert result.stdout == f"unmounted {dead}\n"
    assert not is_listed(dead)
    assert is_listed(live)
    assert run("scripts/clean-mounts", tmp_path).stdout == ""


@pytest.mark.fuse
def test_only_below_the_directory_that_was_named(
    daemons: dict[Path, subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    _, dead = daemons
    daemons[dead].kill()
    daemons[dead].wait()
    elsewhere = tmp_path / "elsewhere"
    assert run("scripts/clean-mounts", elsewhere).stdout == ""
    assert is_listed(dead)
