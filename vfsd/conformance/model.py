"""The model test: random operations on a provider and on a dict that cannot be wrong.

After each operation the outcome is compared, and every so often the whole tree, in each
*world*: the provider itself, its forks, and (never changing) its snapshots. A failure names
the seed and the last operations; the same seed repeats it. Seeds are fixed, so that a run is
reproducible; `VFSD_MODEL_SEED` adds one (a number, or ``random``).

Concurrency: one task; the races are in vfsd/conformance/areas/atomicity.py.
"""

from __future__ import annotations

import errno
import os
import random
from collections import deque
from collections.abc import Awaitable, Callable

from vfsd.conformance.check import EMPTY, Check
from vfsd.conformance.expect import CheckFailed, equal
from vfsd.conformance.files import Files
from vfsd.conformance.oracle import Item, Oracle, write_into
from vfsd.conformance.world import World, compare_handle
from vfsd.provider import SetAttr

STEPS = 800
COMPARE_EVERY = 40
WORLDS_MAX = 4
HANDLES_MAX = 4
SEEDS = (1, 2, 3, 4)

_NAMES = (b"a", b"b", b"c", b"\xff\n")
_SIZES = (0, 1, 100, 4096, 5000, 70_000)


class Model:
    """One run: `steps` operations drawn from `seed`."""

    def __init__(self, files: Files, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.worlds = [World("the provider", files, Oracle())]
        self.sealed: list[World] = []
        self.log: deque[str] = deque(maxlen=12)
        self.made = 0
        operations: list[tuple[int, Callable[[World], Awaitable[None]]]] = [
            (10, self._create),
            (10, self._write),
            (4, self._truncate),
            (6, self._mkdir),
            (3, self._symlink),
            (6, self._unlink),
            (4, self._rmdir),
            (12, self._rename),
            (4, self._hold),
            (4, self._use_held),
            (3, self._drop),
            (1, self._snapshot),
            (1, self._fork),
            (1, self._discard),
        ]
        traits = files.traits
        if traits.hard_links:
            operations.append((5, self._link))
        if traits.xattrs:
            operations.append((4, self._xattr))
        self.weights, self.operations = zip(*operations, strict=True)

    async def run(self, steps: int = STEPS) -> None:
        """Run, and compare all worlds at the end. CheckFailed names the seed."""
        try:
            for step in range(steps):
                world = self.chance.choice(self.worlds)
                operation = self.chance.choices(self.operations, self.weights)[0]
                await operation(world)
                if step % COMPARE_EVERY == 0:
                    await self._compare_all()
            await self._compare_all()
        except Exception as error:
            story = "\n  ".join(self.log)
            text = f"seed {self.seed}: {error!r}; the last operations:\n  {story}"
            raise CheckFailed(text) from error
        finally:
            for world in self.worlds:
                while world.handles:
                    await world.handles.pop()[0].release()

    # -- drawing --------------------------------------------------------------------------

    def _path(self, world: World) -> bytes:
        path = b""
        for _ in range(self.chance.choice((1, 1, 2, 2, 3, 4))):
            if not world.oracle.is_directory(path):
                break
            name = self.chance.choice(_NAMES)
            path = path + b"/" + name if path else name
        return path

    def _existing(self, world: World, kind: str) -> bytes | None:
        paths = [path for path, item in world.oracle.items.items() if item.kind == kind]
        return self.chance.choice(paths) if paths else None

    def _bytes(self) -> bytes:
        return self.chance.randbytes(1) * self.chance.choice(_SIZES)

    def _note(self, world: World, text: str) -> None:
        self.log.append(f"{world.label}: {text}")

    async def _try(
        self, world: World, text: str, errors: set[int], attempt: Awaitable[object]
    ) -> bool:
        self._note(world, text)
        try:
            await attempt
        except OSError as error:
            names = [errno.errorcode[code] for code in errors]
            if error.errno not in errors:
                found = errno.errorcode.get(error.errno or 0)
                raise CheckFailed(f"{text}: found {found}, expected {names or 'success'}") from None
            return False
        if errors:
            names = [errno.errorcode[code] for code in errors]
            raise CheckFailed(f"{text}: it succeeded, expected {names}")
        return True

    # -- operations -----------------------------------------------------------------------

    async def _create(self, world: World) -> None:
        path = self._path(world)
        errors = world.oracle.make_errors(path)

        async def create() -> None:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            _, handle = await world.files.create(path, flags)
            await handle.release()

        if await self._try(world, f"create {path!r}", errors, create()):
            world.oracle.items[path] = Item("file")

    async def _mkdir(self, world: World) -> None:
        path = self._path(world)
        errors = world.oracle.make_errors(path)
        if await self._try(world, f"mkdir {path!r}", errors, world.files.mkdir(path)):
            world.oracle.items[path] = Item("directory")

    async def _symlink(self, world: World) -> None:
        # A target that stays inside, wherever renames carry it: some providers judge targets.
        path = self._path(world)
        target = b"./" * self.chance.randrange(3) + self._path(world)
        errors = world.oracle.make_errors(path)
        if await self._try(world, f"symlink {path!r}", errors, world.files.symlink(path, target)):
            world.oracle.items[path] = Item("symlink", target=target)

    async def _link(self, world: World) -> None:
        path, new_path = self._existing(world, "file"), self._path(world)
        if path is None:
            return
        errors = world.oracle.make_errors(new_path)
        text = f"link {path!r} {new_path!r}"
        if await self._try(world, text, errors, world.files.link(path, new_path)):
            world.oracle.link(path, new_path)

    async def _unlink(self, world: World) -> None:
        path = self._path(world)
        errors = world.oracle.unlink_errors(path)
        if await self._try(world, f"unlink {path!r}", errors, world.files.unlink(path)):
            world.oracle.unlink(path)

    async def _rmdir(self, world: World) -> None:
        path = self._path(world)
        errors = world.oracle.rmdir_errors(path)
        if await self._try(world, f"rmdir {path!r}", errors, world.files.rmdir(path)):
            world.oracle.unlink(path)

    async def _rename(self, world: World) -> None:
        path, new_path = self._path(world), self._path(world)
        flags = self.chance.choice((0, 0, 0, 1, 2))
        errors = world.oracle.rename_errors(path, new_path, flags)
        text = f"rename {path!r} {new_path!r} {flags}"
        if await self._try(world, text, errors, world.files.rename(path, new_path, flags)):
            world.oracle.rename(path, new_path, flags)

    async def _write(self, world: World) -> None:
        path = self._existing(world, "file")
        if path is None:
            return
        append = self.chance.random() < 0.3
        offset, data = self.chance.choice(_SIZES), self._bytes()
        self._note(world, f"write {path!r} {offset} {len(data)} append={append}")
        async with world.files.opened(path, os.O_WRONLY | (os.O_APPEND if append else 0)) as handle:
            equal(await handle.write(offset, data), len(data), "bytes written")
        if append:
            offset = len(world.oracle.items[path].data)
        if data:
            world.oracle.write(path, offset, data)

    async def _truncate(self, world: World) -> None:
        path, size = self._existing(world, "file"), self.chance.choice(_SIZES)
        if path is not None:
            self._note(world, f"truncate {path!r} {size}")
            await world.files.setattr(path, SetAttr(size=size))
            world.oracle.truncate(path, size)

    async def _xattr(self, world: World) -> None:
        path = self._existing(world, self.chance.choice(("file", "directory")))
        if path is None:
            return
        name, value = b"user." + self.chance.choice(_NAMES), self._bytes()[:200]
        provider, node = world.files.provider, await world.files.node(path)
        known = world.oracle.items[path].xattrs
        if self.chance.random() < 0.6:
            self._note(world, f"setxattr {path!r} {name!r}")
            await provider.setxattr(node, name, value)
            known[name] = value
            return
        errors = set() if name in known else {errno.ENODATA}
        text = f"removexattr {path!r} {name!r}"
        if await self._try(world, text, errors, provider.removexattr(node, name)):
            del known[name]

    async def _hold(self, world: World) -> None:
        path = self._existing(world, "file")
        if path is not None and len(world.handles) < HANDLES_MAX:
            self._note(world, f"open {path!r}")
            node = await world.files.node(path)
            handle = await world.files.provider.open(node, os.O_RDWR, world.files.caller)
            world.handles.append((handle, world.oracle.items[path]))

    async def _use_held(self, world: World) -> None:
        if world.handles:
            handle, item = self.chance.choice(world.handles)
            offset, data = self.chance.choice(_SIZES), self._bytes()
            self._note(world, f"write {offset} {len(data)} through a handle")
            await handle.write(offset, data)
            if data:
                write_into(item.data, offset, data)

    async def _drop(self, world: World) -> None:
        if world.handles:
            handle, item = world.handles.pop(self.chance.randrange(len(world.handles)))
            self._note(world, "close a handle")
            await compare_handle(handle, item)
            await handle.release()

    async def _snapshot(self, world: World) -> None:
        try:
            provider = world.files.provider.snapshot()
        except OSError as error:
            equal(error.errno, errno.EOPNOTSUPP, "errno of snapshot")
            return
        self.made += 1
        self._note(world, f"snapshot {self.made}")
        sealed = World(f"snapshot {self.made}", Files(provider), world.oracle.copy())
        self.sealed.append(sealed)
        if len(self.sealed) > WORLDS_MAX:
            await self._close(self.sealed.pop(0))

    async def _fork(self, world: World) -> None:
        source = self.chance.choice([world, *self.sealed])
        if len(self.worlds) >= WORLDS_MAX:
            return
        try:
            provider = source.files.provider.fork()
        except OSError as error:
            equal(error.errno, errno.EOPNOTSUPP, "errno of fork")
            return
        self.made += 1
        self._note(source, f"fork {self.made}")
        self.worlds.append(World(f"fork {self.made}", Files(provider), source.oracle.copy()))

    async def _discard(self, world: World) -> None:
        """Close a snapshot or a fork, wherever it stands in the chain: the others must stay."""
        versions = [*self.worlds[1:], *self.sealed]
        if not versions:
            return
        gone = self.chance.choice(versions)
        (self.worlds if gone in self.worlds else self.sealed).remove(gone)
        await self._close(gone)

    async def _close(self, world: World) -> None:
        self._note(world, "it is closed")
        while world.handles:
            await world.handles.pop()[0].release()
        await world.files.provider.aclose()

    async def _compare_all(self) -> None:
        for world in (*self.worlds, *self.sealed):
            await world.compare()


def seeds() -> tuple[int, ...]:
    """Return the fixed seeds and the one from `VFSD_MODEL_SEED`."""
    wanted = os.environ.get("VFSD_MODEL_SEED")
    if not wanted:
        return SEEDS
    drawn = random.SystemRandom().randrange(1 << 32) if wanted == "random" else int(wanted)
    return (*(seed for seed in SEEDS if seed != drawn), drawn)


def _model_check(seed: int) -> Check:
    async def run(files: Files) -> None:
        await Model(files, seed).run()

    return Check(f"model_seed_{seed}", "model", run, ("writable",), (), EMPTY)


MODEL = tuple(_model_check(seed) for seed in seeds())
