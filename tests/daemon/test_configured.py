"""A tree from a configuration file, and the file read again while the tree is in use."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vfsd.exitcodes import ExitCode

pytestmark = pytest.mark.fuse

READ_AGAIN = "the configuration was read again"
NOT_TAKEN = "the configuration was not taken, nothing has changed"

TREE = """
[provider]
size = "4M"
[[attach]]
prefix = "scratch"
source = "memory"
size = "1M"
[[attach]]
prefix = "src"
source = "./src"
read-only = true
"""


@pytest.fixture
def configured(place):
    """A mount by a file, and what writes the file anew and waits until the daemon followed."""
    (place.root / "src").mkdir()
    (place.root / "src" / "a").write_text("hello")
    file = place.root / "tree.toml"
    file.write_text(TREE)
    place.vfsd("mount", place.mount, "--config", "./tree.toml")

    def follow(text: str, wanted: str = READ_AGAIN) -> str:
        before = len(place.log())
        file.write_text(text)
        os.kill(place.status()["pid"], signal.SIGHUP)
        return wait_for(place, wanted, before)

    yield follow
    place.vfsd("unmount", place.mount)


def wait_for(place, wanted: str, before: int) -> str:
    deadline = time.monotonic() + 30
    while wanted not in (log := place.log()[before:]):
        assert time.monotonic() < deadline, log
        time.sleep(0.02)
    return log


def attached(place) -> list[str]:
    return [each["prefix"] for each in place.status()["attachments"]]


def room_bytes(path: Path) -> int:
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize


def test_a_file_says_all_of_a_tree(configured, place):
    assert attached(place) == ["", "scratch", "src"]
    assert (place.mount / "src" / "a").read_text() == "hello"
    with pytest.raises(OSError, match="Read-only"):
        (place.mount / "src" / "b").touch()
    free = place.vfsd("status", "--json", place.mount)
    providers = [each["provider"] for each in json.loads(free.stdout)[0]["attachments"]]
    assert "4194304 bytes" in providers[0]
    assert "1048576 bytes" in providers[1]


def test_only_what_changed_is_changed(configured, place):
    (place.mount / "scratch" / "kept").write_text("x")
    log = configured(TREE.replace('"1M"', '"2M"').replace('"src"', '"code"').replace("4M", "8M"))
    assert attached(place) == ["", "scratch", "code"]
    assert (place.mount / "scratch" / "kept").read_text() == "x"
    assert (place.mount / "code" / "a").read_text() == "hello"
    assert list((place.mount / "src").iterdir()) == []
    assert "scratch" not in "".join(line for line in log.splitlines() if "tached" in line)
    providers = [each["provider"] for each in place.status()["attachments"]]
    assert "8388608 bytes" in providers[0]
    assert "2097152 bytes" in providers[1]


def test_what_is_in_use_stays(configured, place):
    with open(place.mount / "src" / "a") as held:
        log = configured(TREE.partition('[[attach]]\nprefix = "src"')[0])
        assert "src stays as it is" in log
        assert held.read() == "hello"
        assert "src" in attached(place)
    # Nothing is to be done by now but what was left undone.
    deadline = time.monotonic() + 30
    while "src" in attached(place):
        assert time.monotonic() < deadline
        configured(TREE.partition('[[attach]]\nprefix = "src"')[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[provider\n", "tree.toml:1"),
        ('[[attach]]\nprefix = "x"\nsorce = "memory"\n', "did you mean 'source'?"),
        ('[[attach]]\nprefix = "x"\nsource = "./none"\n', "x: "),
        ('[[attach]]\nprefix = "x"\nsource = "memory"\noptions = { sise = 1 }\n', "sise"),
    ],
)
def test_a_bad_file_changes_nothing(configured, place, text, said):
    log = configured(text, NOT_TAKEN)
    assert said in log
    assert attached(place) == ["", "scratch", "src"]


def test_a_quota_below_what_is_there_is_refused(configured, place):
    (place.mount / "scratch" / "big").write_bytes(b"x" * 700_000)
    log = configured(TREE.replace('"1M"', '"64K"'))
    assert "the quota of scratch stays" in log
    (place.mount / "scratch" / "big").unlink()
    configured(TREE.replace('"1M"', '"64K"'))
    with pytest.raises(OSError, match="No space left"):
        (place.mount / "scratch" / "big").write_bytes(b"x" * 700_000)


def test_what_was_done_by_hand_stays(configured, place):
    place.vfsd("detach", place.mount / "scratch")
    place.vfsd("attach", "memory", place.mount / "mine")
    configured(TREE + '[[attach]]\nprefix = "new"\nsource = "memory"\n')
    assert attached(place) == ["", "src", "mine", "new"]


def test_what_needs_a_new_mount_is_said(configured, place):
    log = configured(TREE + "[mount]\nxattrs = false\nlog-level = 'DEBUG'\n")
    assert "changes of xattrs need a new mount" in log
    assert attached(place) == ["", "scratch", "src"]


def test_a_source_that_is_not_there_leaves_no_mount(place):
    (place.root / "tree.toml").write_text('[[attach]]\nprefix = "x"\nsource = "./none"\n')
    said = place.refused(
        ExitCode.NOT_FOUND, "mount", place.mount, "--config", place.root / "tree.toml"
    )
    assert "x: " in said
    assert not os.path.ismount(place.mount)


def test_the_command_line_goes_before_the_file_also_later(configured, place):
    place.vfsd("unmount", place.mount)
    file = place.root / "tree.toml"
    file.write_text(f'[mount]\ndirectory = "/none"\n{TREE}')
    place.vfsd("mount", place.mount, "--config", file, "-o", "size=2M")
    configured(file.read_text().replace('"4M"', '"16M"'))
    assert room_bytes(place.mount) == 2 << 20


def test_a_config_by_name_and_no_mountpoint(place):
    place.environment["XDG_CONFIG_HOME"] = str(place.root / "config")
    folder = place.root / "config" / "vfsd"
    folder.mkdir(parents=True)
    (folder / "work.toml").write_text(f'[mount]\ndirectory = "{place.mount}"\n')
    place.vfsd("mount", "--config", "work")
    place.vfsd("unmount", place.mount)
    (folder / "work.toml").write_text("")
    assert "there is no mountpoint" in place.refused(ExitCode.USAGE, "mount", "--config", "work")


def test_hanging_up_without_a_file_is_passed_over_in_the_background(mounted):
    place = mounted
    os.kill(place.status()["pid"], signal.SIGHUP)
    wait_for(place, "there is no configuration to read again", 0)
    assert os.path.ismount(place.mount)


def test_a_terminal_that_is_gone_ends_a_daemon_in_the_foreground(place):
    """`script`-like: a session of its own with a terminal, whose other end is then closed."""
    (place.root / "tree.toml").write_text("")
    ours, theirs = os.openpty()
    daemon = subprocess.Popen(
        [
            *("setsid", "--ctty", sys.executable, "-m", "vfsd"),
            *("mount", "--foreground", place.mount, "--config", place.root / "tree.toml"),
        ],
        env=place.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    assert daemon.stderr is not None
    with daemon.stderr as told:
        for line in told:
            if "mounted at" in line:
                break
        os.kill(daemon.pid, signal.SIGHUP)
        for line in told:
            if READ_AGAIN in line:
                break
        os.close(ours)
        assert daemon.wait(30) == 0
    assert not os.path.ismount(place.mount)
