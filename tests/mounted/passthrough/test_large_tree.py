"""A tree of 200,000 files is walked through the mount, and the daemon's open fds stay few.

The files are hard links of one, so that the host makes them quickly.
"""

import os
import subprocess
import threading

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.root]

FILES = 200_000
PER_DIRECTORY = 400
SOFT_LIMIT = 512
"""RLIMIT_NOFILE of the daemon: far fewer than the directories of the tree."""


@pytest.fixture
def large(tmp_path_factory):
    """Make the tree on the host; it is gone at the end, for pytest keeps what is left."""
    root = tmp_path_factory.mktemp("large")
    for number in range(FILES // PER_DIRECTORY):
        branch = root / f"b{number % 20}" / f"d{number}"
        branch.mkdir(parents=True)
        (branch / "f0").write_bytes(b"x" * 10)
        fd = os.open(branch, os.O_RDONLY)
        for index in range(1, PER_DIRECTORY):
            os.link("f0", f"f{index}", src_dir_fd=fd, dst_dir_fd=fd)
        os.close(fd)
    yield root
    subprocess.run(["rm", "-rf", "--", root], check=True, timeout=120)


def test_fds_stay_bounded_while_a_large_tree_is_walked(vfsd_mount, large):
    mount = vfsd_mount()
    pid = mount.process.pid
    subprocess.run(["prlimit", f"--nofile={SOFT_LIMIT}", "--pid", str(pid)], check=True)
    path = mount.path / "large"
    done = mount.vfsd("attach", str(large), str(path))
    assert done.returncode == 0, done.stderr
    most, ended = 0, threading.Event()

    def observe():
        nonlocal most
        while not ended.wait(0.02):
            most = max(most, mount.fd_count())

    observer = threading.Thread(target=observe)
    observer.start()
    try:
        seen = subprocess.run(
            ["find", str(path), "-type", "f", "-size", "-2", "-printf", "."],
            capture_output=True,
            check=True,
            timeout=120,
        ).stdout
    finally:
        ended.set()
        observer.join()
    assert len(seen) == FILES
    assert most < SOFT_LIMIT // 2, f"{most} fds open at a time"
    for directory in ("b0/d0", "b19/d499", "b7/d7"):
        assert (path / directory / "f399").read_bytes() == b"x" * 10
    assert mount.vfsd("detach", str(path)).returncode == 0
