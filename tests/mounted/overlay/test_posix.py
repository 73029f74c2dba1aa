"""The mounted POSIX cases on an overlay: each in a directory that is merged with its lower's."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from tests.mounted.daemon import VfsdMount
from tests.mounted.posix.differences import DIFFERENCES, Difference
from tests.mounted.posix.observe import CASES
from tests.mounted.posix.test_posix import expectations, oracle, runner

__all__ = ["expectations", "oracle", "runner"]

pytestmark = pytest.mark.fuse

LIKE_THE_KERNEL = {
    "permissions_special_files_by_user": "0:0 is how a layer says that a name is deleted",
}
"""Cases that are compared with the kernel's overlayfs instead of tmpfs, and why."""

OF_OVERLAYS = {
    "directories_link_counts": Difference(
        "a directory with lowers has one link: nobody counts its subdirectories",
        {"counts": [1, 1, 1, 3, 1, 2, 1]},
    ),
}

LEFT_OUT = {
    "special_devices": "it makes a device 0:0 and looks at it, which no overlay has",
}

OF_THE_UPPER = {
    "attributes_write_drops_set_ids_of_users": "as the passthrough provider does by itself",
    "space_statvfs_follows": "a removed file stays open as long as the kernel knows it",
    "times_new_files_have_one_time": "looking at a symlink of the host moves its atime",
}
"""Cases that differ where the upper is a directory, because its provider does."""


@pytest.fixture(scope="module", params=["memory", "directory"])
def overlay(request):
    root, lower = layers()
    if request.param == "memory":
        options = ["upper=memory", "size=256M", "inodes=100000"]
    else:
        os.mkdir(root / "upper")
        options = [f"upper={root / 'upper'}"]
    options.append(f"lower={lower}")
    mount = VfsdMount("overlay", "-o", ",".join(options))
    yield mount, request.param
    # The upper's provider keeps a bounded number of directories open, and removed files while
    # the kernel knows them, but no content.
    mount.fds_at_start += path_fds(mount.process.pid)
    left = mount.close()
    shutil.rmtree(root)
    assert not left, "\n".join(left)


def path_fds(pid):
    """Count the fds that give no access to content (O_PATH)."""
    count = 0
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with suppress(FileNotFoundError):
            flags = re.search(r"flags:\s+(\d+)", Path(f"/proc/{pid}/fdinfo/{fd}").read_text())
            count += bool(int(flags[1], 8) & os.O_PATH)
    return count


@pytest.fixture(scope="module")
def kernel(runner):
    """Give a function that says what a case shows on the kernel's overlayfs."""
    made = []

    @cache
    def see(name):
        if not made:
            root, lower = layers()
            for part in ("upper", "work", "mount"):
                os.mkdir(root / part)
            layout = f"lowerdir={lower},upperdir={root / 'upper'},workdir={root / 'work'}"
            command = ["mount", "-t", "overlay", "overlay", "-o", layout, str(root / "mount")]
            subprocess.run(command, check=True)
            made.append(root)
        return runner.see(name, made[0] / "mount" / name)

    yield see
    for root in made:
        subprocess.run(["umount", str(root / "mount")], check=True)
        shutil.rmtree(root)


def layers():
    root = Path(tempfile.mkdtemp(prefix="vfsd-test-", dir="/dev/shm"))
    root.chmod(0o755)
    lower = root / "lower"
    lower.mkdir()
    for name in CASES:
        (lower / name).mkdir()
    return root, lower


@pytest.mark.parametrize("name", sorted(CASES.keys() - LEFT_OUT.keys()))
def test_case(name, runner, expectations, overlay, kernel):
    mount, upper = overlay
    if CASES[name].root and os.geteuid() != 0:
        pytest.skip("the case needs to be root")
    if upper == "directory" and name in OF_THE_UPPER:
        pytest.skip(OF_THE_UPPER[name])
    if name not in LIKE_THE_KERNEL:
        expected = expectations(name)
    elif os.geteuid() != 0:
        pytest.skip("only root may mount the kernel's overlayfs here")
    else:
        expected = kernel(name)
        assert expected != expectations(name), "stale: the kernel's shows what tmpfs does"
    seen = runner.see(name, mount.path / name)
    difference = {**DIFFERENCES, **OF_OVERLAYS}.get(name)
    if difference is not None:
        expected = {**expected, **difference.seen}
    assert seen.keys() == expected.keys()
    unlike = {key: {"expected": expected[key], "seen": seen[key]} for key in seen}
    unlike = {key: each for key, each in unlike.items() if each["expected"] != each["seen"]}
    assert not unlike, json.dumps(unlike, indent=2)
