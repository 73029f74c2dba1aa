"""Extended attributes and their limits, as tmpfs and the kernel have them."""

import os

import pytest

from providers.memory import MemoryProvider
from tests.unit.memory.trees import ADMIN, check_books, mkdir, put, raises
from vfsd.attributes import Identity, SetAttr

ENODATA, EOPNOTSUPP, ERANGE, E2BIG, ENOSPC, EINVAL = 61, 95, 34, 7, 28, 22


@pytest.fixture
def provider():
    return MemoryProvider()


async def test_set_replace_list_remove(provider):
    node = await put(provider, b"file")
    assert await provider.listxattr(node) == ()
    for name in (b"user.a", b"trusted.b", b"security.c"):
        await provider.setxattr(node, name, name * 2)
    assert await provider.getxattr(node, b"trusted.b") == b"trusted.btrusted.b"
    await provider.setxattr(node, b"user.a", b"")
    assert await provider.getxattr(node, b"user.a") == b""
    assert sorted(await provider.listxattr(node)) == [b"security.c", b"trusted.b", b"user.a"]
    await provider.removexattr(node, b"trusted.b")
    for attempt in (provider.getxattr, provider.removexattr):
        with raises(ENODATA):
            await attempt(node, b"trusted.b")
    check_books(provider)


async def test_on_every_type_of_file(provider):
    root = provider.root
    nodes = [
        root,
        await mkdir(provider, b"dir"),
        (await provider.symlink(root, b"link", b"x", ADMIN)).node,
        (await provider.mknod(root, b"pipe", 0o010644, 0, ADMIN)).node,
    ]
    for node in nodes:
        await provider.setxattr(node, b"trusted.overlay.opaque", b"y")
        assert await provider.listxattr(node) == (b"trusted.overlay.opaque",)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (b"", ERANGE),
        (b"user." + b"n" * 251, ERANGE),
        (b"user.", EINVAL),
        (b"user", EOPNOTSUPP),
        (b"other.name", EOPNOTSUPP),
        (b"system.posix_acl_access", EOPNOTSUPP),
    ],
)
async def test_names_that_are_refused(provider, name, code):
    node = await put(provider, b"file")
    with raises(code):
        await provider.setxattr(node, name, b"")
    with raises(code):
        await provider.getxattr(node, name)
    with raises(code):
        await provider.removexattr(node, name)


async def test_the_largest_name_and_value(provider):
    node = await put(provider, b"file")
    name = b"user." + b"n" * 250
    await provider.setxattr(node, name, bytes(65536))
    with raises(E2BIG):
        await provider.setxattr(node, name, bytes(65537))
    assert len(await provider.getxattr(node, name)) == 65536


async def test_no_more_names_than_listxattr_can_give(provider):
    node = await put(provider, b"file")
    count = 65536 // 256
    for number in range(count):
        await provider.setxattr(node, b"user.%0250d" % number, b"")
    with raises(ENOSPC):
        await provider.setxattr(node, b"user.a", b"")
    await provider.setxattr(node, b"user.%0250d" % 3, b"replaced")
    assert sum(len(name) + 1 for name in await provider.listxattr(node)) == 65536


async def test_only_a_change_changes_ctime(provider):
    node = await put(provider, b"file")
    before = await provider.getattr(node)
    await provider.setxattr(node, b"user.a", b"1")
    set_at = await provider.getattr(node)
    assert set_at.ctime_ns > before.ctime_ns
    assert set_at.mtime_ns == before.mtime_ns
    with raises(ENODATA):
        await provider.removexattr(node, b"user.b")
    assert await provider.getattr(node) == set_at


async def test_a_snapshot_keeps_its_own(provider):
    node = await put(provider, b"file")
    await provider.setxattr(node, b"user.a", b"1")
    snapshot = provider.snapshot()
    await provider.setxattr(node, b"user.a", b"2")
    await provider.setxattr(node, b"user.b", b"3")
    assert await snapshot.getxattr(node, b"user.a") == b"1"
    assert await snapshot.listxattr(node) == (b"user.a",)


@pytest.mark.parametrize("change", ["write", "truncate", "chown"])
async def test_capabilities_fall_when_the_file_changes(change):
    provider = MemoryProvider(uid=0, gid=0)
    me = Identity(0, 0)
    entry, handle = await provider.create(provider.root, b"f", 0o755, os.O_RDWR, me)
    await provider.setxattr(entry.node, b"security.capability", b"some")
    await provider.setxattr(entry.node, b"user.kept", b"1")
    if change == "write":
        await handle.write(0, b"x")
    elif change == "truncate":
        await provider.setattr(entry.node, SetAttr(size=0), me)
    else:
        await provider.setattr(entry.node, SetAttr(uid=0), me)
    assert list(await provider.listxattr(entry.node)) == [b"user.kept"]
    await provider.setattr(entry.node, SetAttr(mode=0o700), me)
    assert provider.statistics()["used_bytes"] == len(b"user.kept1") + (
        4096 if change == "write" else 0
    )
    await handle.release()
