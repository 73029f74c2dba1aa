"""A host directory attached at a prefix of a mount of the test's own."""

import time

import pytest

WAIT_SECONDS = 10


@pytest.fixture
def attach(vfsd_mount):
    """`mount, path = attach(directory, "-o", "links=hide")`; several go into one mount.

    At the end all are detached, so that what they hold open counts as left behind.
    """
    attached = []

    def start(directory, *options, name="app", mount=None, **mount_options):
        mount = mount or vfsd_mount(**mount_options)
        path = mount.path / name
        done = mount.vfsd("attach", str(directory), str(path), *options)
        assert done.returncode == 0, done.stderr
        attached.append((mount, path))
        return mount, path

    yield start
    for mount, path in reversed(attached):
        done = mount.vfsd("detach", "--lazy", str(path))
        assert done.returncode == 0, done.stderr


def eventually(condition, what):
    """Wait until a change made elsewhere shows; it takes as long as an event takes."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not show in {WAIT_SECONDS} s"
        time.sleep(0.001)
