"""Directories that nobody opens: the kernel keeps their listings, and they are true."""

import os
import threading
import time

import pytest

pytestmark = pytest.mark.fuse

STABLE = 2000
WAIT_S = 30


def test_a_warm_listing_asks_nothing(vfsd_mount, connect):
    mount = vfsd_mount()
    (mount.path / "d").mkdir()
    for number in range(100):
        (mount.path / "d" / str(number)).touch()
    with connect(mount) as client:
        listed = os.listdir(mount.path / "d")
        before = client.status()["requests"]
        for _ in range(10):
            assert os.listdir(mount.path / "d") == listed
        after = client.status()["requests"]
        kinds = ("opendir", "readdir", "releasedir")
        assert {kind: after.get(kind) for kind in kinds} == {
            kind: before.get(kind) for kind in kinds
        }
        client.write_bytes("d/other", b"")
        assert sorted(os.listdir(mount.path / "d")) == sorted([*listed, "other"])
        client.unlink("d/other")
        assert sorted(os.listdir(mount.path / "d")) == sorted(listed)


def test_who_lists_while_others_list_and_change_sees_what_stays_once(vfsd_mount, connect):
    mount = vfsd_mount()
    stable = {f"stable-{number:05}" for number in range(STABLE)}
    for name in stable:
        (mount.path / name).touch()
    wrong, lists, over = [], [], threading.Event()

    def list_it():
        while not over.is_set():
            seen = [name for name in os.listdir(mount.path) if name.startswith("stable-")]
            lists.append(len(seen))
            if len(seen) != STABLE or set(seen) != stable:
                wrong.append(len(seen))

    threads = [threading.Thread(target=list_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    with connect(mount) as client:
        number = 0
        while len(lists) < 40:
            number += 1
            client.write_bytes(f"{number}", b"")
            os.rename(mount.path / f"{number}", mount.path / f"other-{number}")
    over.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_listing_is_dropped_where_changes_are_not_told(vfsd_mount, tmp_path):
    """The directory's time does not tell of the change either."""
    tmp_path.chmod(0o755)
    mount = vfsd_mount(f"passthrough:{tmp_path}", "-o", "watch=off")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    times = os.stat(tmp_path / "d")
    assert os.listdir(mount.path / "d") == ["old"]
    (tmp_path / "d" / "new").touch()
    os.utime(tmp_path / "d", ns=(times.st_atime_ns, times.st_mtime_ns))
    deadline = time.monotonic() + WAIT_S
    while sorted(os.listdir(mount.path / "d")) != ["new", "old"]:
        assert time.monotonic() < deadline, "the listing is kept for ever"
        time.sleep(0.05)


def test_an_open_directory_can_be_synced_and_is_no_reason_not_to_detach(vfsd_mount, connect):
    mount = vfsd_mount()
    with connect(mount) as client:
        client.attach("memory", "m")
        (mount.path / "m" / "f").touch()
        fd = os.open(mount.path / "m", os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(fd)
        assert os.listdir(fd) == ["f"]
        client.detach("m")
        with pytest.raises(OSError, match="tale"):
            os.stat("f", dir_fd=fd)
        os.close(fd)
        assert os.listdir(mount.path / "m") == []
