"""Through the mount and through the control socket: nothing leads out, read-only holds.

The mount's files are reached by this process as by any program, so a link is followed by the
kernel; what counts is that the daemon neither reads nor changes anything outside of the root.
"""

import errno
import hashlib
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import pytest

from vfsd.client import connect as connect_to

pytestmark = pytest.mark.fuse

SECRET = b"nobody may read this"


@pytest.fixture
def trees(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "dir").mkdir(parents=True)
    (outside / "secret").write_bytes(SECRET)
    (root / "dir/sub").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    for name, target in LINKS.items():
        (root / name).symlink_to(str(target).replace("TREES", str(tmp_path)))
    return tmp_path


LINKS = {
    "absolute": "TREES/outside/secret",
    "relative": "../outside/secret",
    "directory": "TREES/outside",
    "chain": "relative",
    "deep": "dir/sub/../../../outside/secret",
    "through": "directory/secret",
    "magic": "/proc/self/root/etc/passwd",
    "cwd": "/proc/self/cwd",
    "root": "/",
    "up": "..",
}


CHAINS = ("chain", "through")
"""These name another link, inside, and only that one leads out."""


def fingerprint(directory):
    """Names, types, modes, owners, times and content of everything below."""
    digest = hashlib.sha256()
    for place, names, files in sorted(os.walk(directory)):
        for name in sorted([*names, *files]):
            path = os.path.join(place, name)
            stat = os.lstat(path)
            digest.update(repr((path, *stat[:7], stat.st_mtime_ns, stat.st_ctime_ns)).encode())
            if name in files and not os.path.islink(path):
                with open(path, "rb") as file:
                    digest.update(file.read())
    return digest.hexdigest()


def reopen(path, mode):
    with open(path, mode):
        pass


def refused(call, *arguments):
    """Return the errno a call fails with."""
    with pytest.raises(OSError, match=r".") as caught:
        call(*arguments)
    return caught.value.errno


def test_links_that_leave_are_denied(trees, attach):
    before = fingerprint(trees / "outside")
    _, path = attach(trees / "root")
    for name in LINKS:
        assert os.path.islink(path / name)
        for call in (
            *(partial(reopen, mode=mode) for mode in ("rb", "wb", "ab", "r+b")),
            os.stat,
            os.listdir,
            lambda link: os.chmod(link, 0o777),
            lambda link: os.truncate(link, 0),
            os.listxattr,
        ):
            assert refused(call, path / name) == errno.EACCES, name
        if name not in CHAINS:
            assert refused(os.readlink, path / name) == errno.EACCES
    assert refused(os.stat, path / "directory/secret") == errno.EACCES
    assert refused(os.mkdir, path / "directory/new") == errno.EACCES
    for name in LINKS:
        os.rename(path / name, path / "dir" / name)
        os.unlink(path / "dir" / name)
    assert fingerprint(trees / "outside") == before
    assert sorted(os.listdir(trees / "root")) == ["dir", "file"]


def test_links_that_leave_are_hidden(trees, attach):
    _, path = attach(trees / "root", "-o", "links=hide")
    assert sorted(os.listdir(path)) == [*sorted([*CHAINS, "dir", "file"])]
    for name in LINKS:
        assert refused(os.stat, path / name) == errno.ENOENT
        if name not in CHAINS:
            assert refused(os.lstat, path / name) == errno.ENOENT


def test_links_that_leave_are_mapped(trees, attach):
    mount, store = attach(trees / "outside", "--read-only", name="store")
    _, path = attach(trees / "root", "-o", f"links=map={store}", mount=mount)
    for name in ("absolute", "relative", "chain", "deep"):
        assert (path / name).read_bytes() == SECRET
    assert os.readlink(path / "absolute") == f"{store}/secret"
    assert sorted(os.listdir(path / "directory")) == ["dir", "secret"]
    assert refused(open, path / "absolute", "wb") == errno.EROFS
    assert refused(os.stat, path / "magic") == errno.EACCES


def test_absolute_links_inside_resolve_inside(trees, attach):
    root = trees / "root"
    (root / "dir/to-file").symlink_to(root / "file")
    (root / "dir/to-dir").symlink_to(root / "dir/sub")
    (root / "dir/sub/f").write_bytes(b"f")
    (root / "dir/loop").symlink_to(root / "dir/loop")
    _, path = attach(root)
    assert (path / "dir/to-file").read_bytes() == b"inside"
    assert (path / "dir/to-dir/f").read_bytes() == b"f"
    assert os.readlink(path / "dir/to-file") == "../file"
    assert os.lstat(path / "dir/to-file").st_size == len("../file")
    assert refused(os.stat, path / "dir/loop") == errno.ELOOP
    for name in ("to-file", "to-dir", "loop"):
        assert str(trees) not in os.readlink(path / "dir" / name)


def test_links_made_through_the_mount(trees, attach):
    before = fingerprint(trees / "outside")
    _, path = attach(trees / "root")
    os.symlink(trees / "outside", path / "made")
    assert refused(os.listdir, path / "made") == errno.EACCES
    os.symlink(path / "file", path / "own")
    os.symlink("dir/../../root/file", path / "around")
    assert (path / "around").read_bytes() == b"inside"
    for name in ("made", "own"):
        os.unlink(path / name)
    assert fingerprint(trees / "outside") == before


def test_odd_names(trees, attach):
    _, path = attach(trees / "root")
    place = os.fsencode(path)
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b"x" * 255):
        with open(place + b"/" + name, "wb") as file:
            file.write(name)
        assert name in os.listdir(place)
        assert name in os.listdir(os.fsencode(trees / "root"))
    assert refused(open, place + b"/" + b"x" * 256, "wb") == errno.ENAMETOOLONG


@pytest.fixture
def client(monkeypatch):
    def connect(mount):
        for key, value in mount.environment.items():
            monkeypatch.setenv(key, value)
        return connect_to(str(mount.path))

    return connect


def test_the_control_socket_is_held_to_the_same(trees, attach, client):
    before = fingerprint(trees / "outside")
    mount, _ = attach(trees / "root")
    with client(mount) as door:
        for name in LINKS:
            for call, *arguments in (
                (door.read_bytes, f"/app/{name}"),
                (door.truncate, f"/app/{name}", 0),
                (door.getxattr, f"/app/{name}", "user.a"),
                (door.listdir, f"/app/{name}"),
                (door.stat, f"/app/{name}"),
            ):
                assert refused(call, *arguments) == errno.EACCES, name
        for name in LINKS:
            door.write_bytes(f"/app/{name}", b"a file instead of the link")
            assert not os.path.islink(trees / "root" / name)
        for path in ("/app/../../etc/passwd", "/app/dir/../../../../etc/passwd"):
            assert refused(door.read_bytes, path) in (errno.ENOENT, errno.EINVAL)
        assert refused(door.read_bytes, "/app/fi\0le") == errno.EINVAL
        assert refused(door.read_bytes, f"/app/{'x' * 256}") == errno.ENAMETOOLONG
        assert door.read_bytes("/app/file") == b"inside"
        door.write_bytes("/app/new", b"by the socket")
    assert (trees / "root/new").read_bytes() == b"by the socket"
    assert fingerprint(trees / "outside") == before


def test_read_only_belongs_to_the_attachment(tmp_path, attach):
    """One directory twice: what is read-only stays so, whatever is open through the other."""
    host = tmp_path / "host"
    (host / "d/sub").mkdir(parents=True)
    (host / "f").write_bytes(b"x" * 8192)
    os.setxattr(host / "f", "user.a", b"1")
    mount, writable = attach(host)
    _, path = attach(host, "--read-only", name="app/d/inner", mount=mount)
    assert (path / "f").read_bytes() == b"x" * 8192
    (host / "d/inner").rmdir()  # the attach point's own directory, which attaching made
    with open(writable / "f", "r+b") as held:
        held.write(b"y")
        held.flush()
        before = fingerprint(host)
        for call, *arguments in (
            (open, path / "f", "wb"),
            (open, path / "f", "ab"),
            (open, path / "f", "r+b"),
            (os.open, path / "f", os.O_RDONLY | os.O_TRUNC),
            (os.open, path / "new", os.O_WRONLY | os.O_CREAT),
            (os.truncate, path / "f", 0),
            (os.unlink, path / "f"),
            (os.mkdir, path / "new"),
            (os.rmdir, path / "d/sub"),
            (os.rename, path / "f", path / "g"),
            (os.link, path / "f", path / "g"),
            (os.symlink, "f", path / "g"),
            (os.mkfifo, path / "p"),
            (os.chmod, path / "f", 0o777),
            (os.chown, path / "f", 5, 5),
            (os.utime, path / "f"),
            (os.setxattr, path / "f", "user.a", b"2"),
            (os.removexattr, path / "f", "user.a"),
        ):
            assert refused(call, *arguments) == errno.EROFS, (call, arguments)
        for call, *arguments in (
            (os.rename, path / "f", writable / "g"),
            (os.rename, writable / "f", path / "g"),
            (os.link, path / "f", writable / "g"),
            (os.link, writable / "f", path / "g"),
        ):
            assert refused(call, *arguments) in (errno.EROFS, errno.EXDEV)
        fd = os.open(path / "f", os.O_RDONLY)
        try:
            with pytest.raises(PermissionError):
                mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            assert refused(os.ftruncate, fd, 0) in (errno.EINVAL, errno.EBADF)
            assert refused(os.write, fd, b"x") == errno.EBADF
            assert refused(os.fchmod, fd, 0o777) == errno.EROFS
            with mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE) as page:
                page[:4] = b"mine"
        finally:
            os.close(fd)
        assert fingerprint(host) == before


def test_a_directory_that_holds_the_mount_is_no_trap(vfsd_mount, attach, tmp_path):
    """Attaching what contains the mountpoint: the mount is not shown within itself."""
    mount = vfsd_mount()
    (mount.root / "beside").write_bytes(b"beside")
    done = mount.vfsd("attach", str(mount.root), str(mount.path / "app"))
    assert done.returncode == 0, done.stderr
    path = mount.path / "app"
    assert (path / "beside").read_bytes() == b"beside"
    assert "mount" not in os.listdir(path)
    assert refused(os.stat, path / "mount") == errno.ENOENT
    assert refused(os.stat, path / "mount/app/beside") == errno.ENOENT
    assert mount.vfsd("detach", str(path)).returncode == 0
    done = mount.vfsd("attach", str(mount.path), str(mount.path / "loop"))
    assert done.returncode != 0
    assert "inside the mount" in done.stderr


def test_bad_sources_are_told_and_change_nothing(vfsd_mount, tmp_path):
    mount = vfsd_mount()
    (tmp_path / "file").write_bytes(b"")
    for source, *options in (
        (f"passthrough:{tmp_path}/missing",),
        (f"passthrough:{tmp_path}/file",),
        ("passthrough",),
        (str(tmp_path), "-o", "links=map"),
        (str(tmp_path), "-o", "guard=none"),
        (str(tmp_path), "-o", "nonsense=1"),
    ):
        done = mount.vfsd("attach", source, str(mount.path / "app"), *options)
        assert done.returncode not in (0, 1), done
        assert done.stderr.startswith("vfsd: ")
        assert done.stderr.count("\n") == 1
        assert os.listdir(mount.path) == []


SWAPPER = """
import ctypes, os, sys
renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
root = sys.argv[1].encode()
while True:
    renameat2(-100, root + b"/swap", -100, root + b"/trap", 2)
    os.sched_yield()
"""


@pytest.mark.parametrize("guard", ["openat2", "walk"])
def test_a_race_by_way_of_the_mount(trees, attach, guard):
    """As tests/security/test_race.py, with the kernel's caches in between."""
    root, outside = trees / "root", trees / "outside"
    (root / "swap/dir").mkdir(parents=True)
    (root / "swap/secret").write_bytes(b"inside")
    (root / "trap").symlink_to(outside)
    before = fingerprint(outside)
    _, path = attach(root, "-o", f"guard={guard}")
    child = subprocess.Popen([sys.executable, "-c", SWAPPER, str(root)])
    done = []
    try:
        deadline = time.monotonic() + 60
        while len(done) < 300 and time.monotonic() < deadline:
            for work in (read_it, write_it, make_and_remove):
                try:
                    work(path / "swap")
                    done.append(work)
                except OSError:
                    continue
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(done) >= 300
    assert fingerprint(outside) == before


def read_it(path):
    assert (path / "secret").read_bytes() != SECRET


def write_it(path):
    with open(path / "secret", "r+b") as file:
        file.write(b"inside")


def make_and_remove(path):
    with open(path / "dir/new", "wb") as file:
        file.write(b"inside")
    os.unlink(path / "dir/new")


def test_a_blocked_backing_blocks_nobody_else(vfsd_mount, attach, tmp_path):
    """A backing file system whose server stands still: the other providers go on."""
    backing = vfsd_mount()
    (backing.path / "f").write_bytes(b"data")
    local = tmp_path / "local"
    local.mkdir()
    (local / "f").write_bytes(b"data")
    mount, slow = attach(backing.path, name="slow")
    _, quick = attach(local, name="quick", mount=mount)
    assert (slow / "f").read_bytes() == b"data"
    backing.process.send_signal(signal.SIGSTOP)
    outcomes = []

    def look(number):
        outcomes.append((slow / f"missing{number}").exists())

    threads = [threading.Thread(target=look, args=(number,)) for number in range(40)]
    try:
        for thread in threads:
            thread.start()
        for number in range(50):
            (quick / f"n{number}").write_bytes(b"data")
            assert (quick / f"n{number}").read_bytes() == b"data"
        (mount.path / "memory").write_bytes(b"data")
        done = mount.vfsd("status")
        assert done.returncode == 0, done.stderr
        assert outcomes == [], "those who ask the blocked one wait"
    finally:
        backing.process.send_signal(signal.SIGCONT)
        for thread in threads:
            thread.join()
    assert outcomes == [False] * 40
    assert (slow / "f").read_bytes() == b"data"
