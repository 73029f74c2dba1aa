"""The Python face of a running daemon for trio programs: vfsd.client with `await`.

    async with await aclient.connect("/virtual") as tree:
        await tree.write_bytes("greeting.txt", b"hello")
        async with await tree.open("log", "ab") as log:
            await log.pwrite(b"line\n", 0)
        async with await tree.watch() as changes:
            async for event in changes:
                ...

Methods, paths and errors are those of vfsd.client; a test compares the two.

Concurrency: tasks may share a client, one request at a time. A call that is cancelled before
its answer came ends the connection, and with it closes its files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import trio
from trio.abc import AsyncResource

from vfsd import runtime
from vfsd.attributes import StatFs
from vfsd.control import calls, contents, receiving, sending
from vfsd.control.asyncstreams import AsyncSamples, AsyncWatch
from vfsd.control.calls import AnyPath, place
from vfsd.control.framing import DATA_LIMIT_BYTES
from vfsd.control.modes import flags_of, read_umask
from vfsd.control.replies import Attached, Event, FileInfo, Greeting, SnapshotInfo
from vfsd.control.snapshotface import AsyncSnapshots
from vfsd.control.suspending import Conversation
from vfsd.control.transfer import Problem, Progress, ProgressCallback, Report

__all__ = [
    "AsyncClient",
    "AsyncFile",
    "Attached",
    "Event",
    "FileInfo",
    "Problem",
    "Progress",
    "Report",
    "SnapshotInfo",
    "connect",
]


async def connect(path: AnyPath = ".") -> AsyncClient:
    """Connect to the daemon that serves `path`. UserError (NOT_MOUNTED) if none does."""
    served = await trio.to_thread.run_sync(runtime.find, os.fsencode(path))
    return await _open(served)


async def _open(served: runtime.Served) -> AsyncClient:
    conversation = await Conversation.open(served)
    try:
        greeting = await conversation.call(calls.hello())
    except BaseException:
        await trio.aclose_forcefully(conversation)
        raise
    return AsyncClient(served, conversation, greeting)


class AsyncClient(AsyncResource):
    """A connection to a daemon; a context manager that closes it and all its files."""

    def __init__(
        self, served: runtime.Served, conversation: Conversation, greeting: Greeting
    ) -> None:
        """Take over a conversation that began; see `connect`."""
        self._served = served
        self._base = served.prefix
        self._conversation = conversation
        self._call = conversation.call
        self._run = conversation.run
        self.snapshots = AsyncSnapshots(conversation, self._place)
        self.greeting = greeting

    @property
    def mountpoint(self) -> bytes:
        """Where the daemon's tree is mounted."""
        return self._served.mountpoint

    async def aclose(self) -> None:
        """End the connection; open files of it are closed by the daemon."""
        await self._conversation.aclose()

    def _place(self, path: AnyPath) -> bytes:
        return place(self._base, path)

    # -- the daemon -----------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """Return what the daemon serves, and its counters."""
        return await self._call(calls.status())

    async def stop(self) -> None:
        """Have the daemon unmount and end; it does so after this returned."""
        await self._call(calls.stop())

    async def attach(
        self,
        source: AnyPath,
        prefix: AnyPath,
        options: Mapping[str, str] | None = None,
        *,
        read_only: bool = False,
    ) -> Attached:
        """Attach a provider: its name, ``name:source``, or an absolute host path."""
        at = self._place(prefix)
        return await self._call(calls.attach(at, source, options or {}, read_only=read_only))

    async def detach(self, prefix: AnyPath, *, lazy: bool = False) -> None:
        """Take an attached provider away; EBUSY while it is used, unless `lazy`."""
        await self._call(calls.detach(self._place(prefix), lazy=lazy))

    async def snapshot(self, prefix: AnyPath, at: AnyPath) -> Attached:
        """Attach a sealed copy of what is attached at `prefix`, at `at`. EOPNOTSUPP."""
        return await self._call(calls.snapshot(self._place(prefix), self._place(at)))

    async def fork(self, prefix: AnyPath, at: AnyPath) -> Attached:
        """Attach a writable copy of what is attached at `prefix`, at `at`. EOPNOTSUPP."""
        return await self._call(calls.fork(self._place(prefix), self._place(at)))

    async def watch(self, prefix: AnyPath = "") -> AsyncWatch:
        """Watch what changes in the attachments at or below `prefix`, from now on.

        Iterate over the result; it has a connection of its own, which `close` ends.
        """
        client = await _open(self._served)
        try:
            return await AsyncWatch.begin(client._conversation, self._place(prefix))
        except BaseException:
            await trio.aclose_forcefully(client)
            raise

    async def top(self, interval_s: float = 1.0) -> AsyncSamples:
        """Measure what the mount is asked, from now on; a sample per interval.

        Iterate over the result; it has a connection of its own, and closing it ends the measuring.
        """
        client = await _open(self._served)
        try:
            return await AsyncSamples.begin(client._conversation, interval_s)
        except BaseException:
            await trio.aclose_forcefully(client)
            raise

    # -- looking --------------------------------------------------------------------------

    async def stat(self, path: AnyPath, *, follow: bool = True) -> FileInfo:
        """Return the attributes of a file."""
        return await self._call(calls.stat(self._place(path), follow=follow))

    async def exists(self, path: AnyPath, *, follow: bool = True) -> bool:
        """Say whether there is such a file."""
        try:
            await self.stat(path, follow=follow)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    async def listdir(self, path: AnyPath = "") -> list[bytes]:
        """Return all names in a directory, sorted."""
        return [name for name, _ in await self.scandir(path)]

    async def scandir(self, path: AnyPath = "") -> list[tuple[bytes, FileInfo]]:
        """Return all names in a directory with their attributes, sorted."""
        return await self._run(calls.list_all(self._place(path)))

    async def readlink(self, path: AnyPath) -> bytes:
        """Return a symlink's target."""
        return await self._call(calls.readlink(self._place(path)))

    async def statfs(self, path: AnyPath = "") -> StatFs:
        """Return the room in the provider that holds `path`."""
        return await self._call(calls.statfs(self._place(path)))

    async def read_bytes(self, path: AnyPath) -> bytes:
        """Return the whole data of a file."""
        return await self._run(contents.read_bytes(self._place(path)))

    async def getxattr(self, path: AnyPath, name: str | bytes, *, follow: bool = True) -> bytes:
        """Return the value of an extended attribute."""
        return await self._call(calls.getxattr(self._place(path), os.fsencode(name), follow=follow))

    async def listxattr(self, path: AnyPath, *, follow: bool = True) -> list[bytes]:
        """Return the names of all extended attributes."""
        return await self._call(calls.listxattr(self._place(path), follow=follow))

    # -- changing -------------------------------------------------------------------------

    async def write_bytes(self, path: AnyPath, data: bytes, mode: int = 0o666) -> None:
        """Make or replace a file; others see the old one or the whole new one.

        A replaced file's mode and owner are kept; a symlink is replaced, not followed.
        """
        await self._run(contents.write_bytes(self._place(path), data, mode & ~read_umask()))

    async def mkdir(self, path: AnyPath, mode: int = 0o777, *, parents: bool = False) -> None:
        """Make a directory; with `parents` missing ones on the way, and it may exist."""
        await self._call(calls.mkdir(self._place(path), mode & ~read_umask(), parents=parents))

    async def mknod(self, path: AnyPath, mode: int, rdev: int = 0) -> None:
        """Make a file of the type in `mode`."""
        await self._call(calls.mknod(self._place(path), mode & ~read_umask(), rdev))

    async def symlink(self, target: AnyPath, path: AnyPath) -> None:
        """Make the symlink `path`; `target` is stored as it is."""
        await self._call(calls.symlink(self._place(path), os.fsencode(target)))

    async def link(self, source: AnyPath, target: AnyPath) -> None:
        """Give the file `source` another name, `target`."""
        await self._call(calls.link(self._place(source), self._place(target)))

    async def unlink(self, path: AnyPath) -> None:
        """Remove a name that is not a directory."""
        await self._call(calls.unlink(self._place(path)))

    async def rmdir(self, path: AnyPath) -> None:
        """Remove an empty directory."""
        await self._call(calls.rmdir(self._place(path)))

    async def remove_tree(
        self, path: AnyPath, progress: Callable[[int], None] | None = None
    ) -> int:
        """Remove a file, or a directory with all below; return how many files that was."""

        def on_part(value: object) -> None:
            if progress is not None and isinstance(value, int):
                progress(value)

        return await self._call(calls.remove_tree(self._place(path)), on_part)

    async def rename(self, source: AnyPath, target: AnyPath, flags: int = 0) -> None:
        """Rename as `renameat2(2)`: `flags` is 0, 1 (never replace) or 2 (exchange)."""
        await self._call(calls.rename(self._place(source), self._place(target), flags))

    async def setattr(
        self,
        path: AnyPath,
        *,
        follow: bool = True,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
    ) -> FileInfo:
        """Change attributes and return all of them."""
        return await self._call(
            calls.setattr_(
                self._place(path),
                follow=follow,
                mode=mode,
                uid=uid,
                gid=gid,
                size=size,
                atime_ns=atime_ns,
                mtime_ns=mtime_ns,
            )
        )

    async def truncate(self, path: AnyPath, size: int) -> None:
        """Set the size of a file."""
        await self._call(calls.truncate(self._place(path), size))

    async def setxattr(
        self, path: AnyPath, name: str | bytes, value: bytes, *, follow: bool = True
    ) -> None:
        """Set an extended attribute."""
        await self._call(calls.setxattr(self._place(path), os.fsencode(name), value, follow=follow))

    async def removexattr(self, path: AnyPath, name: str | bytes, *, follow: bool = True) -> None:
        """Remove an extended attribute."""
        await self._call(calls.removexattr(self._place(path), os.fsencode(name), follow=follow))

    # -- trees and open files ---------------------------------------------------------------

    async def put_tree(
        self,
        source: AnyPath,
        path: AnyPath,
        progress: ProgressCallback | None = None,
        *,
        follow: bool = False,
    ) -> Report:
        """Copy the host's `source` so that it becomes `path`, as `cp -r` would.

        What could not be copied stands in the report; see vfsd.control.sending.
        """
        steps = sending.put_tree(os.fsencode(source), self._place(path), progress, follow=follow)
        return await self._run(steps)

    async def get_tree(
        self,
        path: AnyPath,
        target: AnyPath,
        progress: ProgressCallback | None = None,
        *,
        follow: bool = False,
    ) -> Report:
        """Copy `path` onto the host so that it becomes `target`; never through a symlink.

        What could not be copied stands in the report; see vfsd.control.receiving.
        """
        steps = receiving.get_tree(self._place(path), os.fsencode(target), progress, follow=follow)
        return await self._run(steps)

    async def open(self, path: AnyPath, mode: str = "rb", permissions: int = 0o666) -> AsyncFile:
        """Open a file; unbuffered and binary."""
        flags = flags_of(mode)
        fd, _ = await self._call(
            calls.open_file(self._place(path), flags, permissions & ~read_umask())
        )
        return AsyncFile(self._conversation, fd)


class AsyncFile(AsyncResource):
    """A file that the daemon holds open; `fd` is its virtual fd. It has no position of its own."""

    def __init__(self, conversation: Conversation, fd: int) -> None:
        self.fd = fd
        self._call = conversation.call
        self._is_open = True

    async def pread(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes from `offset`, at most a message's load."""
        return await self._call(calls.read(self.fd, offset, size))

    async def pwrite(self, data: bytes, offset: int) -> int:
        """Write up to a message's load at `offset`; return how much that was."""
        return await self._call(calls.write(self.fd, offset, data[:DATA_LIMIT_BYTES]))

    async def truncate(self, size: int) -> int:
        """Set the file's size."""
        await self._call(calls.ftruncate(self.fd, size))
        return size

    async def stat(self) -> FileInfo:
        """Return the attributes of the open file, which may have no name any more."""
        return await self._call(calls.fstat(self.fd))

    async def sync(self, *, data_only: bool = False) -> None:
        """Return once what was written is durable."""
        await self._call(calls.fsync(self.fd, data_only=data_only))

    async def aclose(self) -> None:
        """Close the file; may be called twice."""
        if self._is_open:
            self._is_open = False
            with suppress(ConnectionError):  # a connection that ended closed it
                await self._call(calls.close(self.fd))
