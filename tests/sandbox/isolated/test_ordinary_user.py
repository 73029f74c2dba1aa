"""The same as an ordinary user, on a mount of that user's own."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.conftest import Place, make_place, mounted_below

from .test_rights import OPEN_ALL

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap, pytest.mark.root]

USER = pwd.getpwnam("nobody")


@pytest.fixture
def theirs() -> Iterator[Place]:
    """A mount that belongs to an ordinary user, and `vfsd` as that user."""
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)  # as distributions have it
    root = Path(tempfile.mkdtemp(prefix="vfsd-user-"))
    place = make_place(root)
    for path in (root, *root.iterdir()):
        os.chown(path, USER.pw_uid, USER.pw_gid)
    place.environment["HOME"] = str(root)
    place.user = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups"]
    place.vfsd("mount", place.mount)
    yield place
    place.vfsd("unmount", place.mount)
    assert not mounted_below(root)
    shutil.rmtree(root)
    os.chmod("/dev/fuse", mode)


def run(theirs: Place, *command: str) -> subprocess.CompletedProcess[str]:
    return theirs.vfsd("run", "--base", theirs.mount, "--", *command, check=False)


def test_it_runs_and_writes_as_that_user(theirs):
    done = run(theirs, "sh", "-c", "echo x >file; id -u; id -g; stat -c %u file; exit 9")
    assert done.returncode == 9, done.stderr
    assert done.stdout == f"{USER.pw_uid}\n{USER.pw_gid}\n{USER.pw_uid}\n"


def test_it_has_no_rights(theirs):
    done = run(theirs, "sh", "-c", "grep -E 'Cap|NoNewPrivs' /proc/self/status")
    assert [line.split()[1].strip("0") for line in done.stdout.splitlines()] == [
        "",
        "",
        "",
        "",
        "",
        "1",
    ]
    assert run(theirs, "unshare", "--user", "true").returncode not in (0, 127)
    assert run(theirs, "/usr/bin/python3", "-c", OPEN_ALL).stdout == ""


def test_the_user_s_own_files_are_not_there(theirs):
    (theirs.root / "secret").write_text("secret")
    assert run(theirs, "test", "-e", str(theirs.root / "secret")).returncode == 1


def test_a_missing_command(theirs):
    assert run(theirs, "no-such-command").returncode == 127


@pytest.mark.parametrize("where", ["mount", "mount/d"])
def test_another_user_s_mount_is_refused(theirs, where):
    """To root as well: the kernel lets nobody else in without allow_other."""
    said = subprocess.run(
        [sys.executable, "-m", "vfsd", "run", "--base", str(theirs.root / where), "--", "true"],
        env=theirs.environment,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 125
    assert len(said.stderr.splitlines()) == 1
    assert "allow-other" in said.stderr
