"""Which mount shows a directory, read from the kernel's own table."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.mounted.daemon import VfsdMount
from vfsd.errors import UserError
from vfsd.sandbox.mounts import innermost, served

TABLE = b"""\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
90 22 0:43 / /virtual rw,nosuid shared:2 - fuse.vfsd vfsd rw,user_id=0
91 90 0:44 / /virtual/inner rw - tmpfs tmpfs rw
92 22 0:45 / /with\\040space\\134slash rw - fuse.vfsd vfsd rw,user_id=1
93 22 0:46 / /covered rw - fuse.vfsd vfsd rw
94 93 0:47 / /covered rw - tmpfs tmpfs rw
odd line
"""


@pytest.mark.parametrize(
    ("path", "mountpoint", "kind"),
    [
        (b"/virtual", b"/virtual", b"fuse.vfsd"),
        (b"/virtual/app/src", b"/virtual", b"fuse.vfsd"),
        (b"/virtual2", b"/", b"ext4"),
        (b"/virtual/inner/x", b"/virtual/inner", b"tmpfs"),
        (b"/virtual/inner2", b"/virtual", b"fuse.vfsd"),
        (b"/with space\\slash/x", b"/with space\\slash", b"fuse.vfsd"),
        (b"/covered/x", b"/covered", b"tmpfs"),
        (b"/", b"/", b"ext4"),
    ],
)
def test_the_innermost_mount_shows(path, mountpoint, kind):
    assert innermost(TABLE, path) == (mountpoint, kind)


def test_a_directory_of_the_host_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(UserError, match="vfsd run --base /virtual --"):
        served(str(tmp_path))


@pytest.mark.fuse
def test_a_path_by_way_of_a_symlink_is_the_tree_s_own(box, tmp_path):
    (tmp_path / "link").symlink_to(box.path)
    place = served(str(tmp_path / "link"))
    assert place == (str(box.path), str(box.mount))


@pytest.mark.fuse
@pytest.mark.parametrize(
    ("name", "words"), [("file", "not a directory"), ("missing", "does not exist")]
)
def test_what_is_no_directory_of_the_tree_is_refused(box, name, words):
    (box.path / "file").touch()
    with pytest.raises(UserError, match=words):
        served(str(box.path / name))


@pytest.mark.fuse
def test_a_dead_daemon_is_told_and_so_is_the_way_out():
    mount = VfsdMount()
    try:
        mount.process.kill()
        mount.process.wait()
        with pytest.raises(UserError, match=f"'vfsd unmount {mount.path}' clears it"):
            served(str(mount.path))
    finally:
        subprocess.run(["fusermount3", "-u", "-z", mount.path], check=True)
        assert mount.close() == [f"the daemon ended by itself with -{signal.SIGKILL:d}"]
