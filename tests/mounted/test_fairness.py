"""Who works much does not hold up who asks little: counted in requests, not in time.

How often the event loop gets its turn between requests is counted in
tests/fuse/test_servingloop.py.
"""

import os

import pytest

from vfsd import client as client_module

pytestmark = pytest.mark.fuse

PIECE_BYTES = 128 << 10
"""Longest write that the kernel sends at a time: WRITE_LIMIT_BYTES in shim.c."""


@pytest.fixture
def mount(vfsd_mount, monkeypatch):
    mount = vfsd_mount()
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    return mount


def writes(client) -> int:
    return client.status()["requests"].get("write", 0)


def test_a_large_write_comes_in_pieces_between_which_others_are_served(mount):
    data = os.urandom(1 << 20)
    with client_module.connect(mount.path) as client:
        before = writes(client)
        fd = os.open(mount.path / "f", os.O_WRONLY | os.O_CREAT)
        assert os.write(fd, data) == len(data)
        assert writes(client) - before == len(data) // PIECE_BYTES
        os.close(fd)
    assert (mount.path / "f").read_bytes() == data
