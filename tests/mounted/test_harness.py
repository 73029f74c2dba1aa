"""The fixtures under test: what is left behind is found, and lacking machines skip or fail."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import conftest
from tests.mounted.daemon import REPOSITORY, VfsdMount, mounts_below, sweep_dead_mounts


@pytest.fixture
def mount():
    mount = VfsdMount()
    yield mount
    if mount.root.exists():
        mount.close()


@pytest.mark.fuse
def test_clean_mount_leaves_nothing(mount):
    (mount.path / "f").write_bytes(b"data")
    assert mounts_below(mount.root) == [str(mount.path)]
    assert mount.close() == []
    assert not mount.root.exists()


@pytest.mark.fuse
def test_killed_daemon_is_reported_and_cleared(mount):
    mount.process.kill()
    mount.process.wait()
    left = mount.close()
    assert left == [
        "the daemon ended by itself with -9",
        f"still mounted: {mount.path}",
    ]
    assert mounts_below(mount.root) == []


@pytest.mark.fuse
def test_mount_in_use_is_reported(mount):
    fd = os.open(mount.path, os.O_RDONLY)
    try:
        left = mount.close()
    finally:
        os.close(fd)
    assert any("vfsd unmount gave 4" in each for each in left), left
    assert mounts_below(mount.root) == []


@pytest.mark.fuse
def test_leaked_fds_are_reported(mount, monkeypatch):
    monkeypatch.setattr("tests.mounted.daemon.END_SECONDS", 0.5)
    count = mount.fd_count()
    mount.fds_at_start = count - 1
    left = mount.close()
    assert left[0] == f"the daemon has {count} fds, {count - 1} at its start"


@pytest.mark.fuse
def test_alarming_lines_are_reported_unless_expected(mount):
    lines = [
        "2026-01-01 00:00:00,000 INFO vfsd.daemon: all is well",
        "2026-01-01 00:00:00,000 WARNING vfsd.daemon: look at this",
        "2026-01-01 00:00:00,000 ERROR vfsd.fuse: the worst",
        "Traceback (most recent call last):",
        "RuntimeWarning: coroutine was never awaited",
    ]
    mount.log()
    mount._log += "\n".join(lines).encode()
    assert mount._alarms() == lines[1:]
    mount.expected_logs = ["look at this", "^Traceback", "the worst"]
    assert mount._alarms() == lines[4:]


@pytest.mark.fuse
def test_mount_that_does_not_come_up_says_why():
    with pytest.raises(AssertionError, match=r"did not become live: .*no-such-provider"):
        VfsdMount("no-such-provider")


@pytest.mark.fuse
def test_sweep_clears_dead_mounts_only(mount):
    other = VfsdMount()
    try:
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        sweep_dead_mounts()
        assert mounts_below(other.root) == []
        assert mounts_below(mount.root) == [str(mount.path)]
        assert os.listdir(mount.path) == []
    finally:
        other._destroy()


@pytest.mark.fuse
def test_daemon_ends_with_the_test_run():
    """Even if pytest is killed, no daemon stays."""
    script = (
        "from tests.mounted.daemon import VfsdMount\n"
        "mount = VfsdMount()\n"
        "print(mount.process.pid, mount.path, flush=True)\n"
        "input()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    pid, path = run.stdout.readline().split()
    run.kill()
    run.wait()
    run.stdin.close()
    run.stdout.close()
    for _ in range(1000):
        if not os.path.exists(f"/proc/{pid}"):
            break
        time.sleep(0.02)
    else:
        pytest.fail("the daemon still runs")
    root = Path(path).parent
    assert mounts_below(root) == []
    shutil.rmtree(root)


@pytest.mark.parametrize("marker", ["fuse", "bwrap", "root"])
def test_lacking_machine_skips_or_fails(marker, request, monkeypatch):
    request.node.add_marker(marker)
    monkeypatch.setattr(conftest, "lacking", lambda each: "it is not there" if each else "")
    monkeypatch.delenv("VFSD_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="it is not there"):
        conftest.pytest_runtest_setup(request.node)
    monkeypatch.setenv("VFSD_REQUIRE", f"network, {marker}")
    with pytest.raises(pytest.fail.Exception, match=f"VFSD_REQUIRE={marker}, but it is not"):
        conftest.pytest_runtest_setup(request.node)
    monkeypatch.setattr(conftest, "lacking", lambda each: "")
    conftest.pytest_runtest_setup(request.node)
