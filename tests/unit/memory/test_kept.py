"""Files whose last name goes while a door keeps them: they live until it forgets them."""

import os

import pytest

from providers.memory import MemoryProvider
from tests.unit.memory.trees import (
    ADMIN,
    check_books,
    find,
    mkdir,
    open_at,
    put,
    raises,
    rename,
    unlink,
)
from vfsd.provider import Node, SetAttr

ENOENT, ESTALE, ENOSPC = 2, 116, 28
PAGE = 4096


class Door:
    """Keeps every node that it is told to, as the kernel does with what it looked up."""

    def __init__(self, provider: MemoryProvider) -> None:
        self.provider = provider
        self.numbers: set[int] = set()
        provider.add_keeper(self.keeps)

    def keeps(self, number: int) -> bool:
        return number in self.numbers

    def keep(self, node: Node) -> Node:
        self.numbers.add(node.number)
        return node

    def forget(self, node: Node) -> None:
        self.numbers.discard(node.number)
        self.provider.forget(node)


@pytest.fixture
def provider():
    return MemoryProvider(size_bytes=16 * PAGE, inodes=6)


@pytest.fixture
def door(provider):
    return Door(provider)


async def test_an_unlinked_file_can_be_opened_until_it_is_forgotten(provider, door):
    node = door.keep(await put(provider, b"file", b"data"))
    await unlink(provider, b"file")
    assert (await provider.getattr(node)).nlink == 0
    handle = await provider.open(node, os.O_RDWR, ADMIN)
    assert await handle.read(0, 10) == b"data"
    door.forget(node)
    assert await handle.write(4, b"!") == 1, "open files outlive what doors keep"
    await handle.release()
    with raises(ESTALE):
        await provider.getattr(node)
    check_books(provider)


async def test_what_no_door_keeps_goes_at_once(provider, door):
    node = await put(provider, b"file", b"data")
    await unlink(provider, b"file")
    with raises(ESTALE):
        await provider.getattr(node)


async def test_it_is_kept_for_the_last_of_several_doors(provider, door):
    second = Door(provider)
    node = second.keep(door.keep(await put(provider, b"file")))
    await unlink(provider, b"file")
    door.forget(node)
    assert (await provider.getattr(node)).nlink == 0
    second.forget(node)
    with raises(ESTALE):
        await provider.getattr(node)


async def test_closed_last_and_forgotten_first_or_the_other_way_round(provider, door):
    for forgotten_first in (True, False):
        node = door.keep(await put(provider, b"file", b"data"))
        handle = await open_at(provider, b"file", os.O_RDONLY)
        await unlink(provider, b"file")
        if forgotten_first:
            door.forget(node)
            await handle.release()
        else:
            await handle.release()
            assert (await provider.getattr(node)).size == 4
            door.forget(node)
        with raises(ESTALE):
            await provider.getattr(node)
    check_books(provider)


async def test_forgetting_a_file_that_has_a_name_changes_nothing(provider, door):
    node = door.keep(await put(provider, b"file", b"data"))
    door.forget(node)
    door.forget(Node(9999))
    assert (await find(provider, b"file")).stat.size == 4


@pytest.mark.parametrize("how", ["rmdir", "rename"])
async def test_a_removed_directory_shows_no_links_and_takes_no_names(provider, door, how):
    node = door.keep(await mkdir(provider, b"dir"))
    before = await provider.getattr(node)
    if how == "rmdir":
        await provider.rmdir(provider.root, b"dir")
    else:
        await mkdir(provider, b"other")
        await rename(provider, b"other", b"dir")
    after = await provider.getattr(node)
    assert (after.nlink, after.mtime_ns) == (0, before.mtime_ns)
    assert after.ctime_ns > before.ctime_ns
    assert await provider.readdir(node) == []
    file = await put(provider, b"file")
    for attempt in (
        provider.lookup(node, b"x"),
        provider.create(node, b"x", 0o644, os.O_RDWR, ADMIN),
        provider.mkdir(node, b"x", 0o755, ADMIN),
        provider.symlink(node, b"x", b"t", ADMIN),
        provider.link(file, node, b"x"),
        provider.rename(provider.root, b"file", node, b"x", 0),
        provider.rename(node, b"x", provider.root, b"y", 0),
        provider.unlink(node, b"x"),
        provider.rmdir(node, b"x"),
    ):
        with raises(ENOENT):
            await attempt
    check_books(provider)
    door.forget(node)
    with raises(ESTALE):
        await provider.getattr(node)
    check_books(provider)


async def test_what_only_a_door_keeps_takes_no_room_from_others(provider, door):
    """The kernel forgets a moment after the name is gone; until then nobody must wait."""
    door.keep(await put(provider, b"file", bytes(16 * PAGE)))
    await unlink(provider, b"file")
    room = await provider.statfs()
    assert (room.blocks_free, room.files_free) == (16, 5)
    check_books(provider)
    for number in range(5):
        await put(provider, b"%d" % number)
    with raises(ENOSPC):
        await put(provider, b"one more")
    assert provider.statistics()["nameless_files"] == 1


async def test_holding_on_to_removed_files_at_most_doubles_a_quota(provider, door):
    for _ in range(2):
        door.keep(await put(provider, b"file", bytes(16 * PAGE)))
        await unlink(provider, b"file")
    assert (await provider.statfs()).blocks_free == 0
    await put(provider, b"file")
    handle = await open_at(provider, b"file", os.O_WRONLY)
    with raises(ENOSPC):
        await handle.write(0, b"x")
    await handle.release()
    await unlink(provider, b"file")
    for number in range(4):
        door.keep(await put(provider, b"%d" % number))
        await unlink(provider, b"%d" % number)
    assert (await provider.statfs()).files_free == 5
    for number in range(5):
        await put(provider, b"%d" % number)
        door.keep((await find(provider, b"%d" % number)).node)
        await unlink(provider, b"%d" % number)
    with raises(ENOSPC):
        await put(provider, b"beyond")
    check_books(provider)


async def test_statfs_is_exact_with_much_room_too():
    provider = MemoryProvider(size_bytes=1 << 30)
    door = Door(provider)
    door.keep(await put(provider, b"file", bytes(16 * PAGE)))
    await unlink(provider, b"file")
    room = await provider.statfs()
    assert room.blocks_free == room.blocks


async def test_kept_files_that_are_open_do_take_room(provider, door):
    node = door.keep(await put(provider, b"file", bytes(16 * PAGE)))
    await unlink(provider, b"file")
    handle = await provider.open(node, os.O_RDONLY, ADMIN)
    assert (await provider.statfs()).blocks_free == 0
    await put(provider, b"other")
    writer = await open_at(provider, b"other", os.O_WRONLY)
    with raises(ENOSPC):
        await writer.write(0, b"x")
    await handle.release()
    assert await writer.write(0, b"x") == 1
    await writer.release()
    check_books(provider)


async def test_changes_to_a_kept_file_are_counted_right(provider, door):
    node = door.keep(await put(provider, b"file", bytes(4 * PAGE)))
    await unlink(provider, b"file")
    await provider.setattr(node, SetAttr(size=PAGE), ADMIN)
    await provider.setxattr(node, b"user.a", b"value")
    check_books(provider)
    door.forget(node)
    check_books(provider)
    assert provider.statistics()["used_bytes"] == 0


async def test_a_door_that_leaves_keeps_nothing(provider, door):
    node = door.keep(await put(provider, b"file", b"data"))
    await unlink(provider, b"file")
    provider.remove_keeper(door.keeps)
    with raises(ESTALE):
        await provider.getattr(node)
    assert provider.statistics()["nameless_files"] == 0


async def test_snapshots_and_forks_have_no_kept_files(provider, door):
    node = door.keep(await put(provider, b"file", bytes(4 * PAGE)))
    directory = door.keep(await mkdir(provider, b"dir"))
    await unlink(provider, b"file")
    await provider.rmdir(provider.root, b"dir")
    fork = provider.snapshot().fork()
    for each in (node, directory):
        with raises(ESTALE):
            await fork.getattr(each)
    assert fork.statistics()["used_bytes"] == 0
    check_books(fork)
    check_books(provider)
