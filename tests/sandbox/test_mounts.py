"""Which mount shows a directory."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.mounted.daemon import VfsdMount
from vfsd.errors import UserError
from vfsd.sandbox.mounts import served


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
