"""Layers of the kernel's overlayfs pass through an attached directory as they are.

A whiteout is a character device 0:0, which anybody may make since Linux 5.8; opaque directories
and the rest of what overlayfs notes stand in ``trusted.overlay.*`` (root's overlays) and
``user.overlay.*`` (anybody's). The kernel's overlayfs is the judge, both ways.

Source: Linux Documentation/filesystems/overlayfs.rst.
"""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.conftest import make_place, mounted_below

pytestmark = [pytest.mark.fuse, pytest.mark.root]

KINDS = pytest.mark.parametrize("kind", ["trusted", "user"])


@pytest.fixture
def disk():
    """A tmpfs with the directories of an overlay, which everybody may enter."""
    place = Path(tempfile.mkdtemp(prefix="vfsd-test-"))
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    place.chmod(0o755)
    for name in ("lower/d", "lower/e", "upper", "work", "merged", "empty"):
        (place / name).mkdir(parents=True)
    for name in ("lower/gone", "lower/kept", "lower/d/hidden", "lower/e/shown"):
        (place / name).write_bytes(b"lower")
    yield place
    subprocess.run(["umount", place], check=True)
    place.rmdir()


@contextmanager
def overlaid(disk, kind, *options):
    words = ",".join([*options, *(["userxattr"] if kind == "user" else [])])
    subprocess.run(["mount", "-t", "overlay", "none", "-o", words, disk / "merged"], check=True)
    try:
        yield disk / "merged"
    finally:
        subprocess.run(["umount", disk / "merged"], check=True)


def change(merged):
    """What leaves a whiteout and an opaque directory behind."""
    os.unlink(merged / "gone")
    shutil.rmtree(merged / "d")
    (merged / "d").mkdir()
    (merged / "d/new").write_bytes(b"upper")


def tree(root):
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
    }


def is_whiteout(path):
    found = os.lstat(path)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


@KINDS
def test_what_the_kernel_wrote_is_shown(disk, attach, kind):
    layers = f"lowerdir={disk}/lower,upperdir={disk}/upper,workdir={disk}/work"
    with overlaid(disk, kind, layers) as merged:
        change(merged)
    _, path = attach(disk / "upper", "--links", "keep")
    assert is_whiteout(path / "gone")
    assert sorted(os.listdir(path)) == ["d", "gone"]
    assert f"{kind}.overlay.opaque" in os.listxattr(path / "d")
    assert os.getxattr(path / "d", f"{kind}.overlay.opaque") == b"y"
    os.rename(path / "gone", path / "moved")
    os.link(path / "moved", path / "again")
    os.unlink(path / "moved")
    assert is_whiteout(disk / "upper/again")


@KINDS
def test_what_is_written_here_is_a_layer_for_the_kernel(disk, attach, kind):
    _, path = attach(disk / "upper", "--links", "keep")
    os.mknod(path / "gone", stat.S_IFCHR, 0)
    (path / "d").mkdir()
    os.setxattr(path / "d", f"{kind}.overlay.opaque", b"y")
    (path / "d/new").write_bytes(b"upper")
    os.symlink("/elsewhere/of/the/guest", path / "link")
    assert is_whiteout(disk / "upper/gone")
    with overlaid(disk, kind, f"lowerdir={disk}/upper:{disk}/lower") as merged:
        assert os.readlink(merged / "link") == "/elsewhere/of/the/guest"
        os.unlink(path / "link")
        assert tree(merged) == {
            "d": None,
            "d/new": b"upper",
            "e": None,
            "e/shown": b"lower",
            "kept": b"lower",
        }
    os.removexattr(path / "d", f"{kind}.overlay.opaque")
    os.unlink(path / "gone")
    assert os.listxattr(disk / "upper/d") == []
    assert not (disk / "upper/gone").exists()


def test_what_is_trusted_is_told_to_root_only(disk, attach):
    os.setxattr(disk / "upper", "trusted.overlay.opaque", b"y")
    os.setxattr(disk / "upper", "user.overlay.opaque", b"y")
    os.chmod(disk / "upper", 0o755)
    _, path = attach(disk / "upper")
    script = "import os, sys; os.setuid(1234); print(os.listxattr(sys.argv[1]))"
    seen = [
        subprocess.run(
            [sys.executable, "-c", script, directory], capture_output=True, text=True, check=True
        ).stdout
        for directory in (path, disk / "upper")
    ]
    assert seen[0] == seen[1] == "['user.overlay.opaque']\n"
    assert set(os.listxattr(path)) == {"trusted.overlay.opaque", "user.overlay.opaque"}


@pytest.fixture
def theirs():
    """A place of an ordinary user's, whose daemon serves a directory of that user's."""
    ids = pwd.getpwnam("nobody")
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)  # as distributions have it
    root = Path(tempfile.mkdtemp(prefix="vfsd-user-"))
    place = make_place(root)
    (root / "layer").mkdir()
    for path in (root, *root.iterdir()):
        os.chown(path, ids.pw_uid, ids.pw_gid)
    place.environment["HOME"] = str(root)
    place.user = ["setpriv", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}", "--clear-groups"]
    yield place
    left = mounted_below(root)
    for point in left:
        subprocess.run(["umount", "-l", point], check=False)
    shutil.rmtree(root)
    os.chmod("/dev/fuse", mode)
    assert not left


def test_an_ordinary_user_makes_layers_too(theirs, disk):
    theirs.vfsd("mount", theirs.mount)
    theirs.vfsd("attach", theirs.root / "layer", theirs.mount / "layer")
    script = """
import os, pwd, stat
os.chdir("mount/layer")
os.mknod("gone", stat.S_IFCHR, 0)
os.mkdir("d")
open("d/new", "w").close()
os.setxattr("d", "user.overlay.opaque", b"y")
try:
    os.setxattr("d", "trusted.overlay.opaque", b"y")
except PermissionError:
    print("not everybody's")
found = os.lstat("gone")
print(oct(found.st_mode), found.st_rdev, pwd.getpwuid(found.st_uid).pw_name, os.listxattr("d"))
"""
    done = subprocess.run(
        [*theirs.user, sys.executable, "-c", script],
        cwd=theirs.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "not everybody's\n0o20000 0 nobody ['user.overlay.opaque']\n"
    theirs.vfsd("unmount", theirs.mount)
    layer = theirs.root / "layer"
    assert is_whiteout(layer / "gone")
    with overlaid(disk, "user", f"lowerdir={layer}:{disk}/lower") as merged:
        assert sorted(tree(merged)) == ["d", "d/new", "e", "e/shown", "kept"]
