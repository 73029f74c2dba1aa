"""The directory `.vfsd` at a mount's root: what the daemon knows, as files, and its snapshots.

    .vfsd/status.json          what `vfsd status --json` says of the mount
    .vfsd/attachments          a line for each: prefix, ro or rw, what is served; as in fstab(5)
    .vfsd/snapshots/NAME/...   each live and stored snapshot, opened when somebody first looks in

No listing names it: it stands at an attach point of which the root provider knows nothing. A
`.vfsd` that is in the root when the mount begins stays what is seen. While the directory is
shown, nobody makes, removes or renames that name (EEXIST or EBUSY).

**Who sees it.** It tells paths of the host and shows every snapshot, so it belongs to the
daemon's user alone, and processes of another user namespace find nothing: what runs in a sandbox
(`vfsd run`) is of that user, and must not look behind its tree.

**Snapshots** are opened read-only and closed `IDLE_S` after their last use; until then a stored
one is in use, as a fork of it is.

What it is *not*: the control socket, which can do all of this and more.

Concurrency: as any provider; an opened snapshot is counted as used across every await in it.

Sources: proc(5) for files whose content is made at open; fstab(5); user_namespaces(7).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat as stat_module
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import trio

from vfsd.attributes import Caller, Stat, Traits
from vfsd.contract import Entry, Handle, Provider
from vfsd.errors import UserError, fail
from vfsd.exitcodes import ExitCode
from vfsd.hidden import show_hidden
from vfsd.pathprovider import PathProvider
from vfsd.snapshots.live import LiveSnapshots
from vfsd.snapshots.store import stored_names
from vfsd.tree import Tree

NAME = b".vfsd"
IDLE_S = 5.0
"""How long a snapshot stays open after its last use."""

CLOSE_TIMEOUT_S = 5.0
"""Longest wait for snapshots to close at the end."""

log = logging.getLogger(__name__)

_TRAITS = Traits(writable=False, xattrs=True, may_block=True)


class Known(Protocol):
    """What the directory shows; the daemon."""

    def status(self) -> dict[str, object]: ...
    @property
    def snapshots(self) -> LiveSnapshots: ...
    async def open_snapshot(self, name: str, *, writable: bool) -> Provider: ...


class _Opened:
    """A snapshot that is open, and how often it is in use."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.uses = 0
        self.used_s = time.monotonic()

    def let_go(self) -> None:
        self.uses -= 1
        self.used_s = time.monotonic()


class MetaProvider(PathProvider):
    """See the module."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self._known = known
        self._opened: dict[bytes, _Opened] = {}
        self._opening = trio.Lock()
        self._made_ns = time.time_ns()

    @property
    def traits(self) -> Traits:
        return _TRAITS

    def describe(self) -> str:
        return "what the daemon knows"

    # -- looking --------------------------------------------------------------------------

    async def stat(self, path: bytes) -> Stat:
        if path in (b"", b"snapshots"):
            return self._stat(stat_module.S_IFDIR | 0o500)
        if path in (b"status.json", b"attachments"):
            return self._stat(stat_module.S_IFREG | 0o400)
        name, rest = _inside(path)
        if rest:
            async with self._found(name, rest) as (_, entry):
                return entry.stat
        if os.fsdecode(name) not in await self._names():
            raise fail(errno.ENOENT, path)
        return self._stat(stat_module.S_IFDIR | 0o500)

    async def readdir_path(self, path: bytes) -> Sequence[bytes]:
        if not path:
            return [b"attachments", b"snapshots", b"status.json"]
        if path == b"snapshots":
            return [os.fsencode(name) for name in await self._names()]
        async with self._found(*_inside(path)) as (provider, entry):
            return await provider.readdir(entry.node)

    async def readlink_path(self, path: bytes) -> bytes:
        async with self._found(*_inside(path)) as (provider, entry):
            return await provider.readlink(entry.node)

    async def getxattr_path(self, path: bytes, name: bytes) -> bytes:
        if not path.startswith(b"snapshots/"):
            raise fail(errno.ENODATA)
        async with self._found(*_inside(path)) as (provider, entry):
            return await provider.getxattr(entry.node, name)

    async def listxattr_path(self, path: bytes) -> Sequence[bytes]:
        if not path.startswith(b"snapshots/"):
            return ()
        async with self._found(*_inside(path)) as (provider, entry):
            return await provider.listxattr(entry.node)

    async def open_path(self, path: bytes, flags: int, caller: Caller) -> Handle:
        if path == b"status.json":
            text = json.dumps(self._known.status(), indent=2) + "\n"
            return _Text(text.encode(), await self.stat(path))
        if path == b"attachments":
            return _Text(_lines(self._known.status()), await self.stat(path))
        name, rest = _inside(path)
        async with self._found(name, rest) as (provider, entry):
            handle = await provider.open(entry.node, flags, caller)
            return _InSnapshot(handle, self._opened[name])

    def _stat(self, mode: int) -> Stat:
        links = 2 if stat_module.S_ISDIR(mode) else 1
        made_ns = self._made_ns
        return Stat(mode, links, os.geteuid(), os.getegid(), 0, 0, 0, made_ns, made_ns, made_ns)

    # -- snapshots ------------------------------------------------------------------------

    async def _names(self) -> list[str]:
        stored: list[str] = []
        with suppress(UserError):  # there is no place for a store, so none is there
            stored = await trio.to_thread.run_sync(stored_names)
        return sorted({*stored, *(each.name for each in self._known.snapshots)})

    @asynccontextmanager
    async def _found(self, name: bytes, rest: bytes) -> AsyncIterator[tuple[Provider, Entry]]:
        """Find a path in a snapshot, and keep that open while the block runs. ENOENT, EIO."""
        opened = await self._use(name)
        try:
            provider = opened.provider
            entry = Entry(provider.root, await provider.getattr(provider.root))
            for part in rest.split(b"/") if rest else ():
                if not stat_module.S_ISDIR(entry.stat.mode):
                    raise fail(errno.ENOTDIR, rest)
                entry = await provider.lookup(entry.node, part)
            yield provider, entry
        finally:
            opened.let_go()

    async def _use(self, name: bytes) -> _Opened:
        async with self._opening:
            opened = self._opened.get(name)
            if opened is None:
                try:
                    provider = await self._known.open_snapshot(os.fsdecode(name), writable=False)
                except UserError as error:
                    missing = error.exit_code in (ExitCode.NOT_FOUND, ExitCode.USAGE)
                    raise fail(errno.ENOENT if missing else errno.EIO, name) from error
                opened = self._opened[name] = _Opened(provider)
            opened.uses += 1
            return opened

    async def close_idle(self, idle_s: float = 0.0) -> None:
        """Close the snapshots that nobody used for so long."""
        async with self._opening:
            now_s = time.monotonic()
            for name, opened in list(self._opened.items()):
                if not opened.uses and now_s - opened.used_s >= idle_s:
                    del self._opened[name]
                    try:
                        await opened.provider.aclose()
                    except Exception:
                        log.exception("closing the snapshot %s failed", os.fsdecode(name))

    async def watch(self) -> None:
        """Close what is not used any more, for ever."""
        while True:
            await trio.sleep(IDLE_S / 2)
            if self._opened:
                await self.close_idle(IDLE_S)

    async def aclose(self) -> None:
        """Close what is not in use."""
        await self.close_idle()


async def show_meta(
    tree: Tree, known: Known, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Show the directory until cancelled, unless the root has that name; started once it is there.

    What is still in use at the end is left open: its lease ends with the process.
    """
    meta = MetaProvider(known)
    if not await show_hidden(tree, NAME, meta):
        log.info("the root has a .vfsd of its own, which stays as it is")
        task_status.started()
        return
    task_status.started()
    try:
        await meta.watch()
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await meta.aclose()


class _Text(Handle):
    """A file whose content was made when it was opened."""

    __slots__ = ("_data", "_stat")

    direct_io = True

    def __init__(self, data: bytes, stat: Stat) -> None:
        self._data = data
        self._stat = stat

    async def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    async def getattr(self) -> Stat:
        return self._stat


class _InSnapshot(Handle):
    """A file that is open in a snapshot, and keeps that in use."""

    __slots__ = ("_inner", "_opened")

    keep_cache = False  # another snapshot may have taken the name since

    def __init__(self, inner: Handle, opened: _Opened) -> None:
        self._inner = inner
        self._opened = opened
        opened.uses += 1

    async def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        return await self._inner.read(offset, size)

    async def getattr(self) -> Stat:
        return await self._inner.getattr()

    async def release(self) -> None:
        try:
            await self._inner.release()
        finally:
            self._opened.let_go()


def _inside(path: bytes) -> tuple[bytes, bytes]:
    """Return the snapshot's name and the path in it. ENOENT for what is no snapshot."""
    top, _, below = path.partition(b"/")
    name, _, rest = below.partition(b"/")
    if top != b"snapshots" or not name:
        raise fail(errno.EINVAL if top == b"snapshots" else errno.ENOENT, path)
    return name, rest


def _lines(status: dict[str, object]) -> bytes:
    lines = []
    attachments = status["attachments"]
    assert isinstance(attachments, list)
    for each in attachments:
        mode = "ro" if each["read_only"] else "rw"
        prefix, provider = _escaped("/" + each["prefix"]), _escaped(each["provider"])
        lines.append(f"{prefix} {mode} {provider}\n")
    return os.fsencode("".join(lines))


def _escaped(text: str) -> str:
    return re.sub(r"[ \t\n\\]", lambda found: f"\\{ord(found[0]):03o}", text)
