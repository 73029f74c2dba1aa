"""Where a listing ended is answered by the library (endings.c), and only where it did."""

import ctypes
import os

import pytest

from tests.fuse.builtshim import need_shim
from vfsd import client as client_module
from vfsd.fuse.shim import LIBRARY, shim

INODE, OTHER = 7, 8


@pytest.fixture
def is_ending():
    need_shim()
    function = ctypes.CDLL(os.fspath(LIBRARY)).vfsd_is_ending
    function.argtypes = [ctypes.c_uint64, ctypes.c_int64]
    return function


def test_only_that_position_of_that_directory(is_ending):
    shim.note_ending(INODE, 5)
    assert is_ending(INODE, 5)
    assert is_ending(INODE, 5), "whoever asks later is told the same"
    assert not is_ending(INODE, 4)
    assert not is_ending(INODE, 6)
    assert not is_ending(OTHER, 5)


def test_whoever_starts_anew_drops_the_note(is_ending):
    shim.note_ending(INODE, 5)
    assert not is_ending(INODE, 0)
    assert not is_ending(INODE, 5), "in the new listing a name may stand there"


def test_directories_do_not_answer_for_each_other(is_ending):
    for inode in range(1, 2000):
        shim.note_ending(inode, inode + 2)
    for inode in range(1, 2000):
        assert not is_ending(inode, inode + 3)
    assert is_ending(1999, 2001)


@pytest.mark.fuse
def test_a_directory_is_listed_with_one_request(vfsd_mount, monkeypatch):
    need_shim()
    mount = vfsd_mount()
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    with client_module.connect(mount.path) as client:
        for number in range(10):
            client.mkdir(f"d{number}")
            client.write_bytes(f"d{number}/f", b"")
        before = client.status()["requests"].get("readdir", 0)
        for number in range(10):
            assert os.listdir(mount.path / f"d{number}") == ["f"]
        assert client.status()["requests"]["readdir"] == before + 10
