"""Changes done again make the same tree: random ones, by a seed that a failure shows."""

from __future__ import annotations

import os
import random
import stat

import pytest
import trio

from providers.memory import MemoryProvider
from vfsd.attributes import Identity, SetAttr
from vfsd.persist.journal import Reader
from vfsd.persist.journaled import Journaled
from vfsd.persist.loading import load
from vfsd.persist.notes import Notes
from vfsd.persist.place import Place
from vfsd.persist.replaying import Replaying
from vfsd.snapshots.frozen import FrozenView

SEEDS = range(30)
STEPS = 120
NAMES = [b"a", b"b", b"c", b"\xff\n"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    place = Place("t")
    yield place
    place.close()


async def dump(tree) -> dict[bytes, object]:
    """Return all that is to be the same, by path; of links which names are one file."""
    found: dict[bytes, object] = {}
    numbers: dict[int, bytes] = {}
    waiting = [(b"", tree.root)]
    while waiting:
        path, node = waiting.pop()
        value = await tree.getattr(node)
        first = numbers.setdefault(node.number, path)
        xattrs = {name: await tree.getxattr(node, name) for name in await tree.listxattr(node)}
        content: object = None
        if stat.S_ISREG(value.mode):
            handle = await tree.open(node, os.O_RDONLY, Identity(0, 0))
            content = bytes(await handle.read(0, 1 << 20))
            await handle.release()
        elif stat.S_ISLNK(value.mode):
            content = await tree.readlink(node)
        elif stat.S_ISDIR(value.mode):
            for name in sorted(await tree.readdir(node), reverse=True):
                waiting.append((path + b"/" + name, (await tree.lookup(node, name)).node))
        kept = (value.mode, value.uid, value.gid, value.size, value.nlink, value.rdev)
        found[path] = (kept, value.mtime_ns, content, xattrs, first)
    return found


class Person:
    """Somebody who does random things to a tree, some of which fail."""

    def __init__(self, tree, chance: random.Random) -> None:
        self.tree = tree
        self.chance = chance
        self.open: list[tuple[object, object]] = []

    async def somewhere(self):
        """Return a random directory, and a random file or directory in it."""
        node = self.tree.root
        while True:
            names = await self.tree.readdir(node)
            inner = [each for each in [await self.tree.lookup(node, name) for name in names]]
            directories = [each.node for each in inner if stat.S_ISDIR(each.stat.mode)]
            if not directories or self.chance.random() < 0.4:
                files = [each.node for each in inner]
                return node, self.chance.choice([*files, node])
            node = self.chance.choice(directories)

    async def step(self) -> None:
        chance, tree = self.chance, self.tree
        who = Identity(chance.choice([0, 1000]), chance.choice([0, 1000]))
        directory, node = await self.somewhere()
        other, _ = await self.somewhere()
        name, new = chance.choice(NAMES), chance.choice(NAMES)
        data = chance.randbytes(chance.randrange(1, 3000))
        match chance.randrange(16):
            case 0 | 1:
                flags = os.O_RDWR | chance.choice([0, os.O_EXCL, os.O_TRUNC, os.O_APPEND])
                entry, handle = await tree.create(directory, name, 0o644, flags, who)
                self.open.append((entry.node, handle))
            case 2 | 3:
                flags = os.O_RDWR | chance.choice([0, os.O_APPEND, os.O_TRUNC])
                self.open.append((node, await tree.open(node, flags, who)))
            case 4 | 5 | 6 if self.open:
                await chance.choice(self.open)[1].write(chance.randrange(9000), data)
            case 7 if self.open:
                await chance.choice(self.open)[1].write_back(chance.randrange(9000), data)
            case 8:
                size = chance.choice([None, None, 0, 5000])
                mode = chance.choice([None, 0o4755, 0o600])
                if stat.S_ISLNK((await tree.getattr(node)).mode):
                    mode = None  # as the kernel has it
                mtime = chance.choice([None, 10**18])
                await tree.setattr(node, SetAttr(mode=mode, size=size, mtime_ns=mtime), who)
            case 9:
                await tree.mkdir(directory, name, chance.choice([0o755, 0o2755]), who)
            case 10:
                await tree.symlink(directory, name, b"to" + data[:9].hex().encode(), who)
            case 11:
                await tree.link(node, directory, name)
            case 12:
                await chance.choice([tree.unlink, tree.rmdir])(directory, name)
            case 13 | 14:
                await tree.rename(directory, name, other, new, chance.choice([0, 0, 1, 2]))
            case 15:
                await tree.setxattr(node, b"user.x", data[:20])
                if chance.random() < 0.3:
                    await tree.removexattr(node, b"user.x")

    async def end(self) -> None:
        for _, handle in self.open:
            await handle.release()


@pytest.mark.parametrize("seed", SEEDS)
async def test_the_tree_is_the_same_again(place, seed):
    chance = random.Random(seed)
    inner = MemoryProvider()
    notes = Notes(place, 0, inner)
    tree = Journaled(inner, notes, suspends=bool(seed % 2))
    person = Person(tree, chance)
    first, stored = 0, MemoryProvider()
    for step in range(STEPS):
        if step in (STEPS // 3, STEPS // 2) and seed % 3:
            # As the daemon does: from here on a new journal goes on from what is stored.
            await notes.sync()
            first = notes.begin()
            stored = MemoryProvider()
            await load(FrozenView(inner.snapshot()), stored)
            assert await dump(stored) == await dump(inner)
            notes.stored(first)
        try:
            await person.step()
        except OSError:
            continue
    await notes.sync()
    for number in [each for each in place.numbers() if each >= first]:
        reader = Reader(place.path(number), number, last=False)
        await Replaying(stored).run(reader, place.path(number))
    expected = await dump(inner)
    assert await dump(stored) == expected, f"seed {seed}"
    await person.end()
    notes.close()


async def test_several_who_sync_at_once_all_find_their_changes_on_disk(place):
    inner = MemoryProvider()
    notes = Notes(place, 0, inner)
    tree = Journaled(inner, notes, suspends=False)

    async def work(name: bytes) -> None:
        _, handle = await tree.create(tree.root, name, 0o644, os.O_RDWR, Identity(0, 0))
        await handle.write(0, name)
        await handle.fsync(datasync=False)
        found = [change[3] for change in Reader(place.path(0), 0, last=True) if "create" in change]
        assert name in found
        await handle.release()

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(work, b"%d" % number)
    notes.close()
