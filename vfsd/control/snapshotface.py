"""The clients' faces for snapshots that live in a daemon's memory: `tree.snapshots`.

    with client.connect("/virtual") as tree:
        tree.snapshots.create("clean")                 # O(1), whatever the size of the tree
        tree.snapshots.fork("clean", "/try")           # writable; O(1) as well
        tree.snapshots.attach("clean", "/as-it-was")   # read-only

What it is *not*: the protocol (docs/CONTROL.md) or the store, which outlives the daemon.

Concurrency: as the client it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from vfsd.control import calls
from vfsd.control.calls import AnyPath, Call, Steps
from vfsd.control.replies import Attached, SnapshotInfo, StoredInfo

T = TypeVar("T")


class Asking(Protocol):
    """Makes calls and waits in the thread: `vfsd.control.blocking.Conversation`."""

    def call(self, call: Call[T], /, on_part: Callable[[object], None] | None = None) -> T: ...
    def run(self, steps: Steps[T]) -> T: ...


class AsyncAsking(Protocol):
    """Makes calls and waits in the task: `vfsd.control.suspending.Conversation`."""

    async def call(
        self, call: Call[T], /, on_part: Callable[[object], None] | None = None
    ) -> T: ...
    async def run(self, steps: Steps[T]) -> T: ...


Place = Callable[[AnyPath], bytes]
"""Turns a path as the client's user gives it into one from the tree's root."""


class Snapshots:
    """Live snapshots of one daemon."""

    def __init__(self, conversation: Asking, place: Place) -> None:
        self._call = conversation.call
        self._run = conversation.run
        self._place = place

    def create(self, name: str, prefix: AnyPath = "", *, replace: bool = False) -> SnapshotInfo:
        """Freeze what is attached at `prefix` under a name, in the daemon's memory. O(1).

        UserError for a name that is wrong, or taken (unless `replace`), and for a tree that
        cannot be frozen; EINVAL where nothing is attached.
        """
        return self._call(calls.create_snapshot(name, self._place(prefix), replace=replace))

    def store(
        self,
        name: str,
        prefix: AnyPath = "",
        *,
        replace: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> StoredInfo:
        """Freeze what is attached at `prefix`, and return once it is in the store, durably.

        `progress` is called with how many files and bytes are written: 0 and 0 once the tree is
        frozen. If the connection ends before, nothing is stored. Errors as of `create`; FULL.
        """
        call = calls.store_snapshot(name, self._place(prefix), replace=replace)
        return self._call(call, on_part=_counter(progress))

    def list(self) -> list[SnapshotInfo]:
        """Return all of them, sorted by name."""
        return self._run(calls.list_snapshots())

    def show(self, name: str) -> SnapshotInfo:
        """Return what is known of one. UserError (NOT_FOUND)."""
        return self._call(calls.show_snapshot(name))

    def remove(self, name: str) -> None:
        """Forget one and free what only it held. UserError (NOT_FOUND)."""
        self._call(calls.remove_snapshot(name))

    def attach(self, name: str, at: AnyPath) -> Attached:
        """Attach one at `at`, read-only. UserError (NOT_FOUND); OSError as for a provider."""
        return self._call(calls.attach_snapshot(name, self._place(at)))

    def fork(self, name: str, at: AnyPath) -> Attached:
        """Attach a writable tree that begins as it at `at`. O(1). Errors as `attach`."""
        return self._call(calls.fork_snapshot(name, self._place(at)))


class AsyncSnapshots:
    """The same for trio programs."""

    def __init__(self, conversation: AsyncAsking, place: Place) -> None:
        self._call = conversation.call
        self._run = conversation.run
        self._place = place

    async def create(
        self, name: str, prefix: AnyPath = "", *, replace: bool = False
    ) -> SnapshotInfo:
        """Freeze what is attached at `prefix` under a name, in the daemon's memory. O(1).

        UserError for a name that is wrong, or taken (unless `replace`), and for a tree that
        cannot be frozen; EINVAL where nothing is attached.
        """
        return await self._call(calls.create_snapshot(name, self._place(prefix), replace=replace))

    async def store(
        self,
        name: str,
        prefix: AnyPath = "",
        *,
        replace: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> StoredInfo:
        """Freeze what is attached at `prefix`, and return once it is in the store, durably.

        `progress` is called with how many files and bytes are written: 0 and 0 once the tree is
        frozen. If the connection ends before, nothing is stored. Errors as of `create`; FULL.
        """
        call = calls.store_snapshot(name, self._place(prefix), replace=replace)
        return await self._call(call, on_part=_counter(progress))

    async def list(self) -> list[SnapshotInfo]:
        """Return all of them, sorted by name."""
        return await self._run(calls.list_snapshots())

    async def show(self, name: str) -> SnapshotInfo:
        """Return what is known of one. UserError (NOT_FOUND)."""
        return await self._call(calls.show_snapshot(name))

    async def remove(self, name: str) -> None:
        """Forget one and free what only it held. UserError (NOT_FOUND)."""
        await self._call(calls.remove_snapshot(name))

    async def attach(self, name: str, at: AnyPath) -> Attached:
        """Attach one at `at`, read-only. UserError (NOT_FOUND); OSError as for a provider."""
        return await self._call(calls.attach_snapshot(name, self._place(at)))

    async def fork(self, name: str, at: AnyPath) -> Attached:
        """Attach a writable tree that begins as it at `at`. O(1). Errors as `attach`."""
        return await self._call(calls.fork_snapshot(name, self._place(at)))


def _counter(progress: Callable[[int, int], None] | None) -> Callable[[object], None] | None:
    def on_part(value: object) -> None:
        match value:
            case [int(files), int(size_bytes)] if progress is not None:
                progress(files, size_bytes)

    return None if progress is None else on_part
