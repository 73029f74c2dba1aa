"""What the daemon holds for the kernel is given back: lookups, inodes, virtual fds."""

import json
import os
import shutil
import time

import pytest

pytestmark = pytest.mark.fuse

HELD = ("inodes", "lookups", "open_handles")
SETTLE_SECONDS = 20


def held(mount):
    done = mount.vfsd("status", "--json", str(mount.path))
    assert done.returncode == 0, done.stderr
    (status,) = json.loads(done.stdout)
    return {key: status[key] for key in HELD}


def settled(mount, expected):
    """Wait until the kernel's forgets and releases arrived; return what is held then."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (found := held(mount)) != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def work(path):
    """Make the kernel look up, open, replace and lose many files."""
    for number in range(300):
        name = path / f"f{number}"
        name.write_bytes(b"data")
        name.read_bytes()
        os.link(name, path / f"h{number}")
        os.symlink("f0", path / f"l{number}")
        os.stat(path / f"l{number}", follow_symlinks=False)
        os.mkdir(path / f"d{number}")
        os.rename(name, path / f"d{number}" / "f")
        os.rename(path / f"h{number}", path / "same")
    for number in range(300):
        assert os.path.lexists(path / f"d{number}" / "f")
        assert not os.path.lexists(path / f"missing{number}")
    os.listdir(path)


def test_removed_files_are_forgotten(vfsd_mount):
    mount = vfsd_mount()
    before = held(mount)
    for _ in range(2):
        os.mkdir(mount.path / "work")
        work(mount.path / "work")
        shutil.rmtree(mount.path / "work")
        assert settled(mount, before) == before


def test_open_files_are_counted_until_they_are_closed(vfsd_mount):
    mount = vfsd_mount()
    before = held(mount)
    fds = [os.open(mount.path / f"f{number}", os.O_RDWR | os.O_CREAT) for number in range(100)]
    assert held(mount)["open_handles"] == before["open_handles"] + 100
    for number, fd in enumerate(fds):
        os.unlink(mount.path / f"f{number}")
        os.close(fd)
    assert settled(mount, before) == before


def test_client_that_dies_gives_all_back(vfsd_mount):
    mount = vfsd_mount()
    before = held(mount)
    pid = os.fork()
    if pid == 0:
        for number in range(100):
            os.open(mount.path / f"f{number}", os.O_RDWR | os.O_CREAT)
            os.unlink(mount.path / f"f{number}")
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert settled(mount, before) == before
