"""What every test may use: markers for what a machine may lack, and vfsd mounts.

A missing /dev/fuse or bwrap skips the tests that need it; where the environment says
``VFSD_REQUIRE=fuse,bwrap`` (as .ci/run does) it fails them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.mounted.daemon import VfsdMount, sweep_dead_mounts


@cache
def lacking(marker: str) -> str:
    """Say what this machine lacks for tests with `marker`; empty if nothing."""
    if marker == "fuse":
        if shutil.which("fusermount3") is None:
            return "fusermount3 is missing"
        try:
            os.close(os.open("/dev/fuse", os.O_RDWR))
        except OSError as error:
            return f"/dev/fuse cannot be opened: {error.strerror}"
    if marker == "bwrap":
        if shutil.which("bwrap") is None:
            return "bwrap is missing"
        probe = ["bwrap", "--ro-bind", "/", "/", "--unshare-user", "--unshare-pid", "true"]
        done = subprocess.run(probe, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            return f"bwrap does not work: {done.stderr.strip()}"
    if marker == "systemd":
        for path in ("/usr/lib/systemd/systemd", "/usr/lib/systemd/user/dbus.socket"):
            if not os.path.exists(path):
                return f"{path} is missing"
        if shutil.which("dbus-daemon") is None:
            return "dbus-daemon is missing"
    if marker == "root" and os.geteuid() != 0:
        return "the tests do not run as root"
    return ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = os.environ.get("VFSD_REQUIRE", "").replace(" ", "").split(",")
    for marker in ("fuse", "bwrap", "root", "systemd"):
        if item.get_closest_marker(marker) is not None and (gap := lacking(marker)):
            if marker in required:
                pytest.fail(f"VFSD_REQUIRE={marker}, but {gap}", pytrace=False)
            pytest.skip(gap)


def pytest_sessionstart() -> None:
    if not lacking("fuse"):
        sweep_dead_mounts()


@pytest.fixture
def vfsd_mount() -> Iterator[Callable[..., VfsdMount]]:
    """Mount with the given options, as often as wanted; the end fails on leftovers.

    Stands here in place of the plugin's fixture, which tests/install/test_python.py tries.
    `mount = vfsd_mount("-o", "size=64M", expected_logs=("a pattern",))`, then `mount.path`.
    """
    mounts: list[VfsdMount] = []

    def start(
        *options: str,
        expected_logs: tuple[str, ...] = (),
        packages: Path | None = None,
        state: Path | None = None,
    ) -> VfsdMount:
        mount = VfsdMount(*options, expected_logs=expected_logs, packages=packages, state=state)
        mounts.append(mount)
        return mount

    yield start
    left = [each for mount in mounts for each in mount.close()]
    assert not left, "\n".join(left)
