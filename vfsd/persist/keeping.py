"""The life of a kept tree: opened as it was, stored when it changed, stored at the end.

What can be kept is a tree in memory, and an overlay whose upper is in memory, over one directory or
one stored snapshot. The first is loaded into memory; the second stands on its stored layers.

A tree whose snapshot or journal is damaged, missing in part, or not of a kept tree is not opened,
and nothing of it is changed: starting without it, or over it, would lose what is there.

What it is *not*: when the daemon opens and ends (daemon.py).

Concurrency: `open` and `close` are called once; `run` is a task in between. Only one store of a
tree is written at a time.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Mapping

import trio

from vfsd import assembly
from vfsd.config import Persist
from vfsd.contract import Provider
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.persist.journal import Reader
from vfsd.persist.journaled import Journaled
from vfsd.persist.loading import load
from vfsd.persist.notes import Notes
from vfsd.persist.place import Place, command, number_of
from vfsd.persist.replaying import Replaying
from vfsd.snapshots.collection import drop_unused
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.lineage import Ground, Lineage, Version
from vfsd.snapshots.refusals import Damaged, NotFound
from vfsd.snapshots.store import Store
from vfsd.snapshots.storing import Storing

log = logging.getLogger(__name__)

STORE_AT_BYTES = 1 << 28
"""A journal of this size has the tree stored before its time."""

LOOK_EVERY_S = 1.0
"""How often what is noted is written, for a crash of the daemon alone."""

BUSY_RETRY_S = 0.05

Close = Callable[[Provider], Awaitable[None]]


class Kept:
    """One kept tree; see the module. `provider` is what is attached."""

    def __init__(
        self,
        persist: Persist,
        place: Place,
        provider: Journaled,
        storing: Storing,
        lease: Lease | None,
    ) -> None:
        self.provider = provider
        self.name = persist.name
        self._every_s = persist.every_s
        self._place = place
        self._storing = storing
        self._lease = lease
        self._lock = trio.Lock()
        self._closed = False

    async def run(self) -> None:
        """Write and store what changes, until cancelled."""
        stored_s = trio.current_time()
        notes = self.provider.notes
        while True:
            await trio.sleep(min(LOOK_EVERY_S, self._every_s))
            await self.provider.relieve_now()
            due = trio.current_time() - stored_s >= self._every_s
            if notes.noted_bytes and (due or notes.noted_bytes >= STORE_AT_BYTES):
                await self._try_to_store()
                stored_s = trio.current_time()

    async def close(self) -> None:
        """Store what changed, and give the name back; the provider is closed by who attached it."""
        if self._closed:
            return
        self._closed = True
        with trio.CancelScope(shield=True):
            notes = self.provider.notes
            try:
                await notes.sync()
            except OSError as error:
                log.error("the journal of %r cannot be written: %s", self.name, error.strerror)
            if notes.noted_bytes:
                await self._try_to_store()
            notes.close()
            if self._lease is not None:
                self._lease.close()
            self._place.close()

    async def store(self) -> None:
        """Store the tree as it is now. UserError, OSError; the journal goes on then."""
        async with self._lock:
            number, stored = await self._freeze_and_store()
            lease = await trio.to_thread.run_sync(_lease_and_tidy, self.name)
            if self._lease is not None:
                self._lease.close()
            self._lease = lease
            self.provider.notes.stored(number)
            log.info("stored the kept tree %r: %d files", self.name, stored)

    async def _freeze_and_store(self) -> tuple[int, int]:
        while True:
            async with self.provider.changing():
                number = self.provider.notes.begin()
                try:
                    frozen = self.provider.inner.snapshot()
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    frozen = None
            if frozen is not None:
                break
            await trio.sleep(BUSY_RETRY_S)
        stored = await self._storing.store_frozen(
            self.name, self.provider.inner, frozen, replace=True, command=command(number)
        )
        return number, stored.files

    async def _try_to_store(self) -> None:
        try:
            await self.store()
        except (UserError, OSError) as error:
            log.error("the kept tree %r was not stored: %s", self.name, error)


def _lease_and_tidy(name: str) -> Lease:
    store = Store()
    lease = store.lease(name)
    # Of each earlier version, what the new one does not stand on.
    drop_unused(store)
    return lease


async def open_kept(
    persist: Persist,
    source: str,
    options: Mapping[str, str],
    guard: assembly.Guard | None,
    *,
    lineage: Lineage,
    storing: Storing,
    close: Close,
) -> Kept:
    """Open the tree of that name as it was last, or a new one. UserError, Damaged, OSError."""
    place = await trio.to_thread.run_sync(Place, persist.name)
    lease: Lease | None = None
    opened: list[Provider] = []
    try:
        kind = _kind(source, options)
        lease = await trio.to_thread.run_sync(_stored, persist.name)
        first = 0 if lease is None else number_of(lease.snapshot.command)
        assert first is not None
        numbers = await trio.to_thread.run_sync(_journals, place, lease is not None, first)
        new = await assembly.open_source(source, options, guard)
        opened.append(new.provider)
        tree = new.provider
        if kind == "overlay":
            ground = _ground(persist.name, new.ground)
            if lease is not None:
                tree = await _reopen(lease, ground, options, guard)
                found = lease.snapshot
                ground = Ground(found.base, found.chain, found.name)
                opened.append(tree)
                await close(opened.pop(0))
            lineage.stands_on(tree, ground)
        elif lease is not None:
            await _load(lease, tree, lineage)
        count, number = await _replay(place, numbers, first, tree)
        if lease is not None or count:
            log.info("the kept tree %r is as it was, %d changes done again", persist.name, count)
        notes = Notes(place, number, tree)
        notes.carried = bool(count)
        provider = Journaled(tree, notes, suspends=kind == "overlay")
        lineage.inherit(tree, provider)
        return Kept(persist, place, provider, storing, lease)
    except BaseException:
        with trio.CancelScope(shield=True):
            for each in opened:
                await close(each)
        if lease is not None:
            lease.close()
        place.close()
        raise


def _kind(source: str, options: Mapping[str, str]) -> str:
    memory = options.get("upper", "memory") == "memory" and options.get("marks", "user") == "user"
    if source == "memory" or (source == "overlay" and memory):
        return source
    raise UserError(
        f"persist keeps a tree in memory, or an overlay with an upper in memory, and not {source};"
        " leave persist out",
        ExitCode.USAGE,
    )


def _ground(name: str, ground: Ground | None) -> Ground:
    if ground is None:
        raise UserError(
            f"persist = {name!r} needs an overlay with one lower, a directory or a snapshot",
            ExitCode.USAGE,
        )
    return ground


def _stored(name: str) -> Lease | None:
    """Lease the snapshot that was stored last; None if there never was one. UserError, Damaged."""
    try:
        lease = Store().lease(name)
    except NotFound:
        return None
    if number_of(lease.snapshot.command) is None:
        lease.close()
        raise UserError(
            f"there is a snapshot {name!r} that is not of a kept tree; choose another name for"
            f" persist, or remove it with 'vfsd snapshot rm {name}'",
            ExitCode.REFUSED,
        )
    return lease


def _journals(place: Place, stored: bool, first: int) -> list[int]:
    """Return the journals that go on from the snapshot. Damaged if one is missing."""
    numbers = [each for each in place.numbers() if each >= first]
    if numbers != list(range(first, first + len(numbers))):
        what = "some of them are" if stored else "the snapshot that they follow is"
        raise Damaged(
            f"the journals of the kept tree {place.name!r} in {place.directory} do not go on from"
            f" what is stored: {what} missing; put it back, or move the journals somewhere else to"
            " begin without them"
        )
    return numbers


async def _reopen(
    lease: Lease, ground: Ground, options: Mapping[str, str], guard: assembly.Guard | None
) -> Provider:
    found = lease.snapshot
    if found.base != ground.base:
        stands, wanted = (_told(each) for each in (found.base, ground.base))
        raise UserError(
            f"the kept tree {found.name!r} stands on {stands}, and the configuration says {wanted};"
            " give it that lower again, or another name for persist",
            ExitCode.REFUSED,
        )
    limits = {key: options[key] for key in ("size", "inodes") if key in options}
    opened = await assembly.open_stored(found.name, guard, writable=True, limits=limits)
    return opened.provider


def _told(base: bytes | None) -> str:
    return "a snapshot" if base is None else os.fsdecode(base)


async def _load(lease: Lease, tree: Provider, lineage: Lineage) -> None:
    found = lease.snapshot
    view = await trio.to_thread.run_sync(lease.view)
    try:
        await load(view, tree)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(
            f"the kept tree {found.name!r} does not fit into its quota any more; raise size or"
            " inodes",
            ExitCode.FULL,
        ) from error
    finally:
        view.close()
    # What is stored next is what differs from this.
    lineage.was_stored(tree, Version(tree.snapshot(), found.name, found.id))


async def _replay(place: Place, numbers: list[int], first: int, tree: Provider) -> tuple[int, int]:
    """Do the journals' changes again; return how many those are, and the next journal's number."""
    count, number = 0, first
    for number in numbers:
        last = number == numbers[-1]
        reader = Reader(place.path(number), number, last=last)
        replaying = Replaying(tree)
        await replaying.run(reader, place.path(number))
        count += replaying.count
        if last:
            reader.cut()
            number += bool(reader.end)
    return count, number
