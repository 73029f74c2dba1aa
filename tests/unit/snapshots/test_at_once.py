"""Many processes at one store: saving, forking, removing, settling and collecting at once.

Every snapshot says itself what it must show: `all` lists its files, those of what it was forked
from included. Whatever the order of events, a fork shows just these as long as its lease holds.
"""

from __future__ import annotations

import os
import random
import sys
import traceback
from contextlib import suppress

import pytest

from tests.unit.snapshots.storeworld import World
from vfsd.snapshots.collection import collect, remove
from vfsd.snapshots.folding import LAYERS_SOON, fold_if_deep
from vfsd.snapshots.refusals import InUse, NameTaken, NotFound
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store
from vfsd.snapshots.verification import verify

PROCESSES = 6
STEPS = 60
NAMES = [f"s{number}" for number in range(12)]


class Worker:
    def __init__(self, world: World, number: int) -> None:
        self._rng = random.Random(number)
        self._number = number
        self._world = World.__new__(World)
        self._world.__dict__.update(vars(world))
        self._world.store = Store(str(world.root))
        self._world._made = number * 10_000

    def run(self) -> None:
        for step in range(STEPS):
            action = self._rng.choices(
                [self.save, self.look, self.gone, self.gc, self.settled], [6, 6, 3, 1, 2]
            )[0]
            action(self._rng.choice(NAMES), step)

    def save(self, name: str, step: int) -> None:
        token = f"t-{self._number}-{step}"
        replace = self._rng.random() < 0.3
        parent = self._rng.choice([None, *NAMES])
        with suppress(NotFound, NameTaken):
            if parent is None:
                self._save(name, token, [], (), replace)
                return
            with self._world.store.lease(parent) as lease:
                with lease.view() as view, view.open(b"all") as file:
                    above = file.read().decode().split()
                self._save(name, token, above, lease.snapshot.chain, replace)

    def _save(self, name, token, above, chain, replace) -> None:
        files = {token: token, "all": " ".join([*above, token])}
        self._world.store.save_directory(
            name, self._world.upper(files), chain=chain, replace=replace
        )

    def look(self, name: str, step: int) -> None:
        try:
            lease = self._world.store.lease(name)
        except NotFound:
            return
        with lease:
            for _ in range(2):
                check(lease)

    def gone(self, name: str, step: int) -> None:
        with suppress(NotFound, InUse):
            remove(self._world.store, name, force=self._rng.random() < 0.5)

    def gc(self, name: str, step: int) -> None:
        collect(self._world.store)

    def settled(self, name: str, step: int) -> None:
        with suppress(NotFound):
            settle(self._world.store, name)
            fold_if_deep(self._world.store, name)


def check(lease) -> None:
    assert all(os.path.isdir(lower) for lower in lease.lowerdirs())
    with lease.view() as view:
        with view.open(b"all") as file:
            expected = file.read().split()
        assert set(view.scan(b"")) == {b"all", *expected}
        for name in expected:
            with view.open(name) as file:
                assert file.read() == name


@pytest.mark.parametrize("deep", [False, True], ids=["flat", "over a deep chain"])
def test_whatever_happens_at_once(world, deep):
    world.store.stage().close()
    if deep:
        for number in range(LAYERS_SOON + 2):
            files = {"all": "", "filler": str(number)}
            chain = world.store.snapshot("s0").chain if number else ()
            world.store.save_directory("s0", world.upper(files), chain=chain, replace=True)
        upper = world.upper({"all": "", "filler": ""})
        os.unlink(f"{upper}/filler")
        os.mknod(f"{upper}/filler", 0o20000, 0)
        chain = world.store.snapshot("s0").chain
        world.store.save_directory("s0", upper, chain=chain, replace=True)
    children = []
    for number in range(PROCESSES):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                Worker(world, number).run()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [0] * PROCESSES
    for name in world.store.names():
        with world.store.lease(name) as lease:
            check(lease)
    assert verify(world.store).damages == []
    collect(world.store)
    assert verify(world.store).damages == []
    used = {layer for name in world.store.names() for layer in world.store.snapshot(name).chain}
    assert set(world.store.layers()) == used
    assert os.listdir(world.store.place.staging) == []
