"""A tree in use, written to the store as it was at one instant, while it goes on.

The tree is frozen at once; a thread reads what is frozen (frozen.py) and writes it as one
archive into a staging directory, whole or nothing: a crash, a full disk or a cancelled command
leaves no trace. As little as possible is written:

- A tree that stands on layers (an overlay) is stored as its own layer over those.
- A tree of which an earlier version was stored is stored as what changed since, over that.
  The earlier version stays frozen in memory for this, which costs what changed since.
- Any other tree is stored whole.

What it is *not*: the store (store.py), the archive (vfsd/archive), live snapshots (live.py).

Concurrency: `Storing` belongs to the event loop; it writes in threads, `AT_ONCE_MAX` at a time.
The interpreter is told to switch between threads more often meanwhile, so that a request does
not wait for a thread that computes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import NamedTuple, Protocol, runtime_checkable

import trio

from vfsd.archive.writer import ArchiveWriter
from vfsd.contract import Node, Provider
from vfsd.errors import UserError
from vfsd.freezing import between_changes
from vfsd.snapshots.delta import Delta
from vfsd.snapshots.folding import LAYERS_MAX
from vfsd.snapshots.frozen import FrozenView
from vfsd.snapshots.kept import Snapshot
from vfsd.snapshots.lineage import Ground, Lineage, Past, Version
from vfsd.snapshots.packing import pack_view
from vfsd.snapshots.refusals import refused_when_full
from vfsd.snapshots.store import Store
from vfsd.snapshots.view import TreeView

AT_ONCE_MAX = 2
"""Trees that are written at the same time; others wait, frozen."""
TELL_EVERY_SECONDS = 0.1
SWITCH_SECONDS = 0.0002
"""How long a computing thread may keep the event loop waiting; Python's own is 0.005."""

Told = Callable[[int, int], Awaitable[None]]
"""Is told how many files and bytes are written by now: none once the tree is frozen, and then
a few times a second."""


@runtime_checkable
class HasOwnLayer(Protocol):
    """A tree that stands on others, and can show by itself what it adds to them."""

    async def layer(self) -> tuple[Provider, Node] | None:
        """Return where its layer is, in the kernel's overlayfs format; None if there is none."""


class Stored(NamedTuple):
    """What was written."""

    snapshot: Snapshot
    files: int
    size_bytes: int
    store: str
    """Where the store is."""


class Storing:
    """Stores trees of one daemon, and remembers which version of each it stored last."""

    def __init__(self, lineage: Lineage, close: Callable[[Provider], Awaitable[None]]) -> None:
        """`close` closes a provider that nothing uses any more, and does not raise."""
        self._lineage = lineage
        self._close = close
        self._limiter = trio.CapacityLimiter(AT_ONCE_MAX)
        self._running = 0
        self._usual_seconds = 0.0

    async def check_free(self, name: str) -> None:
        """Refuse a name that a stored snapshot has, or that none may have. UserError."""

        def check() -> None:
            Store().check_free(name)

        await trio.to_thread.run_sync(check)

    async def store(
        self,
        name: str,
        tree: Provider,
        *,
        replace: bool = False,
        command: Sequence[bytes] = (),
        told: Told | None = None,
    ) -> Stored:
        """Store `tree` as it is at the moment of the call. Errors as of `Store.save_packed`.

        Cancelled or failed, it leaves the store as it was.
        """
        frozen = await between_changes(tree, tree.snapshot)
        return await self.store_frozen(
            name, tree, frozen, replace=replace, command=command, told=told
        )

    async def store_frozen(
        self,
        name: str,
        tree: Provider,
        frozen: Provider,
        *,
        replace: bool = False,
        command: Sequence[bytes] = (),
        told: Told | None = None,
    ) -> Stored:
        """Store `frozen`, a snapshot of `tree` that is this call's from then on; as `store`."""
        past = self._lineage.past(tree)
        keep = False
        try:
            if told is not None:
                await told(0, 0)
            async with _own_layer(frozen, past, self._close) as layer:
                job = _Job(name, frozen, layer, past, replace, tuple(command), told)
                with self._switching_often():
                    stored = await trio.to_thread.run_sync(job.run, limiter=self._limiter)
            # Of use only where the provider can tell what changed since. One that stands on others
            # would keep those open, and nobody knows for how long.
            root = frozen.root
            keep = frozen.unchanged(root, frozen, root) and not isinstance(frozen, HasOwnLayer)
        finally:
            if not keep:
                await self._close(frozen)
        if keep:
            version = Version(frozen, name, stored.snapshot.id)
            self._lineage.was_stored(tree, version)
        return stored

    @contextmanager
    def _switching_often(self) -> Iterator[None]:
        self._running += 1
        if self._running == 1:
            self._usual_seconds = sys.getswitchinterval()
            sys.setswitchinterval(min(SWITCH_SECONDS, self._usual_seconds))
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                sys.setswitchinterval(self._usual_seconds)


@asynccontextmanager
async def _own_layer(
    frozen: Provider, past: Past, close: Callable[[Provider], Awaitable[None]]
) -> AsyncIterator[tuple[Provider, Node] | None]:
    """Give the layer of a tree that stands on what is known, as long as it is needed."""
    if past.ground is None or not isinstance(frozen, HasOwnLayer):
        yield None
        return
    # Completing the layer changes it, so it is done to a fork that nobody else has.
    fork = frozen.fork()
    try:
        yield await fork.layer() if isinstance(fork, HasOwnLayer) else None
    finally:
        await close(fork)


class _Job:
    """One tree on its way into the store; `run` is for a thread."""

    def __init__(
        self,
        name: str,
        frozen: Provider,
        layer: tuple[Provider, Node] | None,
        past: Past,
        replace: bool,
        command: tuple[bytes, ...],
        told: Told | None,
    ) -> None:
        self._name = name
        self._frozen = frozen
        self._layer = layer
        self._past = past
        self._replace = replace
        self._command = command
        self._told = told
        self._told_at = 0.0

    def run(self) -> Stored:
        """Write the tree. UserError, OSError, trio.Cancelled."""
        store = Store()
        if not self._replace:
            store.check_free(self._name)
        ground = self._past.ground
        if ground is not None and self._layer is not None:
            return self._write(store, FrozenView(*self._layer), ground)
        frozen = FrozenView(self._frozen)
        before = self._past.stored
        if before is None:
            return self._write(store, frozen, Ground(None))
        with ExitStack() as held:
            ground = self._ground_before(store, before, held)
            if ground is None:
                return self._write(store, frozen, Ground(None))
            return self._write(store, Delta(frozen, FrozenView(before.provider)), ground)

    def _ground_before(self, store: Store, before: Version, held: ExitStack) -> Ground | None:
        """Hold the earlier version in the store; None if it is not there or is too deep."""
        try:
            found = held.enter_context(store.lease(before.name)).snapshot
        except UserError:
            return None  # removed, or damaged
        if found.id != before.id or len(found.chain) >= LAYERS_MAX:
            return None
        return Ground(found.base, found.chain, found.name)

    def _write(self, store: Store, view: TreeView, ground: Ground) -> Stored:
        with refused_when_full(store.place.root, self._name), store.stage() as staging:
            archive = staging.part("pack")
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(archive, flags, 0o600)
            try:
                with ArchiveWriter(fd) as writer:
                    files, size_bytes = pack_view(view, writer, self._progress)
                    writer.finish()
            finally:
                os.close(fd)
            self._tell(files, size_bytes)
            snapshot = store.save_packed(
                self._name,
                archive,
                base=ground.base,
                chain=ground.chain,
                command=self._command,
                parent=ground.parent,
                replace=self._replace,
            )
        return Stored(snapshot, files, size_bytes, store.place.root)

    def _progress(self, files: int, size_bytes: int) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_SECONDS:
            self._told_at = now
            self._tell(files, size_bytes)

    def _tell(self, files: int, size_bytes: int) -> None:
        # Also where nobody is told: here a cancelled command ends.
        trio.from_thread.check_cancelled()
        if self._told is not None:
            trio.from_thread.run(self._told, files, size_bytes)
