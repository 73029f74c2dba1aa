"""One view through two doors: the control socket and a real mount with long kernel caches."""

import errno
import os

import pytest

from vfsd import client as client_module

pytestmark = pytest.mark.fuse


@pytest.fixture
def doors(vfsd_mount, monkeypatch):
    """A mount and a client of its daemon."""
    mount = vfsd_mount()
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    with client_module.connect(mount.path) as client:
        yield mount.path, client


def test_what_is_written_by_the_socket_is_seen_by_the_mount_at_once(doors):
    root, client = doors
    for turn in range(30):
        data = b"%d" % turn * turn
        with pytest.raises(FileNotFoundError):
            os.stat(root / f"f{turn}")  # the kernel remembers that it is not there
        client.write_bytes(f"f{turn}", data)
        assert os.stat(root / f"f{turn}").st_size == len(data)
        assert (root / f"f{turn}").read_bytes() == data
        client.write_bytes(f"f{turn}", data + b"more")
        assert (root / f"f{turn}").read_bytes() == data + b"more"
        assert len(os.listdir(root)) == turn + 1


def test_what_is_written_by_the_mount_is_seen_by_the_socket_at_once(doors):
    root, client = doors
    for turn in range(30):
        (root / "d").mkdir()
        (root / "d/f").write_bytes(b"%d" % turn)
        assert client.read_bytes("d/f") == b"%d" % turn
        (root / "d/f").chmod(0o600)
        os.utime(root / "d/f", ns=(1, turn))
        found = client.stat("d/f")
        assert (found.stat.mode & 0o7777, found.stat.mtime_ns) == (0o600, turn)
        os.rename(root / "d/f", root / "g")
        assert client.listdir() == [b"d", b"g"]
        (root / "d").rmdir()
        assert client.listdir() == [b"g"]


def test_each_change_by_the_socket_is_seen(doors):
    root, client = doors
    client.write_bytes("f", b"12345")
    assert os.stat(root / "f").st_nlink == 1
    client.link("f", "g")
    assert os.stat(root / "f").st_nlink == 2
    client.unlink("f")
    assert os.stat(root / "g").st_nlink == 1
    with pytest.raises(FileNotFoundError):
        os.stat(root / "f")
    client.setattr("g", mode=0o640, mtime_ns=5)
    found = os.stat(root / "g")
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o640, 5)
    client.truncate("g", 2)
    assert (root / "g").read_bytes() == b"12"
    client.setxattr("g", "user.a", b"1")
    assert os.getxattr(root / "g", "user.a") == b"1"
    client.mkdir("d")
    assert os.stat(root).st_nlink == client.stat("").stat.nlink
    client.rename("g", "d/h")
    assert os.listdir(root / "d") == ["h"]
    assert not (root / "g").exists()
    client.symlink("d", "l")
    assert (root / "l/h").read_bytes() == b"12"
    client.unlink("l")
    client.symlink("nowhere", "l")
    assert os.readlink(root / "l") == "nowhere"
    client.remove_tree("d")
    assert os.listdir(root) == ["l"]


def test_writing_by_a_virtual_fd_is_seen_in_an_open_file(doors):
    root, client = doors
    (root / "f").write_bytes(b"aaaa")
    with open(root / "f", "rb", buffering=0) as through_mount:
        assert through_mount.read() == b"aaaa"
        with client.open("f", "r+b") as through_socket:
            through_socket.write(b"bb")
            through_mount.seek(0)
            assert through_mount.read() == b"bbaa"
            through_socket.truncate(1)
            assert os.fstat(through_mount.fileno()).st_size == 1


def test_attributes_agree_through_both_doors(doors):
    root, client = doors
    client.write_bytes("f", b"123")
    client.mknod("p", 0o10644)
    client.mkdir("d")
    for name in ("f", "p", "d", ""):
        seen, told = os.lstat(root / name), client.stat(name, follow=False).stat
        assert (
            seen.st_mode,
            seen.st_nlink,
            seen.st_uid,
            seen.st_gid,
            seen.st_size,
            seen.st_blocks,
            seen.st_mtime_ns,
            seen.st_ctime_ns,
        ) == (
            told.mode,
            told.nlink,
            told.uid,
            told.gid,
            told.size,
            told.blocks,
            told.mtime_ns,
            told.ctime_ns,
        )


def test_seeding_many_files_is_seen_whole(doors, tmp_path):
    root, client = doors
    for number in range(1200):
        path = tmp_path / "source" / f"d{number % 30}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    (root / "copy/d0").mkdir(parents=True)
    assert os.listdir(root / "copy/d0") == []
    assert client.put_tree(tmp_path / "source", "copy").problems == []
    for number in range(1200):
        assert (root / f"copy/d{number % 30}/f{number}").read_bytes() == b"%d" % number
    assert client.remove_tree("copy") == 1231
    assert os.listdir(root) == []


def test_attaching_and_detaching_are_seen(doors):
    root, client = doors
    (root / "x").mkdir()
    (root / "x/hidden").write_bytes(b"1")
    assert os.listdir(root / "x") == ["hidden"]
    assert client.attach("memory", "x").hides
    assert os.listdir(root / "x") == []
    client.write_bytes("x/f", b"1")
    client.fork("x", "y")
    (root / "y/f").write_bytes(b"2")
    assert (root / "x/f").read_bytes() == b"1"
    assert client.read_bytes("y/f") == b"2"
    with open(root / "x/f", "rb"):
        with pytest.raises(OSError) as caught:
            client.detach("x")
        assert caught.value.errno == errno.EBUSY
    client.detach("x", lazy=True)
    assert os.listdir(root / "x") == ["hidden"]


def test_changes_by_the_mount_are_watched(doors):
    root, client = doors
    with client.watch() as changes:
        (root / "f").write_bytes(b"1")
        assert any(event.name == b"f" for event in changes)
