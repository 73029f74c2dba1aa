"""A daemon without a mount: a real tree, a real socket, the real server, in a thread.

What the kernel would show is not tested here (test_doors.py does that), everything else is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import trio

from providers.memory import MemoryProvider
from vfsd import assembly, runtime
from vfsd.contract import Caller, Change, Provider
from vfsd.control.server import serve
from vfsd.handles import HandleTable
from vfsd.snapshots.lineage import Lineage
from vfsd.snapshots.live import LiveSnapshots
from vfsd.snapshots.storing import Storing
from vfsd.tree import Attachment, Tree


class Recorder:
    """A listener as the mount is one: it counts what it was told before each settle."""

    def __init__(self) -> None:
        self.told: list[Change] = []
        self.unsettled = 0
        self.settles = 0

    def changed(self, attachment: Attachment, change: Change) -> None:
        self.told.append(change)
        self.unsettled += 1

    def keeps(self, attachment: Attachment, number: int) -> bool:
        return False

    async def settled(self, attachments) -> None:
        await trio.lowlevel.checkpoint()
        self.unsettled = 0
        self.settles += 1


class Daemon:
    """Implements `vfsd.control.host.Host`."""

    def __init__(self, mountpoint: Path, root: Provider) -> None:
        self.mountpoint = os.fsencode(mountpoint)
        self.root = root
        self.handles = HandleTable()
        self.lineage = Lineage()
        self.snapshots = LiveSnapshots(self.lineage, lambda provider: provider.aclose())
        self.storing = Storing(self.lineage, lambda provider: provider.aclose())
        self.recorder = Recorder()
        self.stop_requested = threading.Event()
        self.endpoint = runtime.bind(self.mountpoint)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._run,))

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self.tree = Tree(self.root, mountpoint=self.mountpoint)
        self.tree.subscribe(self.recorder)
        self.endpoint.listener.setblocking(False)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self.endpoint.listener))
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve, self, listener)
                self._ready.set()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.endpoint.close()

    def inside(self, function: Callable[[], Any]) -> Any:
        """Run `function` in the daemon's event loop."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def inside_async(self, function: Callable[[], Any]) -> Any:
        return trio.from_thread.run(function, trio_token=self._token)

    # -- Host -------------------------------------------------------------------------------

    async def attach(
        self,
        prefix: bytes,
        source: str,
        options: Mapping[str, str],
        caller: Caller,
        *,
        read_only: bool,
    ) -> Attachment:
        provider = await assembly.open_provider(source, options)
        return await self.attach_provider(prefix, provider, caller, read_only=read_only)

    async def attach_provider(
        self, prefix: bytes, provider: Provider, caller: Caller, *, read_only: bool
    ) -> Attachment:
        return await self.tree.attach(prefix, provider, caller, read_only=read_only)

    async def open_snapshot(self, name: str, *, writable: bool) -> Provider:
        return await assembly.open_named(self.snapshots, self.lineage, name, writable=writable)

    async def detach(self, prefix: bytes, *, lazy: bool) -> None:
        await self.tree.detach(prefix, lazy=lazy)

    def status(self) -> dict[str, object]:
        return {
            "pid": os.getpid(),
            "mountpoint": os.fsdecode(self.mountpoint),
            "attachments": [os.fsdecode(prefix) for prefix in self.tree.attachments],
        }

    def measure(self) -> AbstractContextManager[Callable[[], dict[str, object]]]:
        return nullcontext(lambda: {"requests": 0})

    def request_stop(self) -> None:
        self.stop_requested.set()


def memory_daemon(mountpoint: Path, **options: int) -> Daemon:
    return Daemon(mountpoint, MemoryProvider(**options))
