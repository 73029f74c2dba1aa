"""Copy-up: what is kept, what is copied, and who sees it."""

import errno
import os
import random
import stat

import pytest
import trio
import trio.testing

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider
from tests.unit.overlay.layering import append, number, overlay, sealed
from vfsd.conformance import File, Files
from vfsd.conformance.files import read_all
from vfsd.provider import Handle, Identity, SetAttr

USER = Identity(1000, 1000)
GIB = 1 << 30


async def test_numbers_survive_copy_up_rename_snapshot_and_fork():
    async with overlay({b"d/f": File(b"data"), b"g": File(b"other")}) as files:
        numbers = {path: await number(files, path) for path in (b"d", b"d/f", b"g")}
        assert len(set(numbers.values())) == 3
        assert all(1 < each < 1 << 48 for each in numbers.values())
        await append(files, b"d/f", b"!")
        await files.setattr(b"g", SetAttr(mode=0o600))
        await files.rename(b"d", b"e")
        await files.rename(b"g", b"e/h")
        moved = {b"e": b"d", b"e/f": b"d/f", b"e/h": b"g"}
        sealed_tree = files.provider.snapshot()
        fork = sealed_tree.fork()
        for each in (files, Files(sealed_tree), Files(fork)):
            for path, old in moved.items():
                assert await number(each, path) == numbers[old]
        await fork.aclose()
        await sealed_tree.aclose()


async def test_everything_is_kept():
    base = MemoryProvider()
    lower = Files(base)
    await lower.put(b"f", b"data")
    node = await lower.node(b"f")
    await base.setxattr(node, b"user.a", b"1")
    await base.setxattr(node, b"trusted.b", b"2")
    wanted = SetAttr(mode=0o4751, uid=7, gid=8, atime_ns=1, mtime_ns=2)
    await lower.setattr(b"f", wanted._replace(mode=None))
    await lower.setattr(b"f", SetAttr(mode=0o4751, atime_ns=1, mtime_ns=2))
    await lower.mknod(b"device", stat.S_IFBLK | 0o640, os.makedev(7, 3))
    await lower.mknod(b"fifo", stat.S_IFIFO | 0o600)
    async with overlay(base.snapshot()) as files:
        await files.provider.setxattr(await files.node(b"f"), b"user.c", b"3")
        info = await files.stat(b"f")
        assert (info.mode, info.uid, info.gid) == (stat.S_IFREG | 0o4751, 7, 8)
        assert (info.atime_ns, info.mtime_ns, info.size) == (1, 2, 4)
        names = await files.provider.listxattr(await files.node(b"f"))
        assert sorted(names) == [b"trusted.b", b"user.a", b"user.c"]
        for path in (b"device", b"fifo"):
            before = await files.stat(path)
            await files.rename(path, path + b"2")
            after = await files.stat(path + b"2")
            assert (after.mode, after.rdev, after.mtime_ns) == (
                before.mode,
                before.rdev,
                before.mtime_ns,
            )


async def test_directory_times_do_not_tell_of_copies():
    async with overlay({b"d/f": File(b"data")}) as files:
        before = await files.stat(b"d")
        await append(files, b"d/f", b"!")
        after = await files.stat(b"d")
        assert (after.mtime_ns, after.atime_ns) == (before.mtime_ns, before.atime_ns)


async def test_readers_follow():
    async with overlay({b"f": File(b"old data")}) as files, files.opened(b"f") as reader:
        assert await read_all(reader) == b"old data"
        await append(files, b"f", b", and new")
        assert await read_all(reader) == b"old data, and new"
        await files.unlink(b"f")
        assert await read_all(reader) == b"old data, and new"
        assert (await reader.getattr()).nlink == 0


async def test_unlinked_lower_file_changes_while_open():
    async with overlay({b"f": File(b"data")}) as files:
        node = await files.node(b"f")
        async with files.opened(b"f") as reader:
            await files.unlink(b"f")
            changed = await files.provider.setattr(node, SetAttr(mode=0o600), USER)
            assert (changed.nlink, stat.S_IMODE(changed.mode)) == (0, 0o600)
            assert await read_all(reader) == b"data"
            assert not await files.exists(b"f")
            await files.put(b"f", b"another")
            assert await read_all(reader) == b"data"
        with pytest.raises(OSError) as caught:
            await files.provider.getattr(node)
        assert caught.value.errno == errno.ESTALE


async def test_marks_cannot_be_forged_or_seen():
    async with overlay({b"d/f": File(b"data")}, {b"d/g": File(b"below")}) as files:
        provider = files.provider
        node = await files.node(b"d")
        await provider.setxattr(node, b"user.overlay.opaque", b"y")
        await provider.setxattr(node, b"trusted.overlay.redirect", b"/elsewhere")
        assert await files.names(b"d") == [b"f", b"g"]
        fresh = Files(provider.fork())
        assert await fresh.names(b"d") == [b"f", b"g"]
        assert await provider.getxattr(node, b"user.overlay.opaque") == b"y"
        listed = sorted(await provider.listxattr(node))
        assert listed == [b"trusted.overlay.redirect", b"user.overlay.opaque"]
        await provider.removexattr(node, b"user.overlay.opaque")
        with pytest.raises(OSError) as caught:
            await provider.getxattr(node, b"user.overlay.vfsd")
        assert caught.value.errno == errno.ENODATA
        with pytest.raises(OSError) as caught:
            await files.mknod(b"d/h", stat.S_IFCHR | 0o600, 0)
        assert caught.value.errno == errno.EPERM
        await fresh.provider.aclose()


class Endless(Handle):
    """Says where in the file each byte is; counts what is read."""

    def __init__(self, owner):
        self.owner = owner

    async def read(self, offset, size):
        size = max(0, min(size, self.owner.size - offset))
        self.owner.read_bytes += size
        return pattern(offset, size)

    async def getattr(self):
        return await self.owner.getattr(self.owner.root)


def pattern(offset, size):
    """Return what stands there in the large file."""
    pages = range(offset // 4096, (offset + size + 4095) // 4096)
    return b"".join(bytes([page % 251]) * 4096 for page in pages)[offset % 4096 :][:size]


class Large(MemoryProvider):
    """Serves every file as one of `size` bytes that takes no memory."""

    size = 4 * GIB
    read_bytes = 0

    async def open(self, node, flags, caller):
        return Endless(self)

    async def lookup(self, parent, name):
        entry = await super().lookup(parent, name)
        return entry._replace(stat=entry.stat._replace(size=self.size))

    async def getattr(self, node):
        return (await super().getattr(node))._replace(size=self.size)


async def large():
    base = Large()
    await MemoryProvider.create(base, base.root, b"f", 0o644, os.O_RDWR, USER)
    base.size = 4 * GIB
    return base


async def test_writing_into_a_large_file_copies_next_to_nothing():
    base = await large()
    upper = MemoryProvider(size_bytes=1 << 20)
    async with overlay(base, upper=upper) as files:
        at = 3 * GIB + 100
        async with files.opened(b"f", os.O_RDWR) as handle:
            assert await handle.write(at, b"x" * 4096) == 4096
            assert base.read_bytes <= 1 << 18
            expected = bytearray(pattern(at - 5000, 20_000))
            expected[5000 : 5000 + 4096] = b"x" * 4096
            assert await handle.read(at - 5000, 20_000) == bytes(expected)
            assert bytes(await handle.read(GIB, 10)) == pattern(GIB, 10)
        assert (await files.stat(b"f")).size == 4 * GIB
        assert upper.statistics()["used_bytes"] < 1 << 19
        await files.setattr(b"f", SetAttr(mode=0o600))
        fork = Files(files.provider.fork())
        async with fork.opened(b"f", os.O_RDWR) as handle:
            await handle.write(at, b"forked")
            assert await handle.read(at - 4, 14) == pattern(at - 4, 4) + b"forked" + b"xxxx"
        async with files.opened(b"f") as reader:
            assert await reader.read(at, 6) == b"xxxxxx"
        await fork.provider.aclose()


async def test_what_was_cut_off_does_not_come_back():
    base = await large()
    async with overlay(base) as files:
        await files.setattr(b"f", SetAttr(size=GIB + 10))
        await files.setattr(b"f", SetAttr(size=2 * GIB))
        async with files.opened(b"f", os.O_RDWR) as handle:
            read = bytes(await handle.read(GIB, 30))
            assert read == pattern(GIB, 10) + bytes(20)
            await handle.write(GIB + 5, b"!")
            assert bytes(await handle.read(GIB, 12)) == pattern(GIB, 5) + b"!" + pattern(
                GIB + 6, 4
            ) + bytes(2)
        async with files.opened(b"f", os.O_RDWR | os.O_APPEND) as handle:
            await handle.write(0, b"end")
            assert bytes(await handle.read(2 * GIB - 2, 10)) == b"\0\0end"


async def test_random_writes_against_a_plain_copy():

    chance = random.Random(5)
    content = bytearray(chance.randbytes(700_000))
    async with overlay({b"f": File(bytes(content))}) as files:
        async with files.opened(b"f", os.O_RDWR) as handle:
            for _ in range(60):
                offset, size = chance.randrange(750_000), chance.choice((1, 4096, 70_000, 200_000))
                if chance.random() < 0.15:
                    await files.setattr(b"f", SetAttr(size=offset))
                    del content[offset:]
                    content.extend(bytes(max(0, offset - len(content))))
                    continue
                data = chance.randbytes(size)
                await handle.write(offset, data)
                content.extend(bytes(max(0, offset + size - len(content))))
                content[offset : offset + size] = data
                start = chance.randrange(len(content))
                assert bytes(await handle.read(start, 90_000)) == content[start : start + 90_000]
            assert await read_all(handle) == content
        assert files.provider.statistics()["partial_files"] == 1
        assert await files.provider.layer() is not None
        assert files.provider.statistics()["partial_files"] == 0
        assert await files.get(b"f") == content


async def test_a_cancelled_copy_leaves_nothing():

    base = await large()

    class Slow(Endless):
        async def read(self, offset, size):
            await trio.sleep_forever()

    base.size = 100_000
    base.open = lambda node, flags, caller: _immediately(Slow(base))
    upper = MemoryProvider()
    async with overlay(base, upper=upper) as files:
        used = upper.statistics()["present_files"]
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(files.setattr, b"f", SetAttr(size=90_000))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert upper.statistics()["present_files"] == used
        assert (await files.stat(b"f")).size == 100_000


async def _immediately(value):
    return value


async def test_read_only_view_changes_nothing():
    view = await OverlayProvider.over(None, [await sealed({b"f": File(b"x")})])
    files = Files(view)
    assert view.traits.immutable
    for attempt in (files.unlink(b"f"), files.put(b"g"), files.setattr(b"f", SetAttr(mode=0))):
        with pytest.raises(OSError) as caught:
            await attempt
        assert caught.value.errno == errno.EROFS
    with pytest.raises(OSError) as caught:
        view.fork()
    assert caught.value.errno == errno.EOPNOTSUPP
    await view.aclose()
