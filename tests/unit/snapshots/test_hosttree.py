"""A directory of the host as a view: everything is seen, nothing is followed."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys

import pytest

from tests.unit.snapshots.treedump import dump, dump_directory
from vfsd.snapshots.hosttree import HostTree

# What a live directory and a sealed layer are read with.
pytestmark = pytest.mark.parametrize("sealed", [False, True], ids=["live", "sealed"])

ODD = b"\xff\xfe \n'odd"


@pytest.fixture
def place(tmp_path):
    root = tmp_path / "root"
    (root / "a" / "deep").mkdir(parents=True)
    (root / "a" / "deep" / "file").write_bytes(b"content")
    os.chmod(root / "a" / "deep" / "file", 0o4741)
    (root / "empty").mkdir(mode=0o1777)
    os.symlink("a/deep", root / "link")
    os.symlink("/etc", root / "out")
    os.link(root / "a" / "deep" / "file", root / "same")
    os.mkfifo(root / "fifo", 0o600)
    with open(os.path.join(os.fsencode(root), ODD), "wb") as file:
        file.write(b"odd")
    os.setxattr(root / "a", "user.note", b"\0 note")
    os.setxattr(root / "a", "user.overlay.opaque", b"y")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(root / "socket"))
    return root


def test_everything_is_seen_as_plain_calls_see_it(sealed, place):
    with HostTree(place, marks=True, sealed=sealed) as view:
        assert dump(view) == dump_directory(place)


def test_the_overlays_marks_are_kept_back(sealed, place):
    with HostTree(place, sealed=sealed) as view:
        assert view.xattrs(b"a") == {b"user.note": b"\0 note"}


def test_hard_links_have_one_identity_and_others_none_in_common(sealed, place):
    with HostTree(place, sealed=sealed) as view:
        identities = [view.item(path).identity for path in (b"same", b"a/deep/file", ODD)]
    assert identities[0] == identities[1] != identities[2]


def test_two_views_of_one_directory_give_one_source(sealed, place):
    with HostTree(place, sealed=sealed) as one, HostTree(place / "a", sealed=sealed) as other:
        assert one.item(b"a/deep").source == other.item(b"deep").source is not None
        assert one.item(b"a").source != one.item(b"a/deep").source


@pytest.mark.parametrize("path", [b"link/file", b"out/passwd", b"same/x"])
def test_nothing_is_followed(sealed, place, path):
    with HostTree(place, sealed=sealed) as view:
        for call in (view.item, view.scan, view.readlink, view.xattrs, view.open):
            with pytest.raises(OSError) as caught:
                call(path)
            assert caught.value.errno == errno.ENOTDIR
            assert os.fsdecode(path) in str(caught.value)


@pytest.mark.parametrize("path", [b"link", b"out"])
def test_a_last_symlink_is_not_followed_either(sealed, place, path):
    with HostTree(place, sealed=sealed) as view:
        assert stat.S_ISLNK(view.item(path).stat.mode)
        assert view.xattrs(path) == {}
        with pytest.raises(OSError):
            view.scan(path)
        with pytest.raises(OSError):
            view.open(path)


@pytest.mark.parametrize("path", [b"fifo", b"a", b""])
def test_only_regular_files_open_and_a_fifo_does_not_hold_up(sealed, place, path):
    with HostTree(place, sealed=sealed) as view:
        with pytest.raises(OSError) as caught:
            view.open(path)
        assert caught.value.errno == errno.EINVAL


def test_what_is_not_there(sealed, place):
    with HostTree(place, sealed=sealed) as view:
        for call in (view.item, view.scan, view.readlink, view.xattrs, view.open):
            with pytest.raises(FileNotFoundError) as caught:
                call(b"a/none")
            assert str(place / "a" / "none") in str(caught.value)


def test_a_view_stays_with_a_root_that_is_renamed(sealed, place):
    with HostTree(place, sealed=sealed) as view:
        place.rename(place.with_name("elsewhere"))
        assert b"a" in view.scan(b"")


def test_paths_longer_than_the_kernel_takes(sealed, tmp_path):
    name = b"n" * 200
    path = b""
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
        path = path + b"/" + name if path else name
    with open(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as file:
        file.write(b"deep")
    os.close(fd)
    assert len(path) > 4096
    with HostTree(tmp_path, sealed=sealed) as view:
        assert list(view.scan(path)) == [b"file"]
        with view.open(path + b"/file") as file:
            assert file.read() == b"deep"
    # pytest's own removal does not manage such a path.
    subprocess.run(["rm", "-rf", tmp_path / os.fsdecode(name)], check=True)


def test_no_descriptor_is_left_open(sealed, place):
    before = os.listdir("/proc/self/fd")
    with HostTree(place, sealed=sealed) as view:
        dump(view)
        for path in (b"none", b"link/file", b"fifo"):
            with pytest.raises(OSError):
                view.open(path)
    view.close()
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.root
def test_what_cannot_be_read_is_named(sealed, tmp_path):
    """As another user: root reads everything."""
    root = tmp_path / "root"
    (root / "closed").mkdir(parents=True)
    (root / "secret").write_bytes(b"x")
    os.chmod(root / "closed", 0)
    os.chmod(root / "secret", 0)
    script = """
import os, sys
from vfsd.snapshots.hosttree import HostTree
view = HostTree(sys.argv[1], sealed=sys.argv[2] == "True")
os.setresuid(65534, 65534, 65534)
assert set(view.scan(b"")) == {b"closed", b"secret"}
for call, path in ((view.scan, b"closed"), (view.open, b"secret"), (view.item, b"closed/x")):
    try:
        call(path)
    except PermissionError as error:
        print(error.filename)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, root, str(sealed)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [
        f"{root}/closed",
        f"{root}/secret",
        f"{root}/closed/x",
    ]


@pytest.mark.parametrize("path", [b"..", b"a/..", b"a/../same"])
def test_a_name_that_leads_back_leads_nowhere_outside(sealed, place, path):
    with HostTree(place / "a", sealed=sealed) as view:
        for call in (view.item, view.scan, view.readlink, view.xattrs, view.open):
            with pytest.raises(OSError):
                call(path)
