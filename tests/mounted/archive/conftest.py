"""Archives packed and attached for tests: `mount, path = attach(directory)`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.mounted.daemon import REPOSITORY


def vfsd(*words, **more):
    """Run the command line, which must succeed."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **more.pop("env", {})}
    done = subprocess.run(
        [sys.executable, "-m", "vfsd", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=120,
        **more,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def npm():
    """Return npm; skip where there is none, or no registry for it."""
    found = shutil.which("npm")
    if found is None:
        pytest.skip("there is no npm here ('scripts/setup --demo' brings it)")
    ping = [found, "ping", "--fetch-retries=1", "--fetch-timeout=10000"]
    if subprocess.run(ping, capture_output=True, timeout=120, check=False).returncode:
        pytest.skip("npm reaches no registry")
    return found


@pytest.fixture
def attach(vfsd_mount, tmp_path):
    """Pack a directory (or take a file), attach it in a mount; detach it at the end."""
    attached = []

    def start(source, *options, **mount_options):
        archive = source
        if source.is_dir():
            archive = tmp_path / f"{source.name}.vfsa"
            vfsd("pack", source, "-o", archive, "--quiet", *options)
        mount = vfsd_mount(**mount_options)
        path = mount.path / "app"
        done = mount.vfsd("attach", str(archive), str(path))
        assert done.returncode == 0, done.stderr
        attached.append((mount, path))
        return mount, path

    yield start
    for mount, path in attached:
        done = mount.vfsd("detach", "--lazy", str(path))
        assert done.returncode == 0, done.stderr
