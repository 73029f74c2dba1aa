"""Random operations on a tree, its snapshots and forks, against plain dicts.

Each world is a provider and what it must hold. After every few operations the books of all
worlds are counted anew and their trees compared, so that a change which leaks from one version
into another shows. The conformance suite has a model test too; this one knows the provider's
insides, and forks far more often. A failure prints its seed.
"""

from __future__ import annotations

import copy
import errno
import os
import random

import pytest

from providers.memory import MemoryProvider
from providers.memory.chunks import CHUNK
from tests.unit.memory.trees import ADMIN, check_books, find, open_at, parent_of
from vfsd.provider import SetAttr

NAMES = (b"a", b"b", b"c", b"d")
STEPS = 2000
WORLDS_MAX = 6
WEIGHTS = {
    "create": 3, "write": 3, "truncate": 1, "mkdir": 3, "unlink": 1, "rmdir": 1, "link": 2,
    "rename": 2, "exchange": 1, "xattr": 1, "chmod": 1, "hold": 1, "held": 2, "drop": 1,
    "snapshot": 0.5, "fork": 0.5, "forget": 0.5,
}  # fmt: skip
ACTIONS = [name for name, weight in WEIGHTS.items() for _ in range(int(weight * 2))]


class File:
    """A file of the oracle; hard links are one object under several names."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.mode = 0o644
        self.xattrs: dict[bytes, bytes] = {}


class World:
    def __init__(self, provider: MemoryProvider, tree: dict) -> None:
        self.provider = provider
        self.tree = tree
        self.open: list[tuple[object, File]] = []

    def split(self, provider: MemoryProvider) -> World:
        return World(provider, copy.deepcopy(self.tree))

    def at(self, path: bytes):
        item = self.tree
        for name in path.split(b"/") if path else ():
            if not isinstance(item, dict):
                return errno.ENOTDIR
            if name not in item:
                return errno.ENOENT
            item = item[name]
        return item


class Model:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.worlds = [World(MemoryProvider(size_bytes=1 << 30, inodes=10_000), {})]
        self.snapshots: list[World] = []

    def path(self, world: World) -> bytes:
        """Choose a path whose directory is there; the last name may be or not."""
        path, item = b"", world.tree
        while isinstance(item, dict):
            name = self.chance.choice(NAMES)
            path = path + b"/" + name if path else name
            item = item.get(name)
            if self.chance.random() < 0.5:
                break
        return path

    def place(self, world: World, path: bytes) -> tuple[dict, bytes]:
        above, _, name = path.rpartition(b"/")
        return world.at(above), name

    async def expect(self, call, code: int | None) -> object:
        """Await `call`; it must fail with `code`, or succeed if that is None."""
        try:
            result = await call
        except OSError as error:
            found = error.errno
        else:
            found = None
        assert found == code, f"{found and errno.errorcode[found]} instead of {code}"
        return None if found else result

    async def step(self) -> None:
        world = self.chance.choice(self.worlds)
        await getattr(self, self.chance.choice(ACTIONS))(world)

    async def create(self, world: World) -> None:
        path = self.path(world)
        into, name = self.place(world, path)
        parent, _ = await parent_of(world.provider, path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        code = errno.EEXIST if name in into else None
        made = await self.expect(world.provider.create(parent, name, 0o644, flags, ADMIN), code)
        if made is not None:
            into[name] = File()
            await made[1].release()

    async def mkdir(self, world: World) -> None:
        path = self.path(world)
        into, name = self.place(world, path)
        parent, _ = await parent_of(world.provider, path)
        code = errno.EEXIST if name in into else None
        if await self.expect(world.provider.mkdir(parent, name, 0o755, ADMIN), code):
            into[name] = {}

    def change(self, item: File) -> tuple[int, bytes]:
        offset = self.chance.choice((0, len(item.data), self.chance.randrange(2 * CHUNK)))
        data = self.chance.randbytes(self.chance.choice((1, 50, 5000))) * self.chance.choice((1, 9))
        item.data.extend(bytes(max(0, offset - len(item.data))))
        item.data[offset : offset + len(data)] = data
        return offset, data

    async def write(self, world: World) -> None:
        path = self.path(world)
        item = world.at(path)
        if isinstance(item, File):
            handle = await open_at(world.provider, path, os.O_RDWR)
            offset, data = self.change(item)
            assert await handle.write(offset, data) == len(data)
            await handle.release()

    async def truncate(self, world: World) -> None:
        path = self.path(world)
        item = world.at(path)
        if isinstance(item, File):
            size = self.chance.choice((0, 10, CHUNK, self.chance.randrange(2 * CHUNK)))
            node = (await find(world.provider, path)).node
            await world.provider.setattr(node, SetAttr(size=size), ADMIN)
            del item.data[size:]
            item.data.extend(bytes(size - len(item.data)))

    async def unlink(self, world: World) -> None:
        path = self.path(world)
        into, name = self.place(world, path)
        parent, _ = await parent_of(world.provider, path)
        item = into.get(name)
        code = {type(None): errno.ENOENT, dict: errno.EISDIR}.get(type(item))
        await self.expect(world.provider.unlink(parent, name), code)
        if code is None:
            del into[name]

    async def rmdir(self, world: World) -> None:
        path = self.path(world)
        into, name = self.place(world, path)
        parent, _ = await parent_of(world.provider, path)
        item = into.get(name)
        code = {type(None): errno.ENOENT, File: errno.ENOTDIR}.get(type(item))
        if code is None and item:
            code = errno.ENOTEMPTY
        await self.expect(world.provider.rmdir(parent, name), code)
        if code is None:
            del into[name]

    async def link(self, world: World) -> None:
        path, new = self.path(world), self.path(world)
        item = world.at(path)
        if isinstance(item, int):
            return
        into, name = self.place(world, new)
        parent, _ = await parent_of(world.provider, new)
        node = (await find(world.provider, path)).node
        code = errno.EEXIST if name in into else errno.EPERM if isinstance(item, dict) else None
        await self.expect(world.provider.link(node, parent, name), code)
        if code is None:
            into[name] = item

    async def rename(self, world: World, flags: int = 0) -> None:
        path, new = self.path(world), self.path(world)
        source, name = self.place(world, path)
        target, new_name = self.place(world, new)
        flags = flags or self.chance.choice((0, 0, 1))
        code = self.rename_code(source.get(name), target, target.get(new_name), flags)
        if code is None and flags == 2 and holds(target[new_name], source):
            code = errno.EINVAL
        parent, _ = await parent_of(world.provider, path)
        new_parent, _ = await parent_of(world.provider, new)
        await self.expect(world.provider.rename(parent, name, new_parent, new_name, flags), code)
        if code is None and source.get(name) is not target.get(new_name):
            moved, replaced = source.pop(name), target.pop(new_name, None)
            target[new_name] = moved
            if flags == 2:
                source[name] = replaced

    def rename_code(self, item, target: dict, replaced, flags: int) -> int | None:
        if item is None:
            return errno.ENOENT
        if flags == 1 and replaced is not None:
            return errno.EEXIST
        if flags == 2 and replaced is None:
            return errno.ENOENT
        if item is replaced:
            return None
        if holds(item, target):
            return errno.EINVAL
        if flags == 2 or replaced is None:
            return None
        if isinstance(item, dict):
            if isinstance(replaced, File):
                return errno.ENOTDIR
            return errno.ENOTEMPTY if replaced else None
        return errno.EISDIR if isinstance(replaced, dict) else None

    async def exchange(self, world: World) -> None:
        await self.rename(world, flags=2)

    async def xattr(self, world: World) -> None:
        path = self.path(world)
        item = world.at(path)
        if isinstance(item, File):
            node = (await find(world.provider, path)).node
            name = self.chance.choice((b"user.a", b"trusted.b"))
            if name in item.xattrs and self.chance.random() < 0.4:
                await world.provider.removexattr(node, name)
                del item.xattrs[name]
            else:
                value = self.chance.randbytes(self.chance.choice((0, 10, 5000)))
                await world.provider.setxattr(node, name, value)
                item.xattrs[name] = value

    async def chmod(self, world: World) -> None:
        path = self.path(world)
        item = world.at(path)
        if isinstance(item, File):
            item.mode = self.chance.randrange(0o10000)
            node = (await find(world.provider, path)).node
            await world.provider.setattr(node, SetAttr(mode=item.mode), ADMIN)

    async def hold(self, world: World) -> None:
        path = self.path(world)
        item = world.at(path)
        if isinstance(item, File) and len(world.open) < 4:
            world.open.append((await open_at(world.provider, path, os.O_RDWR), item))

    async def held(self, world: World) -> None:
        if world.open:
            handle, item = self.chance.choice(world.open)
            offset, data = self.change(item)
            assert await handle.write(offset, data) == len(data)
            assert await handle.read(0, len(item.data)) == item.data

    async def drop(self, world: World) -> None:
        if world.open:
            handle, item = world.open.pop(self.chance.randrange(len(world.open)))
            assert await handle.read(0, len(item.data) + 1) == item.data
            await handle.release()

    async def snapshot(self, world: World) -> None:
        self.snapshots.append(world.split(world.provider.snapshot()))

    async def fork(self, world: World) -> None:
        if len(self.worlds) < WORLDS_MAX:
            source = self.chance.choice((world, *self.snapshots))
            self.worlds.append(source.split(source.provider.fork()))

    async def forget(self, world: World) -> None:
        """Drop a snapshot or a fork."""
        if self.snapshots and self.chance.random() < 0.5:
            gone = self.snapshots.pop(self.chance.randrange(len(self.snapshots)))
            await gone.provider.aclose()
        elif len(self.worlds) > 1 and not world.open:
            self.worlds.remove(world)
            await world.provider.aclose()

    async def compare(self) -> None:
        for world in (*self.worlds, *self.snapshots):
            check_books(world.provider)
            await self.compare_directory(world, b"", world.tree, {})

    async def compare_directory(self, world: World, path: bytes, wanted: dict, numbers) -> None:
        provider = world.provider
        assert sorted(await provider.readdir((await find(provider, path)).node)) == sorted(wanted)
        for name, item in wanted.items():
            below = path + b"/" + name if path else name
            entry = await find(provider, below)
            assert numbers.setdefault(id(item), entry.node.number) == entry.node.number
            if isinstance(item, dict):
                await self.compare_directory(world, below, item, numbers)
                continue
            assert entry.stat.size == len(item.data)
            assert entry.stat.mode & 0o7777 == item.mode
            handle = await open_at(provider, below, os.O_RDONLY)
            assert await handle.read(0, len(item.data) + 1) == item.data
            await handle.release()
            node = entry.node
            found = {key: await provider.getxattr(node, key) for key in item.xattrs}
            assert found == item.xattrs
            assert set(await provider.listxattr(node)) == set(item.xattrs)


def holds(item, directory: dict) -> bool:
    """Say whether the directory `item` is `directory` or stands above it."""
    if not isinstance(item, dict):
        return False
    return item is directory or any(holds(below, directory) for below in item.values())


@pytest.mark.parametrize(
    "seed", [*range(1, 9), random.SystemRandom().randrange(10**9)], ids="s{}".format
)
async def test_equals_the_model(seed):
    print("seed", seed)
    model = Model(seed)
    for step in range(STEPS):
        await model.step()
        if step % 50 == 0:
            await model.compare()
    for world in model.worlds:
        while world.open:
            await model.drop(world)
    await model.compare()
