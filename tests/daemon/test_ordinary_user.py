"""All of it as an ordinary user, by way of fusermount3."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from vfsd.exitcodes import ExitCode

from .conftest import make_place, mounted_below

pytestmark = [pytest.mark.fuse, pytest.mark.root]

USER = "nobody"


@pytest.fixture
def theirs():
    """A place that belongs to an ordinary user, and commands that run as that user."""
    ids = pwd.getpwnam(USER)
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)  # as distributions have it
    root = Path(tempfile.mkdtemp(prefix="vfsd-user-"))
    place = make_place(root)
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


def as_user(place, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*place.user, "sh", "-ec", script], cwd=place.root, capture_output=True, text=True
    )


def test_an_ordinary_user_mounts_uses_and_unmounts(theirs):
    theirs.vfsd("mount", theirs.mount)
    done = as_user(theirs, "cd mount; mkdir d; echo hello > d/f; cat d/f; stat -c %U d/f")
    assert done.stdout == f"hello\n{USER}\n", done.stderr
    with pytest.raises(PermissionError):
        os.listdir(theirs.mount)  # not even root, without allow_other
    assert str(theirs.mount) in theirs.vfsd("status").stdout
    theirs.vfsd("unmount", theirs.mount)


def test_a_killed_daemon_s_mount_is_cleared_by_its_user(theirs):
    theirs.vfsd("mount", theirs.mount)
    os.kill(theirs.status()["pid"], 9)
    assert "dead daemon" in theirs.vfsd("mount", theirs.mount).stderr
    theirs.vfsd("unmount", theirs.mount)


def test_allow_other_needs_the_administrator_s_word(theirs):
    if "\nuser_allow_other" in "\n" + Path("/etc/fuse.conf").read_text():
        pytest.skip("this machine's /etc/fuse.conf permits it")
    said = theirs.vfsd("mount", theirs.mount, "--allow-other", check=False)
    assert said.returncode == ExitCode.UNAVAILABLE
    assert "user_allow_other" in said.stderr


def test_a_directory_of_somebody_else_s_is_refused(theirs):
    foreign = theirs.root / "foreign"
    foreign.mkdir()
    assert "not writable" in theirs.refused(ExitCode.DENIED, "mount", foreign)


def test_a_closed_dev_fuse_is_explained(theirs):
    # Closed for these commands alone: other tests run at the same time.
    closed = theirs.root / "fuse"
    os.mknod(closed, stat.S_IFCHR | 0o600, os.makedev(10, 229))
    apart = ("unshare", "--mount", "--propagation", "private", "sh", "-ec")
    theirs.user[:0] = [*apart, 'mount --bind "$0" /dev/fuse; exec "$@"', str(closed)]
    said = theirs.refused(ExitCode.UNAVAILABLE, "mount", theirs.mount)
    assert "chmod 0666 /dev/fuse" in said


def test_a_script_of_an_ordinary_user_mounts_for_a_block(theirs):
    script = (
        "import os, sys, vfsd\n"
        # setpriv could start a Python that stands where this user cannot go; a user could not.
        "places = [os.readlink('/proc/self/exe'), '/usr/bin/python3']\n"
        "sys.executable = next(each for each in places if os.access(each, os.X_OK))\n"
        "with vfsd.mount(options={'size': '1M'}) as mounted:\n"
        "    (mounted.path / 'file').write_text('data')\n"
        "    print(mounted.client.stat('file').stat.uid == os.getuid(), mounted.path.is_mount())\n"
        "print(mounted.path.exists())\n"
    )
    packages = f"{theirs.environment['PYTHONPATH']}:{sysconfig.get_path('purelib')}"
    done = subprocess.run(
        [*theirs.user, sys.executable, "-W", "error", "-c", script],
        cwd=theirs.root,
        env={**theirs.environment, "TMPDIR": str(theirs.root), "PYTHONPATH": packages},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("True True\nFalse\n", "")
