"""Quotas at their edges: exactly full, over, given back; and what statfs says."""

import os

import pytest

from providers.memory import MemoryProvider
from providers.memory.chunks import CHUNK
from tests.unit.memory.trees import (
    ADMIN,
    check_books,
    find,
    get,
    mkdir,
    open_at,
    put,
    raises,
    rename,
    unlink,
)
from vfsd.provider import SetAttr

ENOSPC = 28
PAGE = 4096


async def free(provider: MemoryProvider) -> tuple[int, int]:
    room = await provider.statfs()
    assert room.blocks_available == room.blocks_free
    return room.blocks_free, room.files_free


async def test_an_empty_tree_shows_its_limits_and_the_root():
    room = await MemoryProvider(size_bytes=1 << 20, inodes=10).statfs()
    assert (room.block_size, room.blocks, room.blocks_free) == (PAGE, 256, 256)
    assert (room.files, room.files_free) == (10, 9)


async def test_a_limit_is_rounded_up_to_a_page():
    provider = MemoryProvider(size_bytes=PAGE + 1)
    assert (await provider.statfs()).blocks == 2
    await put(provider, b"file", bytes(2 * PAGE))
    assert (await provider.statfs()).blocks_free == 0


async def test_exactly_full_and_one_byte_more():
    provider = MemoryProvider(size_bytes=4 * PAGE)
    await put(provider, b"file", bytes(4 * PAGE))
    handle = await open_at(provider, b"file", os.O_RDWR)
    before = await handle.getattr()
    with raises(ENOSPC):
        await handle.write(4 * PAGE, b"x")
    assert await handle.getattr() == before
    assert await handle.write(0, b"over") == 4, "what is there may be written over"
    assert await handle.write(0, bytes(4 * PAGE)) == 4 * PAGE
    await handle.release()
    check_books(provider)


async def test_a_write_that_fits_in_part_says_how_much():
    provider = MemoryProvider(size_bytes=4 * PAGE)
    await put(provider, b"file", b"x" * 10)
    handle = await open_at(provider, b"file", os.O_RDWR)
    assert await handle.write(10, b"y" * (10 * PAGE)) == 4 * PAGE - 10
    assert (await handle.getattr()).size == 4 * PAGE
    with raises(ENOSPC):
        await handle.write(4 * PAGE, b"y")
    await handle.release()
    check_books(provider)


async def test_the_tail_of_a_page_is_room_at_full():
    provider = MemoryProvider(size_bytes=PAGE)
    await put(provider, b"file", b"x")
    handle = await open_at(provider, b"file", os.O_RDWR | os.O_APPEND)
    assert await handle.write(0, bytes(PAGE - 1)) == PAGE - 1
    with raises(ENOSPC):
        await handle.write(0, b"x")
    await handle.release()


async def test_holes_need_no_room():
    provider = MemoryProvider(size_bytes=PAGE)
    node = await put(provider, b"file")
    assert (await provider.setattr(node, SetAttr(size=1 << 50), ADMIN)).blocks == 0
    handle = await open_at(provider, b"file", os.O_RDWR)
    assert await handle.write(1 << 45, b"x") == 1
    with raises(ENOSPC):
        await handle.write(1 << 46, b"x")
    await handle.release()
    check_books(provider)


async def test_room_comes_back():
    provider = MemoryProvider(size_bytes=64 * PAGE, inodes=10)
    empty = await free(provider)
    node = await put(provider, b"file", bytes(40 * PAGE))
    assert await free(provider) == (24, 8)
    await provider.setattr(node, SetAttr(size=PAGE + 1), ADMIN)
    assert await free(provider) == (62, 8)
    handle = await open_at(provider, b"file", os.O_RDONLY)
    await unlink(provider, b"file")
    assert await free(provider) == (62, 8), "open files keep their room"
    await handle.release()
    assert await free(provider) == empty
    await put(provider, b"file", bytes(40 * PAGE))
    await put(provider, b"file")
    assert (await free(provider))[0] == 64
    await put(provider, b"other", bytes(3 * PAGE))
    await rename(provider, b"other", b"file")
    assert await free(provider) == (61, 8)
    await put(provider, b"last", bytes(PAGE))
    await rename(provider, b"last", b"file")
    assert await free(provider) == (63, 8)


async def test_at_the_limit_of_files_nothing_new_can_be_made():
    provider = MemoryProvider(inodes=3)
    node = await put(provider, b"file")
    await mkdir(provider, b"dir")
    root = provider.root
    before = await provider.getattr(root)
    for attempt in (
        lambda: provider.create(root, b"new", 0o644, os.O_RDWR, ADMIN),
        lambda: provider.mkdir(root, b"new", 0o755, ADMIN),
        lambda: provider.symlink(root, b"new", b"target", ADMIN),
        lambda: provider.mknod(root, b"new", 0o010644, 0, ADMIN),
    ):
        with raises(ENOSPC):
            await attempt()
    assert await provider.getattr(root) == before
    await provider.link(node, root, b"second name")
    await rename(provider, b"file", b"dir/renamed")
    await put(provider, b"second name", b"written")
    assert (await provider.statfs()).files_free == 0
    await rename(provider, b"dir/renamed", b"dir/second")
    await provider.rmdir(*(await made_empty(provider)))
    assert (await provider.statfs()).files_free == 1
    await put(provider, b"new")
    check_books(provider)


async def made_empty(provider):
    await unlink(provider, b"dir/second")
    return provider.root, b"dir"


async def test_extended_attributes_take_room():
    provider = MemoryProvider(size_bytes=2 * PAGE)
    node = await put(provider, b"file", b"x")
    await provider.setxattr(node, b"user.big", bytes(PAGE - len(b"user.big")))
    assert (await free(provider))[0] == 0
    with raises(ENOSPC):
        await provider.setxattr(node, b"user.more", b"")
    with raises(ENOSPC):
        await provider.setxattr(node, b"user.big", bytes(PAGE))
    assert len(await provider.getxattr(node, b"user.big")) == PAGE - 8
    await provider.setxattr(node, b"user.big", b"small")
    await provider.setxattr(node, b"user.more", b"")
    check_books(provider)
    await unlink(provider, b"file")
    assert (await free(provider))[0] == 2


async def test_a_fork_has_the_quotas_and_what_was_used():
    provider = MemoryProvider(size_bytes=4 * PAGE, inodes=4)
    await put(provider, b"file", bytes(3 * PAGE))
    fork = provider.fork()
    await put(provider, b"mine", bytes(PAGE))
    assert await free(fork) == (1, 2)
    await put(fork, b"ours", bytes(PAGE))
    with raises(ENOSPC):
        await put(fork, b"more", b"x")
    await unlink(fork, b"file")
    assert await free(fork) == (3, 1)
    assert await get(provider, b"file") == bytes(3 * PAGE)
    check_books(fork)


async def test_without_quotas_the_machine_is_the_limit():
    provider = MemoryProvider()
    room = await provider.statfs()
    assert 0 < room.blocks_free == room.blocks <= os.sysconf("SC_PHYS_PAGES")
    assert room.files == room.files_free + 1
    await put(provider, b"file", bytes(100 * CHUNK))
    room = await provider.statfs()
    assert room.blocks == room.blocks_free + 100 * CHUNK // PAGE
    assert room.files == room.files_free + 2


@pytest.mark.parametrize("offset", [0, CHUNK - 1, 5 * CHUNK])
async def test_memory_that_is_refused_is_no_space(monkeypatch, offset):
    """A MemoryError half-way through a write leaves the books right."""
    from providers.memory import content as content_module

    provider = MemoryProvider()
    node = await put(provider, b"file", b"x")
    handle = await open_at(provider, b"file", os.O_RDWR)
    real, calls = content_module.spliced, []

    def refusing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        return real(*arguments)

    monkeypatch.setattr(content_module, "spliced", refusing)
    with raises(ENOSPC):
        await handle.write(offset, bytes(4 * CHUNK))
    monkeypatch.undo()
    check_books(provider)
    assert (await find(provider, b"file")).node.number == node.number
    await handle.write(0, bytes(4 * CHUNK))
    await handle.release()
    check_books(provider)
