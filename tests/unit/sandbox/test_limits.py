"""How limits are written, and what they become."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox import cgroups, limits
from vfsd.sandbox.limits import Limits


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        *(("1", 1), ("512", 512), ("4k", 4096), ("4K", 4096), ("1KiB", 1024), ("2kb", 2048)),
        *(("512M", 512 << 20), ("1.5G", 3 << 29), ("2GiB", 2 << 30), ("1T", 1 << 40)),
        *((" 7M ", 7 << 20), ("7 M", 7 << 20), ("10B", 10)),
    ],
)
def test_a_size(text, bytes_):
    assert limits.size("--memory", text) == bytes_


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5s", 1.5), ("5m", 300), ("2h", 7200), ("1d", 86400),
     ("250ms", 0.25), ("3min", 180), (" 1 h ", 3600)],
)  # fmt: skip
def test_a_duration(text, seconds):
    assert limits.duration("--timeout", text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("meaning", "text"),
    [
        *((limits.size, text) for text in ("", "0", "-1M", "M", "1X", "1e9", "nan", "inf")),
        *((limits.size, text) for text in ("0x10", "٣M", "99999999T", "B", ".", "1 0M", "0.2")),
        *((limits.duration, text) for text in ("", "0", "-5", "5x", "s", "nan", "inf", "9e9")),
        *((limits.duration, text) for text in ("1:30", "99999999999d")),
        *((limits.count, text) for text in ("", "0", "-1", "1.5", "many", "1e3", "٣", "9" * 40)),
        *((limits.share, text) for text in ("", "0", "-1", "2x", "nan", "0.001", "99999999")),
    ],
)  # fmt: skip
def test_what_is_none(meaning, text):
    with pytest.raises(UserError) as caught:
        meaning("--option", text)
    assert caught.value.exit_code == ExitCode.RUN_FAILED
    assert caught.value.message.startswith(f"--option {text!r}: write a ")


def test_a_size_as_people_write_it():
    shown = [limits.shown_size(each) for each in (1, 1023, 4096, 100 << 20, 3 << 29, 1 << 40)]
    assert shown == ["1 bytes", "1023 bytes", "4K", "100M", "1536M", "1T"]


def hierarchy(root: Path, controllers: str, enabled: str) -> Path:
    """A directory with the files of a cgroup of version 2, which a plain one does not mind."""
    (root / "cgroup.controllers").write_text(controllers)
    (root / "cgroup.subtree_control").write_text(enabled)
    (root / "membership").write_text("0::/own\n")
    return root


def test_no_group_where_the_controllers_are_not_there(tmp_path):
    root = hierarchy(tmp_path, "cpu io", "")
    made = cgroups.make(Limits(memory_bytes=1 << 20), str(root), str(root / "membership"))
    assert made is None
    assert not [each for each in root.iterdir() if each.is_dir()]


def test_no_group_is_made_where_none_is_asked_for(tmp_path):
    assert cgroups.make(Limits(timeout_s=1.0), str(tmp_path), "/proc/self/cgroup") is None


def test_what_is_written_to_a_group_of_version_2():
    asked = cgroups.settings(Limits(memory_bytes=4096, pids=7, cpus=1.5), 2)
    assert asked == {
        "memory": [("memory.max", "4096"), ("memory.swap.max", "0")],
        "pids": [("pids.max", "8")],
        "cpu": [("cpu.max", "150000 100000")],
    }


def test_groups_of_runs_that_were_killed_are_removed_and_no_others(tmp_path):
    gone, ours = tmp_path / "vfsd-run-999999999", tmp_path / f"vfsd-run-{os.getpid()}"
    others = [tmp_path / name for name in ("vfsd-run-", "vfsd-run-x1", "user.slice")]
    for each in (gone, ours, *others):
        each.mkdir()
    cgroups.sweep(str(tmp_path))
    assert not gone.exists()
    assert all(each.is_dir() for each in (ours, *others))


def test_the_scope_that_systemd_is_asked_for():
    environment = {"XDG_RUNTIME_DIR": "/run/user/7", "SECRET": "x"}
    words = cgroups.scope_words(Limits(memory_bytes=1024, pids=5, cpus=0.5), environment)
    assert words == [
        *("/usr/bin/env", "-i", "XDG_RUNTIME_DIR=/run/user/7", "/usr/bin/systemd-run", "--user"),
        *("--scope", "--quiet", "--collect", "--property=MemoryMax=1024"),
        *("--property=MemorySwapMax=0", "--property=TasksMax=7", "--property=CPUQuota=50%"),
        *("--", "/usr/bin/env", "-i"),
    ]


def unified() -> Path | None:
    """Where this machine has cgroups of version 2 that this user may change, if it has."""
    for place in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.path.exists(f"{place}/cgroup.controllers") and os.access(place, os.W_OK):
            return Path(place)
    return None


@pytest.mark.skipif(unified() is None, reason="no cgroups of version 2 that may be changed")
def test_processes_enter_a_real_group_of_version_2_and_it_goes():
    """Without controllers, which this machine may have given to version 1."""
    root = unified()
    assert root is not None
    directory = root / f"vfsd-test-{os.getpid()}"
    directory.mkdir()
    group = cgroups.Group(2, (str(directory),), frozenset())
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            group.admit(process.pid)
            assert (directory / "cgroup.procs").read_text().split() == [str(process.pid)]
            assert group.killed_for_memory() == 0
        finally:
            process.kill()
    group.remove()
    assert not directory.exists()


def test_memory_that_was_used_up_is_told_by_either_version(tmp_path):
    """As the kernel writes it: the event, among others."""
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\n")
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    for version, number in ((2, 3), (1, 4)):
        group = cgroups.Group(version, (str(tmp_path),), frozenset(("memory",)))
        assert group.killed_for_memory() == number
