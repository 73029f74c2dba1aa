"""`vfsd run` by a user who is not root, and on mounts that belong to somebody else."""

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
from tests.sandbox.conftest import Box, eventually, with_word

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap, pytest.mark.root]

USER = pwd.getpwnam("nobody")
BECOME = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups"]


@pytest.fixture
def theirs() -> Iterator[Place]:
    """A mount of an ordinary user's, and commands that run as that user."""
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)  # as distributions have it
    root = Path(tempfile.mkdtemp(prefix="vfsd-user-"))
    root.chmod(0o755)
    place = make_place(root)
    for path in (root, *root.iterdir()):
        os.chown(path, USER.pw_uid, USER.pw_gid)
    place.environment["HOME"] = str(root)
    place.user = BECOME
    place.vfsd("mount", place.mount)
    yield place
    place.vfsd("unmount", place.mount)
    left = mounted_below(root)
    shutil.rmtree(root)
    os.chmod("/dev/fuse", mode)
    assert not left


def test_on_their_own_mount(theirs):
    script = (
        "id -u; id -g; cat /proc/self/uid_map; grep -E 'Cap|NoNew' /proc/self/status;"
        "echo x >made; ls /root /sys 2>/dev/null; unshare --user true 2>/dev/null && echo no"
    )
    done = theirs.vfsd(
        *("run", "--write", "--base", theirs.mount, "--", "sh", "-c", script), check=False
    )
    uid, gid, mapped, *status = done.stdout.splitlines()
    assert (int(uid), int(gid)) == (USER.pw_uid, USER.pw_gid)
    assert mapped.split()[0::2] == [uid, "1"]
    told = dict(line.split(":\t") for line in status)
    assert told.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in told.values()} == {0}
    made = subprocess.run(
        [*BECOME, "stat", "-c", "%u:%g", theirs.mount / "made"], capture_output=True, text=True
    )
    assert made.stdout == f"{USER.pw_uid}:{USER.pw_gid}\n"


@pytest.mark.parametrize("code", [0, 7, 143])
def test_the_code_is_the_command_s(theirs, code):
    words = ("run", "--base", theirs.mount, "--", "sh", "-c", f"exit {code}")
    assert theirs.vfsd(*words, check=False).returncode == code


def test_signals_arrive_and_nothing_is_left(theirs):
    word = f"{theirs.root.name}-canary"
    script = f": {word}; trap 'exit 21' TERM; echo ready; sleep 1000 & wait"
    words = [sys.executable, "-m", "vfsd", "run", "--base", theirs.mount, "--"]
    running = subprocess.Popen(
        [*BECOME, *words, "sh", "-c", script],
        env=theirs.environment,
        cwd=theirs.root,
        stdout=subprocess.PIPE,
    )
    assert running.stdout.readline() == b"ready\n"
    running.terminate()
    assert running.wait(30) == 21
    running.stdout.close()
    assert eventually(lambda: not with_word(word))


def test_root_is_told_why_it_may_not_enter(theirs):
    done = subprocess.run(
        [sys.executable, "-m", "vfsd", "run", "--base", theirs.mount, "--", "true"],
        env=theirs.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 125
    assert "may not enter" in done.stderr
    assert "vfsd mount --allow-other" in done.stderr


def test_on_a_mount_of_root_s_with_their_own_rights(box: Box):
    """No daemon would answer this user, but the kernel lets them in."""
    (box.path / "secret").write_text("secret")
    (box.path / "secret").chmod(0o600)
    (box.path / "open").write_text("open")
    done = subprocess.run(
        [*BECOME, *box.words("--", "sh", "-c", "cat open; cat secret || touch new || exit 9")],
        env={**box.environment, "HOME": "/nonexistent"},
        cwd=box.path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (9, "open"), done.stderr
    assert done.stderr.count("Permission denied") == 2
