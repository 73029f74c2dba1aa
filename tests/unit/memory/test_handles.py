"""Open files: access modes, appending, life without a name, largest offsets."""

import os

import pytest

from providers.memory import MemoryProvider
from providers.memory.content import SIZE_MAX
from tests.unit.memory.trees import (
    ADMIN,
    USER,
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
from vfsd.provider import Identity, SetAttr

EBADF, EFBIG, ESTALE = 9, 27, 116


@pytest.fixture
def provider():
    return MemoryProvider()


async def test_access_modes(provider):
    await put(provider, b"file", b"data")
    reader = await open_at(provider, b"file", os.O_RDONLY)
    writer = await open_at(provider, b"file", os.O_WRONLY)
    with raises(EBADF):
        await reader.write(0, b"x")
    with raises(EBADF):
        await writer.read(0, 1)
    assert await writer.write(4, b"") == 0
    await writer.write(4, b"!")
    assert bytes(await reader.read(0, 10)) == b"data!"
    assert bytes(await reader.read(5, 10)) == b""
    assert bytes(await reader.read(1 << 60, 10)) == b""
    await reader.fsync(datasync=False)
    await reader.release()
    await writer.release()


async def test_appends_of_several_handles_lose_nothing(provider):
    await put(provider, b"log")
    handles = [await open_at(provider, b"log", os.O_WRONLY | os.O_APPEND) for _ in range(3)]
    for turn in range(30):
        await handles[turn % 3].write(0, b"%02d\n" % turn)
    assert await get(provider, b"log") == b"".join(b"%02d\n" % turn for turn in range(30))
    for handle in handles:
        await handle.release()


async def test_a_file_outlives_its_name_until_the_last_handle(provider):
    node = await put(provider, b"file", b"data")
    first = await open_at(provider, b"file", os.O_RDWR)
    second = await open_at(provider, b"file", os.O_RDONLY)
    await unlink(provider, b"file")
    await put(provider, b"file", b"another")
    await first.release()
    assert bytes(await second.read(0, 10)) == b"data"
    assert (await second.getattr()).nlink == 0
    assert (await provider.setattr(node, SetAttr(size=2), ADMIN)).size == 2
    with raises(2):
        await provider.link(node, provider.root, b"back")
    assert provider.statistics()["nameless_files"] == 1
    await second.release()
    await second.release()
    assert provider.statistics()["nameless_files"] == 0
    for attempt in (
        provider.getattr(node),
        provider.open(node, os.O_RDONLY, ADMIN),
        provider.setattr(node, SetAttr(mode=0), ADMIN),
        provider.listxattr(node),
    ):
        with raises(ESTALE):
            await attempt
    with raises(2):
        await provider.link(node, provider.root, b"back")
    check_books(provider)


async def test_a_replaced_file_lives_while_it_is_open(provider):
    await put(provider, b"old", b"old")
    await put(provider, b"new", b"new")
    handle = await open_at(provider, b"old", os.O_RDONLY)
    await rename(provider, b"new", b"old")
    assert bytes(await handle.read(0, 10)) == b"old"
    assert (await handle.getattr()).nlink == 0
    await handle.release()
    check_books(provider)


async def test_a_handle_released_twice_counts_once(provider):
    node = await put(provider, b"file", b"data")
    first = await open_at(provider, b"file", os.O_RDONLY)
    second = await open_at(provider, b"file", os.O_RDONLY)
    await first.release()
    await first.release()
    await unlink(provider, b"file")
    assert (await provider.getattr(node)).nlink == 0
    await second.release()


async def test_the_largest_file(provider):
    node = await put(provider, b"file")
    handle = await open_at(provider, b"file", os.O_RDWR)
    with raises(EFBIG):
        await handle.write(SIZE_MAX, b"x")
    assert await handle.write(SIZE_MAX - 2, b"abc") == 2
    assert (await handle.getattr()).size == SIZE_MAX
    assert bytes(await handle.read(SIZE_MAX - 3, 100)) == b"\0ab"
    with raises(EFBIG):
        await provider.setattr(node, SetAttr(size=SIZE_MAX + 1), ADMIN)
    with raises(22):
        await provider.setattr(node, SetAttr(size=-1), ADMIN)
    assert (await provider.setattr(node, SetAttr(size=SIZE_MAX), ADMIN)).blocks == 256
    await handle.release()
    check_books(provider)


async def test_what_cannot_be_opened(provider):
    await mkdir(provider, b"dir")
    await provider.symlink(provider.root, b"link", b"dir", ADMIN)
    await provider.mknod(provider.root, b"pipe", 0o010644, 0, ADMIN)
    for path, code in ((b"dir", 21), (b"link", 40), (b"pipe", 6)):
        with raises(code):
            await open_at(provider, path, os.O_RDONLY)
        with raises(code):
            await provider.create(provider.root, path, 0o644, os.O_RDWR, ADMIN)


async def test_create_opens_what_is_there(provider):
    node = await put(provider, b"file", b"data", 0o600)
    entry, handle = await provider.create(provider.root, b"file", 0o777, os.O_RDONLY, USER)
    assert entry.node.number == node.number
    assert entry.stat.mode & 0o777 == 0o600
    assert bytes(await handle.read(0, 10)) == b"data"
    await handle.release()
    flags = os.O_RDWR | os.O_TRUNC
    entry, handle = await provider.create(provider.root, b"file", 0o777, flags, USER)
    assert entry.stat.size == 0
    await handle.release()
    with raises(17):
        await provider.create(provider.root, b"file", 0o644, os.O_RDWR | os.O_EXCL, USER)


@pytest.mark.parametrize("mode", [0o6775, 0o6765, 0o2755, 0o4711])
async def test_a_write_by_others_than_root_drops_privilege_bits(provider, mode):
    node = await put(provider, b"file", b"x")
    fallen = mode & ~0o6000
    for_members = fallen if mode & 0o010 else mode & ~0o4000
    member = Identity(1000, 0)
    for caller, wanted in ((ADMIN, mode), (member, for_members), (USER, fallen)):
        await provider.setattr(node, SetAttr(mode=mode), ADMIN)
        handle = await open_at(provider, b"file", os.O_WRONLY, caller)
        await handle.write(0, b"")
        assert (await handle.getattr()).mode & 0o7777 == mode
        await handle.write(0, b"y")
        assert (await handle.getattr()).mode & 0o7777 == wanted
        await handle.release()
        await provider.setattr(node, SetAttr(mode=mode), ADMIN)
        changed = await provider.setattr(node, SetAttr(size=0), caller)
        assert changed.mode & 0o7777 == wanted
    changed = await provider.setattr(node, SetAttr(mode=mode, size=0, uid=5), USER)
    assert changed.mode & 0o7777 == mode


async def test_a_large_write_from_another_buffer_type_is_kept_safe(provider):
    """A door may hand in a buffer that it uses again."""
    await put(provider, b"file")
    handle = await open_at(provider, b"file", os.O_RDWR)
    buffer = bytearray(b"before")
    # What the test is about.
    await handle.write(0, buffer)  # type: ignore[arg-type]
    buffer[:] = b"AFTER!"
    assert bytes(await handle.read(0, 10)) == b"before"
    await handle.release()
    assert (await find(provider, b"file")).stat.size == 6
