"""Frames lend their buffers: what somebody holds never changes, what nobody holds is used again."""

from __future__ import annotations

import random
import stat

import pytest

from tests.unit.archive.models import File, write
from vfsd.archive.damage import Damage
from vfsd.archive.layout import FRAME_BYTES
from vfsd.archive.reader import Archive
from vfsd.archive.writer import Attributes

FRAMES = 40


@pytest.fixture
def data():
    return random.Random(5).randbytes(FRAMES * FRAME_BYTES)


@pytest.fixture
def archive(tmp_path, data):
    tree = {
        b"": File(Attributes(stat.S_IFDIR | 0o755)),
        b"f": File(Attributes(stat.S_IFREG | 0o644), pieces=[data]),
    }
    write(tmp_path / "a", tree)
    with Archive.open(tmp_path / "a") as archive:
        yield archive


def content_of(archive):
    return archive.content(archive.lookup(1, archive.inode(1), b"f").inode)


@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("size", [100, 4096, 70_000, FRAME_BYTES])
def test_what_is_held_stays_as_it_is(archive, data, size, rounds):
    content = content_of(archive)
    # The first round reads and verifies whole frames, the second just what is asked for.
    for _ in range(rounds):
        held = [content.read(at * FRAME_BYTES, size) for at in range(FRAMES)]
    for at, part in enumerate(held):
        assert part == data[at * FRAME_BYTES :][:size], f"frame {at}"


def test_reads_over_several_frames_are_whole(archive, data):
    content = content_of(archive)
    chance = random.Random(6)
    for _ in range(300):
        at, size = chance.randrange(len(data)), chance.randrange(1 << 20)
        assert content.read(at, size) == data[at : at + size]


def test_buffers_that_nobody_holds_are_used_again(archive):
    content = content_of(archive)
    for _ in range(2):
        for at in range(FRAMES):
            content.read(at * FRAME_BYTES, FRAME_BYTES)
    assert len(archive.frames._scratch._buffers) <= 2


def test_a_bad_frame_is_bad_again_and_spoils_no_other(tmp_path, archive, data):
    content = content_of(archive)
    assert content.read(0, 4096) == data[:4096]
    stored = archive.frames.record(archive.frames.count - 1).offset
    with open(tmp_path / "a", "r+b") as file:
        file.seek(stored)
        file.write(bytes(100))
    # As if nothing had been changed, which is what a failing disk looks like.
    with Archive.open(tmp_path / "a") as again:
        content = content_of(again)
        last = (FRAMES - 1) * FRAME_BYTES
        for _ in range(2):
            assert content.read(last - 4096, 4096) == data[last - 4096 : last]
            with pytest.raises(Damage):
                content.read(last, 4096)
            with pytest.raises(Damage):
                content.read(last + 9, 10)
