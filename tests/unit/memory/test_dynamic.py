"""Files whose content functions make: what is called when, and what failures give."""

import os
import stat
from contextlib import suppress

import pytest
import trio
import trio.testing

from providers.memory import MemoryProvider
from providers.memory import dynamic as dynamic_module
from tests.unit.memory.trees import (
    ADMIN,
    check_books,
    find,
    mkdir,
    open_at,
    parent_of,
    put,
    raises,
    rename,
    unlink,
)
from vfsd.provider import Change, SetAttr

EIO, EACCES, EINVAL, EFBIG = 5, 13, 22, 27


@pytest.fixture
def provider():
    return MemoryProvider()


async def read_all(provider, path: bytes, size: int = 7) -> bytes:
    handle = await open_at(provider, path, os.O_RDONLY)
    try:
        assert handle.direct_io
        whole = b""
        while piece := await handle.read(len(whole), size):
            whole += piece
        return whole
    finally:
        await handle.release()


async def test_a_function_is_called_at_each_open(provider):
    count = 0

    def counted():
        nonlocal count
        count += 1
        return b"open number %d" % count

    provider.add_dynamic(b"deep/below/counter", counted)
    entry = await find(provider, b"deep/below/counter")
    assert stat.S_ISREG(entry.stat.mode)
    assert (entry.stat.mode & 0o777, entry.stat.size, entry.stat.nlink) == (0o444, 0, 1)
    assert count == 0
    assert await read_all(provider, b"deep/below/counter") == b"open number 1"
    first = await open_at(provider, b"deep/below/counter", os.O_RDONLY)
    second = await open_at(provider, b"deep/below/counter", os.O_RDONLY)
    assert await first.read(12, 5) == b"2"
    assert await second.read(12, 5) == b"3"
    assert (await first.getattr()).size == 0
    await first.release()
    await second.release()
    check_books(provider)


async def test_async_functions_and_iterables(provider):
    async def slow():
        await trio.lowlevel.checkpoint()
        return bytearray(b"slow")

    def pieces():
        yield b"pie"
        yield b""
        yield memoryview(b"ces")

    async def slow_pieces():
        return [b"x", b"y"]

    provider.add_dynamic(b"slow", slow, mode=0o400)
    provider.add_dynamic(b"pieces", pieces)
    provider.add_dynamic(b"list", [b"a" * 10, b"b" * 10])
    provider.add_dynamic(b"slow pieces", slow_pieces)
    provider.add_dynamic(b"none", [])
    for size in (1, 4, 1000):
        assert await read_all(provider, b"slow", size) == b"slow"
        assert await read_all(provider, b"pieces", size) == b"pieces"
        assert await read_all(provider, b"list", size) == b"a" * 10 + b"b" * 10
        assert await read_all(provider, b"slow pieces", size) == b"xy"
        assert await read_all(provider, b"none", size) == b""


async def test_pieces_are_taken_only_as_far_as_they_are_read(provider):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield b"0123456789"

    provider.add_dynamic(b"endless", endless)
    handle = await open_at(provider, b"endless", os.O_RDONLY)
    assert await handle.read(0, 10) == b"0123456789"
    assert len(taken) == 1
    assert await handle.read(25, 4) == b"5678"
    assert len(taken) == 3
    assert await handle.read(3, 4) == b"3456", "a read may go back"
    assert len(taken) == 3
    await handle.release()


async def test_no_more_is_kept_than_the_bound(provider, monkeypatch):
    monkeypatch.setattr(dynamic_module, "BUFFER_MAX", 1000)
    provider.add_dynamic(b"whole", lambda: bytes(1001))
    with raises(EFBIG):
        await open_at(provider, b"whole", os.O_RDONLY)
    provider.add_dynamic(b"endless", lambda: iter(lambda: bytes(400), None))
    handle = await open_at(provider, b"endless", os.O_RDONLY)
    assert len(await handle.read(0, 800)) == 800
    for _ in range(2):
        with raises(EFBIG):
            await handle.read(800, 800)
    await handle.release()


async def test_reading_far_ahead_lets_others_run_and_can_be_cancelled(provider):
    provider.add_dynamic(b"endless", lambda: iter(lambda: b"", None))
    handle = await open_at(provider, b"endless", os.O_RDONLY)
    with trio.move_on_after(0.05) as scope:
        await handle.read(0, 1)
    assert scope.cancelled_caught
    await handle.release()


@pytest.mark.parametrize(
    ("error", "code", "logged"),
    [
        (PermissionError(1, "no"), 1, False),
        (OSError(122, "quota"), 122, False),
        (OSError("without errno"), EIO, False),
        (ValueError("wrong"), EIO, True),
        (KeyError("x"), EIO, True),
    ],
)
async def test_what_the_function_raises(provider, caplog, error, code, logged):
    def failing():
        raise error

    async def failing_later():
        await trio.lowlevel.checkpoint()
        raise error

    def failing_between():
        yield b"start"
        raise error

    provider.add_dynamic(b"sync", failing)
    provider.add_dynamic(b"async", failing_later)
    for path in (b"sync", b"async"):
        with raises(code):
            await open_at(provider, path, os.O_RDONLY)
    provider.add_dynamic(b"between", failing_between)
    handle = await open_at(provider, b"between", os.O_RDONLY)
    assert await handle.read(0, 5) == b"start"
    for _ in range(2):  # the end of the generator must not look like the end of the file
        with raises(code):
            await handle.read(5, 5)
    await handle.release()
    assert (len(caplog.records) == 3) == logged
    assert bool(caplog.records) == logged
    await unlink(provider, b"sync")
    check_books(provider)


@pytest.mark.parametrize("content", [None, "text", 5, [b"x", "y"], [1]])
async def test_content_that_is_not_bytes(provider, caplog, content):
    provider.add_dynamic(b"odd", lambda: content)
    with raises(EIO):
        await read_all(provider, b"odd")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("source", ["text", b"bytes", 5, None, iter([b"once"])])
def test_sources_that_are_refused(provider, source):
    with pytest.raises(TypeError):
        provider.add_dynamic(b"odd", source)
    assert provider.statistics()["present_files"] == 1


async def test_it_cannot_be_written(provider):
    provider.add_dynamic(b"file", [b"data"])
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_APPEND):
        with raises(EACCES):
            await open_at(provider, b"file", flags)
    with raises(EINVAL):
        await provider.setattr((await find(provider, b"file")).node, SetAttr(size=0), ADMIN)
    handle = await open_at(provider, b"file", os.O_RDONLY)
    with raises(9):
        await handle.write(0, b"x")
    await handle.release()


async def test_it_is_a_file_like_others_otherwise(provider):
    provider.add_dynamic(b"file", [b"data"])
    node = (await find(provider, b"file")).node
    await provider.link(node, provider.root, b"second")
    await rename(provider, b"second", b"third")
    await provider.setattr(node, SetAttr(mode=0o600), ADMIN)
    await provider.setxattr(node, b"user.a", b"1")
    snapshot = provider.snapshot()
    handle = await open_at(provider, b"third", os.O_RDONLY)
    await unlink(provider, b"file")
    await put(provider, b"new")
    await rename(provider, b"new", b"third")
    assert (await handle.getattr()).nlink == 0
    assert await handle.read(0, 10) == b"data"
    await handle.release()
    with raises(116):
        await provider.getattr(node)
    assert await read_all(snapshot, b"third") == b"data"
    check_books(provider)
    check_books(snapshot)


async def test_a_cancelled_open_leaves_nothing_open(provider):
    async def never():
        await trio.sleep_forever()

    provider.add_dynamic(b"never", never)
    node = (await find(provider, b"never")).node
    with trio.move_on_after(0):
        await open_at(provider, b"never", os.O_RDONLY)
    await unlink(provider, b"never")
    with raises(116):
        await provider.getattr(node)


async def test_removed_while_it_is_being_opened(provider):
    opened = trio.Event()

    async def slow():
        opened.set()
        await trio.testing.wait_all_tasks_blocked()
        return b"data"

    provider.add_dynamic(b"slow", slow)
    parent, name = await parent_of(provider, b"slow")

    async def remove():
        await opened.wait()
        await provider.unlink(parent, name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remove)
        handle = await open_at(provider, b"slow", os.O_RDONLY)
    assert await handle.read(0, 10) == b"data"
    assert (await handle.getattr()).nlink == 0
    await handle.release()
    assert provider.statistics()["present_files"] == 1


async def test_adding_is_reported_and_refused_where_it_cannot_be(provider):
    changes: list[Change] = []
    await put(provider, b"file")
    await mkdir(provider, b"dir")
    directory = (await find(provider, b"dir")).node
    provider.subscribe(changes.append)
    provider.add_dynamic(b"dir/new", [b"x"])
    assert [(each.node.number, each.name) for each in changes] == [(directory.number, b"new")]
    for path, code in (
        (b"dir/new", 17),
        (b"file", 17),
        (b"file/x", 20),
        (b"", 22),
        (b"/", 22),
        (b"dir/../x", 22),
        (b"dir/./x", 22),
        (b"n\0l", 22),
        (b"n" * 256, 22),
    ):
        with raises(code):
            provider.add_dynamic(path, [b"x"])
    assert len(changes) == 1
    full = MemoryProvider(inodes=2)
    full.add_dynamic(b"one", [b"x"])
    with raises(28):
        full.add_dynamic(b"two", [b"x"])
    with suppress(OSError):
        full.add_dynamic(b"dir/two", [b"x"])
    check_books(full)
