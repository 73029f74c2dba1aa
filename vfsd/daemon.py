"""The daemon: one trio run, one nursery tree, from mount to unmount.

    run
    ├── signals          SIGTERM, SIGINT -> stop; SIGHUP -> the configuration is read again
    ├── supervision      the service manager is told of the mount, and that it answers
    ├── fuse.Session     serve (pyfuse3's workers), invalidation
    ├── control.serve    one task per connection
    └── watch            one task per attached provider

`Daemon` is also what the control socket acts on (`vfsd.control.host.Host`).

Concurrency: everything runs in this one event loop; `attach` and `detach` are ordered by the
tree's own lock. The daemon never touches its own mount from the loop (`Session.answers` uses
a thread).
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager

import trio

from vfsd import assembly, runtime
from vfsd.attributes import Caller
from vfsd.config import AttachConfig, MountConfig
from vfsd.contract import Provider
from vfsd.control.server import serve as serve_control
from vfsd.errors import UserError
from vfsd.fuse.session import Session
from vfsd.handles import HandleTable
from vfsd.meta import show_meta
from vfsd.persist.trees import Trees
from vfsd.reloading import Configured
from vfsd.snapshots.live import LiveSnapshots
from vfsd.storemark import StoreMark
from vfsd.supervision import Supervisor, has_terminal
from vfsd.tree import Attachment, Tree
from vfsd.version import __version__

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

CEASE_TIMEOUT_S = 2.0
"""Longest wait at the end for the kernel to take what it is being told of changes."""

CLOSE_TIMEOUT_S = 5.0
"""Longest wait for providers to close at the end; what hangs then is left to the kernel."""


class Daemon:
    """What serves one mountpoint."""

    def __init__(
        self,
        config: MountConfig,
        trees: Trees,
        tree: Tree,
        handles: HandleTable,
        supervisor: Supervisor,
        reread: Callable[[], MountConfig] | None = None,
        *,
        foreground: bool = False,
    ) -> None:
        self.config = config
        self.tree = tree
        self.handles = handles
        self.trees = trees
        self.lineage = trees.lineage
        self.snapshots = LiveSnapshots(self.lineage, self._close)
        self.storing = trees.storing
        self.mountpoint = os.fsencode(config.mountpoint)
        self.session = Session(
            tree,
            handles,
            config.mountpoint,
            xattrs=config.xattrs,
            allow_other=config.allow_other,
            read_only=config.read_only,
        )
        self.nursery: trio.Nursery | None = None
        self._watchers: dict[Provider, trio.CancelScope] = {}
        self._attended: dict[Attachment, trio.Event] = {}
        """Attachments in use, attached or with files still open; set once that is over."""
        self._guard = assembly.guard_against_loops(config.mountpoint)
        self._started_s = time.time()
        self._stop = trio.Event()
        self._reread = reread
        self._foreground = foreground
        self._terminal = has_terminal()
        self.supervisor = supervisor
        self._reloading = trio.Lock()
        self.configured = Configured(self, config, tree.root.base)

    # -- what the control socket may do -----------------------------------------------------

    async def attach(
        self,
        prefix: bytes,
        source: str,
        options: Mapping[str, str],
        caller: Caller,
        *,
        read_only: bool,
    ) -> Attachment:
        """Make the provider that `source` names and attach it at `prefix`.

        Errors as `assembly.open_provider` and `Tree.attach`; nothing is left attached then.
        """
        word, _, name = source.partition(":")
        if word == assembly.SNAPSHOT and name in self.snapshots and not options:
            provider = self.snapshots.view(name)
            read_only = True
        else:
            opened = await assembly.open_source(source, options, self._guard)
            provider = opened.provider
            if opened.ground is not None:
                self.lineage.stands_on(provider, opened.ground)
        return await self.attach_provider(prefix, provider, caller, read_only=read_only)

    async def attach_provider(
        self, prefix: bytes, provider: Provider, caller: Caller, *, read_only: bool
    ) -> Attachment:
        """Attach a provider that exists, and watch it; it is closed if that fails."""
        try:
            attachment = await self.tree.attach(prefix, provider, caller, read_only=read_only)
        except BaseException:
            # Who is cancelled while the kernel is told has attached it all the same.
            for each in self.tree.attachments.values():
                if each.base is provider:
                    self._attend(each)
            if provider not in self._watchers:
                await self._close(provider)
            raise
        self._attend(attachment)
        log.info("attached %s at %s", provider.describe(), os.fsdecode(attachment.prefix))
        if attachment.hides:
            log.info("existing files at %s are hidden by it", os.fsdecode(attachment.prefix))
        return attachment

    async def open_configured(self, config: AttachConfig) -> Provider:
        """Open what the configuration attaches. Errors as `assembly.open_source`, `open_kept`."""
        return await self.trees.open(config.source, config.options, config.persist, self._guard)

    async def discard(self, provider: Provider) -> None:
        """Close a provider that was opened and not attached."""
        await self._close(provider)

    async def open_snapshot(self, name: str, *, writable: bool) -> Provider:
        """Open a live or a stored snapshot; `writable` a fork of it. UserError."""
        return await assembly.open_named(
            self.snapshots, self.lineage, name, self._guard, writable=writable
        )

    async def detach(self, prefix: bytes, *, lazy: bool) -> None:
        """Detach what is at `prefix`; its provider is closed once nothing uses it."""
        before = {each: end for each, end in self._attended.items() if each.attached}
        await self.tree.detach(prefix, lazy=lazy)
        for attachment, retired in before.items():
            if not attachment.attached:
                log.info("detached %s", os.fsdecode(attachment.prefix))
                if attachment.drained.is_set():
                    # What the provider held, a lease perhaps, is free once this is answered.
                    await retired.wait()

    def request_stop(self) -> None:
        """Unmount and end, soon."""
        self._stop.set()

    def status(self) -> dict[str, object]:
        """Return what `vfsd status` shows; plain values only."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "mountpoint": self.config.mountpoint,
            "uptime_s": round(time.time() - self._started_s, 3),
            "attachments": [
                {
                    "prefix": os.fsdecode(each.prefix),
                    "provider": each.provider.describe(),
                    "read_only": each.read_only or not each.base.traits.writable,
                    "open_handles": each.open_count,
                    **each.base.statistics(),
                }
                for each in self.tree.attachments.values()
            ],
            "live_snapshots": len(self.snapshots),
            **self.session.statistics(),
        }

    def measure(self) -> AbstractContextManager[Callable[[], dict[str, object]]]:
        """Measure the mount's requests while the block runs; gives what takes a sample of them."""
        return self.session.operations.meter.open_window()

    # -- life -----------------------------------------------------------------------------

    def _attend(self, attachment: Attachment) -> None:
        """Watch the attachment's provider, and close it after its last use. Idempotent."""
        if attachment in self._attended:
            return
        self._attended[attachment] = trio.Event()
        assert self.nursery is not None
        self.nursery.start_soon(self._retire, attachment)
        provider = attachment.base
        if provider not in self._watchers:
            scope = self._watchers[provider] = trio.CancelScope()
            self.nursery.start_soon(self._watching, provider, scope)

    async def _watching(self, provider: Provider, scope: trio.CancelScope) -> None:
        with scope:
            try:
                await provider.watch()
            except Exception:
                log.exception("watching %s failed; its changes may show late", provider.describe())

    async def _retire(self, attachment: Attachment) -> None:
        """Close a detached provider after its last open file and its last attachment."""
        provider = attachment.base
        await attachment.drained.wait()
        retired = self._attended.pop(attachment)
        if attachment.keeper is not None:
            provider.remove_keeper(attachment.keeper)
            attachment.keeper = None
        if not any(each.base is provider for each in self._attended):
            self._watchers.pop(provider).cancel()
            await self._close(provider)
        retired.set()

    async def _close(self, provider: Provider) -> None:
        """Close a provider, also in a cancelled task; what it raises ends nothing else."""
        await self.trees.close(provider)

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Mount, call `ready` once the mount answers, serve until told to stop."""
        # Signals first: one that comes while the kernel mounts must not leave a dead mount.
        with trio.open_signal_receiver(*SIGNALS) as signals:
            endpoint = runtime.bind(self.mountpoint)
            mark = StoreMark(endpoint.path)
            self.trees.keeping = mark.set
            try:
                endpoint.listener.setblocking(False)
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(endpoint.listener))
                self.session.mount(poll_us=self.config.poll_us, hot=self.config.hot_loop)
                async with trio.open_nursery() as nursery:
                    self.nursery = nursery
                    nursery.start_soon(self._obey, signals)
                    await self._serve(nursery, listener, ready)
            finally:
                self.session.close()
                # Whoever unmounts waits until this is done.
                with trio.CancelScope(shield=True):
                    async with self.supervisor.patience("storing the trees that are kept"):
                        await self.trees.store_all()
                mark.close()
                endpoint.close()
                await self._close_all()

    async def _serve(
        self,
        nursery: trio.Nursery,
        listener: trio.SocketListener,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        nursery.start_soon(self._serve_fuse)
        nursery.start_soon(self._end)
        await nursery.start(serve_control, self, listener)
        self._attend(self.tree.root)
        self.trees.attend(nursery)
        async with self._reloading, self.supervisor.patience("attaching what is configured"):
            await self.configured.start()
        if self.config.meta:
            await nursery.start(show_meta, self.tree, self)
        await self.session.answers()
        _settle_memory()
        await ready()
        self.supervisor.ready()
        nursery.start_soon(self.supervisor.watchdog, self.config.mountpoint)

    async def _serve_fuse(self) -> None:
        await self.session.serve()
        self._stop.set()

    async def _end(self) -> None:
        await self._stop.wait()
        self.supervisor.stopping()
        with trio.move_on_after(CEASE_TIMEOUT_S):
            await self.session.invalidator.cease()
        assert self.nursery is not None
        self.nursery.cancel_scope.cancel()

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP and not self._hung_up():
                assert self.nursery is not None
                self.nursery.start_soon(self._reload)
                continue
            log.info("stopping on %s", signal.Signals(number).name)
            self._stop.set()

    def _hung_up(self) -> bool:
        """Say whether SIGHUP means that a terminal is gone, and not that somebody asks.

        A daemon without a terminal and without a configuration has nothing to read again.
        """
        if self._terminal:
            return not has_terminal() or self.config.file is None
        return self._foreground and self.config.file is None

    async def _reload(self) -> None:
        if self._reread is None or self.config.file is None:
            log.info("there is no configuration to read again")
            return
        async with self._reloading:
            self.supervisor.reloading()
            try:
                config = await trio.to_thread.run_sync(self._reread)
                async with self.supervisor.patience("following the configuration"):
                    await self.configured.follow(config)
            except (UserError, OSError) as error:
                log.error("the configuration was not taken, nothing has changed: %s", error)
            except Exception:
                log.exception("following the configuration failed")
            else:
                log.info("the configuration was read again")
            self.supervisor.ready()

    async def _close_all(self) -> None:
        """Close what is still open, then all providers, each within its own time."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for fh in tuple(self.handles.open_files):
                    nursery.start_soon(self._release, fh)
            await self.snapshots.close_all()
            async with trio.open_nursery() as nursery:
                for provider in {self.tree.root.base, *self._watchers}:
                    nursery.start_soon(self._close, provider)

    async def _release(self, fh: int) -> None:
        handle = self.handles.remove(fh).handle
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            try:
                if handle is not None:
                    await handle.release()
            except Exception:
                log.exception("closing a file at the end failed")


def _settle_memory() -> None:
    """Keep the garbage collector away from what lives for ever.

    Requests make no cycles, so collections find nothing; with the default thresholds they
    would walk every file's record again and again as the tree grows.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


async def serve(
    config: MountConfig,
    ready: Callable[[], Awaitable[None]],
    reread: Callable[[], MountConfig] | None = None,
    foreground: bool = False,
) -> None:
    """Make the root provider, mount it and serve until stopped.

    UserError and OSError before the mount leave nothing behind.
    """
    trees, supervisor = Trees(close_provider), Supervisor()
    async with supervisor.patience("opening the root of the tree"):
        root = await trees.open(config.source, config.options, config.persist)
    tree = Tree(root, read_only=config.read_only, mountpoint=os.fsencode(config.mountpoint))
    tree.lists_provenance = config.list_provenance
    daemon = Daemon(config, trees, tree, HandleTable(), supervisor, reread, foreground=foreground)
    await daemon.run(ready)


async def close_provider(provider: Provider) -> None:
    """Close a provider, also in a cancelled task; what it raises is logged."""
    with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
        try:
            await provider.aclose()
        except Exception:
            log.exception("closing %s failed", provider.describe())
