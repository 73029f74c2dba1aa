"""A large file is copied into a directory while others change the tree."""

import errno
import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from providers.overlay import OverlayProvider, ahead, copydata
from providers.passthrough import PassthroughProvider
from tests.unit.overlay.layering import append
from vfsd.conformance import Files
from vfsd.provider import SetAttr

AHEAD = ahead.AHEAD_MIN_BYTES
SIZE = AHEAD + 12_345


class Gate:
    """Holds up the copying of data after the first piece of a file that has more."""

    def __init__(self, monkeypatch):
        self.reached, self.opened = trio.Event(), trio.Event()
        self.pieces = 0
        read = copydata.read_fully

        async def read_fully(handle, offset, size):
            self.pieces += 1
            if offset and not self.reached.is_set():
                self.reached.set()
                await self.opened.wait()
            return await read(handle, offset, size)

        monkeypatch.setattr(copydata, "read_fully", read_fully)


@pytest.fixture
def gate(monkeypatch):
    return Gate(monkeypatch)


@pytest.fixture
def layers(tmp_path):
    (tmp_path / "lower" / "d").mkdir(parents=True)
    (tmp_path / "upper").mkdir()
    (tmp_path / "lower" / "d" / "large").write_bytes(os.urandom(SIZE))
    (tmp_path / "lower" / "d" / "small").write_bytes(b"small")
    os.setxattr(tmp_path / "lower" / "d" / "large", b"user.kept", b"yes")
    return tmp_path


@asynccontextmanager
async def overlaid(layers: Path):
    """An overlay whose upper suspends, as one on a disk does; nothing is left in its work."""
    lower = await PassthroughProvider.from_options(str(layers / "lower"), {})
    upper = await PassthroughProvider.from_options(
        str(layers / "upper"), {"watch": "off", "threads": "always"}
    )
    provider = await OverlayProvider.over(upper, [lower])
    try:
        yield Files(provider)
    finally:
        await provider.aclose()
    assert list((layers / "upper" / "work").iterdir()) == []


def copies(files):
    return files.provider.statistics()["copied_up_files"]


async def test_others_change_the_tree_meanwhile(layers, gate):
    before = (layers / "lower" / "d" / "large").read_bytes()
    async with overlaid(layers) as files:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, files, b"d/large", b"more")
            await gate.reached.wait()
            with trio.fail_after(10):
                await append(files, b"d/small", b" and more")
                await files.put(b"d/new")
                await files.rename(b"d/new", b"d/newer")
                await files.setattr(b"d", SetAttr(mode=0o700))
            async with files.opened(b"d/large") as reader:
                assert bytes(await reader.read(0, 100)) == before[:100]
            assert not (layers / "upper" / "layers" / "1" / "d" / "large").exists()
            gate.opened.set()
        assert await files.get(b"d/large") == before + b"more"
        assert await files.get(b"d/small") == b"small and more"
        assert await files.provider.getxattr(await files.node(b"d/large"), b"user.kept") == b"yes"
    assert (layers / "lower" / "d" / "large").read_bytes() == before


async def removexattr(files):
    await files.provider.removexattr(await files.node(b"d/large"), b"user.kept")


MOVES = {
    "rename": (lambda files: files.rename(b"d/large", b"d/moved"), b"d/moved"),
    "rename over": (lambda files: files.rename(b"d/large", b"d/victim"), b"d/victim"),
    "exchange": (lambda files: files.rename(b"d/victim", b"d/large", 2), b"d/victim"),
    "rename a directory": (lambda files: files.rename(b"d", b"moved"), b"moved/large"),
    "link": (lambda files: files.link(b"d/large", b"d/second"), b"d/second"),
    "removexattr": (removexattr, b"d/large"),
}
"""And where the large file is found afterwards."""


@pytest.fixture(params=MOVES)
def move(request, layers):
    (layers / "lower" / "d" / "victim").write_bytes(b"victim")
    return MOVES[request.param]


async def test_others_change_the_tree_while_a_large_file_is_copied_to_be_moved(layers, gate, move):
    call, place = move
    before = (layers / "lower" / "d" / "large").read_bytes()
    (layers / "lower" / "d" / "larger").write_bytes(before + before[::-1])
    async with overlaid(layers) as files:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, files)
            await gate.reached.wait()
            with trio.fail_after(10):
                await append(files, b"d/small", b" and more")
                await files.put(b"d/new", b"new")
                await files.setattr(b"d", SetAttr(mode=0o700))
            assert await files.get(b"d/large") == before
            gate.opened.set()
        directory = os.path.dirname(place)
        assert await files.get(place) == before
        assert await files.get(directory + b"/small") == b"small and more"
        assert await files.get(directory + b"/larger") == before + before[::-1]
        assert await files.get(directory + b"/new") == b"new"
    assert (layers / "lower" / "d" / "large").read_bytes() == before


async def test_a_move_that_is_cancelled_while_a_large_file_is_copied(layers, gate, move):
    call, place = move
    before = (layers / "lower" / "d" / "large").read_bytes()
    async with overlaid(layers) as files:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, files)
            await gate.reached.wait()
            nursery.cancel_scope.cancel()
        assert list((layers / "upper" / "work").iterdir()) == []
        assert await files.names(b"d") == [b"large", b"small", b"victim"]
        await call(files)
        assert await files.get(place) == before


async def test_of_a_directory_that_moves_all_large_files_are_copied_before(layers, monkeypatch):
    for name in ("one", "two", "sub/three", "sub/deep/four"):
        path = layers / "lower" / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * AHEAD)
    os.link(layers / "lower" / "d" / "one", layers / "lower" / "d" / "sub" / "same")
    held = []
    make_file = ahead.make_file

    async def noted(union, *args):
        held.append(union.turn.held)
        return await make_file(union, *args)

    monkeypatch.setattr(ahead, "make_file", noted)
    async with overlaid(layers) as files:
        await files.rename(b"d", b"moved")
        assert held == [False] * 5
        for name in (b"one", b"two", b"sub/three", b"sub/deep/four"):
            assert await files.get(b"moved/" + name) == name * AHEAD
        assert await files.get(b"moved/sub/same") == b"one" * AHEAD
        assert (await files.stat(b"moved/one")).nlink == 2
        assert await files.names() == [b"moved"]


@pytest.mark.parametrize("end", ["closed", "stored"])
async def test_of_a_large_hard_link_in_a_sealed_layer_all_names_are_kept(layers, end):
    before = (layers / "lower" / "d" / "large").read_bytes()
    os.link(layers / "lower" / "d" / "large", layers / "lower" / "d" / "same")
    os.link(layers / "lower" / "d" / "large", layers / "lower" / "third")
    async with overlaid(layers) as files:
        await append(files, b"d/large", b"more")
        await files.provider.snapshot().aclose()
        if end == "stored":
            assert await files.provider.layer() is not None
        for name in (b"d/large", b"d/same", b"third"):
            assert await files.get(name) == before + b"more"
    async with overlaid(layers) as files:
        for name in (b"d/large", b"d/same", b"third"):
            assert await files.get(name) == before + b"more"
        assert (await files.stat(b"third")).nlink == 3


async def test_whoever_wants_the_same_file_waits_for_the_one_copy(layers, gate):
    async with overlaid(layers) as files:
        old = copies(files)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, files, b"d/large", b"1")
            await gate.reached.wait()
            nursery.start_soon(append, files, b"d/large", b"2")
            nursery.start_soon(files.setattr, b"d/large", SetAttr(mode=0o640))
            await trio.testing.wait_all_tasks_blocked(0.05)
            gate.opened.set()
        assert copies(files) == old + 3  # the file, its directory and the root
        stat = await files.stat(b"d/large")
        assert (stat.size, stat.mode & 0o777) == (SIZE + 2, 0o640)


async def test_a_cancelled_copy_leaves_nothing(layers, gate):
    async with overlaid(layers) as files:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, files, b"d/large", b"never")
            await gate.reached.wait()
            nursery.cancel_scope.cancel()
        assert list((layers / "upper" / "work").iterdir()) == []
        assert (await files.stat(b"d/large")).size == SIZE
        await append(files, b"d/large", b"later")
        assert (await files.stat(b"d/large")).size == SIZE + 5


async def test_a_lower_that_changes_meanwhile_is_copied_again(layers, gate):
    async with overlaid(layers) as files:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, files, b"d/large", b"!")
            await gate.reached.wait()
            fd = os.open(layers / "lower" / "d" / "large", os.O_WRONLY)
            os.write(fd, b"changed")
            os.close(fd)
            gate.opened.set()
        seen = await files.get(b"d/large")
        assert (seen[:7], len(seen), seen[-1:]) == (b"changed", SIZE + 1, b"!")


@pytest.mark.parametrize("gone", ["unlinked", "replaced"])
async def test_a_name_that_changes_meanwhile(layers, gate, gone):
    async with overlaid(layers) as files:
        failures = []

        async def change_mode():
            try:
                await files.setattr(b"d/large", SetAttr(mode=0o600))
            except OSError as error:
                failures.append(error.errno)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_mode)
            await gate.reached.wait()
            await files.unlink(b"d/large")
            if gone == "replaced":
                await files.put(b"d/large")
            gate.opened.set()
        assert failures == [errno.ESTALE]
        names = set(await files.names(b"d"))
        assert names == ({b"small", b"large"} if gone == "replaced" else {b"small"})


async def test_who_renames_it_waits_for_the_one_copy(layers, gate):
    async with overlaid(layers) as files:
        old = copies(files)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(files.setattr, b"d/large", SetAttr(mode=0o600))
            await gate.reached.wait()
            nursery.start_soon(files.rename, b"d/large", b"d/elsewhere")
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert await files.names(b"d") == [b"large", b"small"]
            gate.opened.set()
        assert copies(files) == old + 3  # the file, its directory and the root
        assert await files.names(b"d") == [b"elsewhere", b"small"]
        stat = await files.stat(b"d/elsewhere")
        assert (stat.size, stat.mode & 0o777) == (SIZE, 0o600)


async def test_a_snapshot_meanwhile_shows_the_old_file(layers, gate):
    async with overlaid(layers) as files:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(append, files, b"d/large", b"more")
            await gate.reached.wait()
            async with files.provider.pause():
                snapshot = Files(files.provider.snapshot())
            gate.opened.set()
        assert (await snapshot.stat(b"d/large")).size == SIZE
        assert (await files.stat(b"d/large")).size == SIZE + 4
        await snapshot.provider.aclose()


async def test_what_is_cut_off_is_not_copied(layers, gate):
    async with overlaid(layers) as files:
        stat = await files.setattr(b"d/large", SetAttr(size=10))
        assert stat.size == 10
    assert gate.pieces == 1
