"""Set read-only, every mutation is EROFS: also through open handles, also where it would fail."""

import os

import pytest

from providers.memory import MemoryProvider
from tests.unit.memory.trees import ADMIN, find, get, mkdir, open_at, put, raises, walk
from vfsd.provider import SetAttr

EROFS = 30


async def filled() -> MemoryProvider:
    provider = MemoryProvider()
    await mkdir(provider, b"dir")
    await mkdir(provider, b"empty")
    await put(provider, b"dir/file", b"data")
    node = (await find(provider, b"dir/file")).node
    await provider.setxattr(node, b"user.a", b"1")
    return provider


async def every_mutation(provider):
    root = provider.root
    directory = (await find(provider, b"dir")).node
    file = (await find(provider, b"dir/file")).node
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_RDONLY | os.O_APPEND):
        yield lambda flags=flags: provider.open(file, flags, ADMIN)
    for changes in (
        SetAttr(),
        SetAttr(mode=0o600),
        SetAttr(uid=1),
        SetAttr(size=0),
        SetAttr(size=-1),
        SetAttr(atime_ns=1),
        SetAttr(mtime_ns=1),
    ):
        yield lambda changes=changes: provider.setattr(file, changes, ADMIN)
    yield lambda: provider.setattr(directory, SetAttr(size=1), ADMIN)
    for name in (b"new", b"dir"):
        yield lambda name=name: provider.create(root, name, 0o644, os.O_RDWR, ADMIN)
        yield lambda name=name: provider.mknod(root, name, 0o100644, 0, ADMIN)
        yield lambda name=name: provider.mkdir(root, name, 0o755, ADMIN)
        yield lambda name=name: provider.symlink(root, name, b"x", ADMIN)
        yield lambda name=name: provider.link(file, root, name)
    for parent, name in ((directory, b"file"), (root, b"dir"), (root, b"absent"), (file, b"x")):
        yield lambda parent=parent, name=name: provider.unlink(parent, name)
        yield lambda parent=parent, name=name: provider.rmdir(parent, name)
        for flags in (0, 1, 2, 9):
            yield lambda parent=parent, name=name, flags=flags: provider.rename(
                parent, name, root, b"new", flags
            )
    yield lambda: provider.rmdir(root, b"empty")
    yield lambda: provider.setxattr(file, b"user.a", b"2")
    yield lambda: provider.setxattr(file, b"odd", b"2")
    yield lambda: provider.removexattr(file, b"user.a")
    yield lambda: provider.removexattr(file, b"user.absent")


@pytest.mark.parametrize("how", ["set read-only", "snapshot"])
async def test_every_mutation_is_refused(how):
    provider = await filled()
    if how == "snapshot":
        provider = provider.snapshot()
    else:
        provider.set_read_only(True)
    assert not provider.traits.writable
    before = await walk(provider)
    count = 0
    async for attempt in every_mutation(provider):
        with raises(EROFS):
            await attempt()
        count += 1
    assert count > 40
    assert await walk(provider) == before
    with raises(EROFS):
        provider.add_dynamic(b"dynamic", [b"x"])
    with raises(EROFS):
        provider.add_lazy_directory(b"lazy", dict)


async def test_open_handles_are_refused_too():
    provider = await filled()
    handle = await open_at(provider, b"dir/file", os.O_RDWR)
    reader = await open_at(provider, b"dir/file", os.O_RDONLY)
    provider.set_read_only(True)
    before = await handle.getattr()
    for data in (b"x", b""):
        with raises(EROFS):
            await handle.write(0, data)
    with raises(EROFS):
        await reader.write(0, b"x")
    assert bytes(await handle.read(0, 10)) == b"data"
    assert await handle.getattr() == before
    provider.set_read_only(False)
    assert provider.traits.writable
    await handle.write(0, b"D")
    assert await get(provider, b"dir/file") == b"Data"
    await handle.release()
    await reader.release()


async def test_a_fork_of_a_read_only_tree_is_writable():
    provider = await filled()
    provider.set_read_only(True)
    fork = provider.fork()
    await put(fork, b"new", b"x")
    assert await get(fork, b"new") == b"x"
