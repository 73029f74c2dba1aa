"""Edits on the host show through the mount at once, although the kernel caches for long."""

import json
import mmap
import os
import shutil
import struct

import pytest

from providers.passthrough import inotify
from providers.passthrough.syscalls import inotify_add, inotify_init
from tests.mounted.passthrough.attached import eventually

pytestmark = pytest.mark.fuse


@pytest.fixture
def app(attach, tmp_path):
    host = tmp_path / "host"
    (host / "sub/deep").mkdir(parents=True)
    (host / "file").write_bytes(b"old")
    (host / "sub/deep/file").write_bytes(b"old")
    mount, path = attach(host)
    return mount, host, path


def test_content_attributes_and_names_follow(app):
    _, host, path = app
    for name in ("file", "sub/deep/file"):
        assert (path / name).read_bytes() == b"old"
        (host / name).write_bytes(b"new and longer")
        eventually(lambda name=name: (path / name).read_bytes() == b"new and longer", name)
        assert (path / name).stat().st_size == 14
        os.chmod(host / name, 0o600)
        eventually(lambda name=name: (path / name).stat().st_mode == 0o100600, "chmod")
        os.utime(host / name, ns=(1, 2))
        eventually(lambda name=name: (path / name).stat().st_mtime_ns == 2, "utime")
    assert not (path / "missing").exists()
    (host / "missing").write_bytes(b"")
    eventually((path / "missing").exists, "a new name")
    assert "missing" in os.listdir(path)
    os.rename(host / "sub/deep", host / "moved")
    eventually(lambda: (path / "moved/file").exists(), "a rename")
    eventually(lambda: not (path / "sub/deep").exists(), "its old name")
    (host / "moved/file").write_bytes(b"after the rename")
    eventually(lambda: (path / "moved/file").read_bytes() == b"after the rename", "content")
    os.unlink(host / "file")
    eventually(lambda: not (path / "file").exists(), "a removal")
    shutil.rmtree(host / "moved")
    eventually(lambda: os.listdir(path) == os.listdir(host), "the listing")


def test_the_same_size_and_time_do_not_hide_an_edit(app):
    _, host, path = app
    os.utime(host / "file", ns=(5, 5))
    eventually(lambda: (path / "file").stat().st_mtime_ns == 5, "utime")
    assert (path / "file").read_bytes() == b"old"
    (host / "file").write_bytes(b"NEW")
    os.utime(host / "file", ns=(5, 5))
    eventually(lambda: (path / "file").read_bytes() == b"NEW", "an edit that hides itself")


def test_a_replaced_file_is_another_file(app):
    """As editors save: a new file takes the name, often with the old one's inode number."""
    _, host, path = app
    with open(path / "file", "rb") as reader:
        for number in range(20):
            os.unlink(host / "file")
            (host / "file").write_bytes(b"version %d" % number)
            content = b"version %d" % number
            eventually(lambda content=content: (path / "file").read_bytes() == content, "saving")
            assert (path / "file").stat().st_ino != os.fstat(reader.fileno()).st_ino
        assert reader.read() == b"old", "what is open stays what it was"


def test_a_map_of_a_file_follows(app):
    _, host, path = app
    (host / "page").write_bytes(b"a" * 4096)
    with (
        open(path / "page", "rb") as file,
        mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ) as page,
    ):
        assert page[:1] == b"a"
        with open(host / "page", "r+b") as writer:
            writer.write(b"b" * 4096)
        eventually(lambda: page[:1] == b"b", "a write below a map")


def test_what_the_host_changes_through_a_map_shows_when_opened_anew(app):
    _, host, path = app
    (host / "page").write_bytes(b"a" * 4096)
    os.utime(host / "page", ns=(1, 1))
    eventually(lambda: (path / "page").exists(), "the file")
    with open(host / "page", "r+b") as file:
        area = mmap.mmap(file.fileno(), 4096)
    with open(path / "page", "rb", buffering=0) as early:
        assert early.read(1) == b"a"
        for letter in (b"b", b"c", b"d"):
            area[0:1] = letter
            assert (path / "page").read_bytes()[:1] == letter
        same = ((host / "page").stat().st_mtime_ns, (path / "page").stat)
        eventually(lambda: same[1]().st_mtime_ns == same[0], "mtime")
        area[0:1] = b"e"
        area.close()
        eventually(lambda: os.pread(early.fileno(), 1, 0) == b"e", "the change, once unmapped")


def test_what_is_written_through_the_mount_is_on_the_host(app):
    _, host, path = app
    (path / "new").write_bytes(b"data")
    assert (host / "new").read_bytes() == b"data"
    with open(path / "file", "r+b") as file:
        with mmap.mmap(file.fileno(), 3) as page:
            page[:] = b"map"
            page.flush()
        os.fsync(file.fileno())
    assert (host / "file").read_bytes() == b"map"
    os.mkdir(path / "d")
    os.link(path / "new", path / "d/hard")
    os.symlink("../new", path / "d/soft")
    os.rename(path / "d", path / "e")
    os.mkfifo(path / "fifo")
    os.setxattr(path / "new", "user.a", b"1")
    assert sorted(os.listdir(host / "e")) == ["hard", "soft"]
    assert os.stat(host / "e/hard").st_ino == os.stat(host / "new").st_ino
    assert os.readlink(host / "e/soft") == "../new"
    assert os.getxattr(host / "new", "user.a") == b"1"
    assert (path / "e/soft").read_bytes() == b"data"
    shutil.rmtree(path / "e")
    assert not (host / "e").exists()


def test_own_writes_stay_cached(app):
    """The provider's own changes raise events as well; they must not empty the caches."""
    mount, _, path = app
    for number in range(50):
        (path / f"n{number}").write_bytes(b"data")

    def requests():
        done = mount.vfsd("status", "--json")
        return json.loads(done.stdout)

    eventually(lambda: len(os.listdir(path)) == 52, "the files")
    for number in range(50):
        (path / f"n{number}").stat()
    before = _count(requests(), "lookup")
    for _ in range(5):
        for number in range(50):
            (path / f"n{number}").stat()
    assert _count(requests(), "lookup") - before < 50


def _count(status, kind):
    found = []

    def search(value):
        if isinstance(value, dict):
            if "requests" in value and isinstance(value["requests"], dict):
                found.append(value["requests"].get(kind, 0))
            for each in value.values():
                search(each)
        elif isinstance(value, list):
            for each in value:
                search(each)

    search(status)
    assert found
    return found[0]


def test_changes_through_one_attachment_show_in_another(app, attach):
    mount, host, path = app
    _, other = attach(host, "--read-only", name="other", mount=mount)
    assert (other / "file").read_bytes() == b"old"
    (path / "file").write_bytes(b"through the first")
    eventually(lambda: (other / "file").read_bytes() == b"through the first", "a write")
    (path / "new").write_bytes(b"")
    eventually((other / "new").exists, "a new name")


def test_where_nothing_tells_of_edits_status_says_so_and_they_show_soon(attach, tmp_path):
    host = tmp_path / "host"
    host.mkdir()
    (host / "file").write_bytes(b"old")
    mount, path = attach(host, "-o", "threads=always", "--links", "hide")
    assert (path / "file").read_bytes() == b"old"
    (host / "file").write_bytes(b"new")
    eventually(lambda: (path / "file").read_bytes() == b"new", "an edit")
    eventually(lambda: (path / "file").stat().st_size == 3, "its size")
    (host / "more").touch()
    eventually(lambda: (path / "more").exists(), "a new name")
    status = mount.vfsd("status", str(mount.path)).stdout
    assert "watch off: the backing storage may change without telling" in status
    assert "links hide" in status


def test_status_counts_what_is_watched(app):
    mount, _, path = app
    assert (path / "sub/deep/file").read_bytes() == b"old"
    (status,) = json.loads(mount.vfsd("status", "--json", str(mount.path)).stdout)
    (shown,) = [each for each in status["attachments"] if each["prefix"] == "app"]
    assert (shown["watch"], shown["watches"], shown["overflows"]) == ("inotify", 3, 0)


def test_inotify_on_the_mount_sees_changes_made_through_it(app):
    """What inotifywait shows: the kernel's own events of the mount."""
    _, _, path = app
    fd = os.open(path, os.O_RDONLY)
    watcher = inotify_init()
    try:
        inotify_add(watcher, fd, inotify.OF_NAMES | inotify.MODIFY)
        (path / "seen").write_bytes(b"data")
        os.rename(path / "seen", path / "moved")
        os.unlink(path / "moved")
        seen = []
        data = os.read(watcher, 65536)
        while data:
            _, mask, _, length = struct.unpack_from("=iIII", data)
            seen.append((mask, data[16 : 16 + length].rstrip(b"\0")))
            data = data[16 + length :]
        assert seen == [
            (inotify.CREATE, b"seen"),
            (inotify.MODIFY, b"seen"),
            (inotify.MOVED_FROM, b"seen"),
            (inotify.MOVED_TO, b"moved"),
            (inotify.DELETE, b"moved"),
        ]
    finally:
        os.close(watcher)
        os.close(fd)
