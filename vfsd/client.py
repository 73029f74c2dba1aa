"""The Python face of a running daemon: files, attachments and changes, without the mount.

    from vfsd import client

    with client.connect("/virtual/app") as tree:
        tree.write_bytes("greeting.txt", b"hello")        # /virtual/app/greeting.txt
        tree.attach("memory", "/scratch")                  # /virtual/scratch
        tree.put_tree("./src", "src")                      # like cp -r, in a few messages
        with tree.open("log", "ab") as log:                # log.fd is a virtual fd
            log.write(b"line\n")

Paths are str, bytes or path-like, and relative to the path that was connected; with a leading
slash they start at the mountpoint. What is written here is seen at once through the mount, and
the other way round. Errors of files are `OSError` with the errno that the system call would
have; `UserError` is a sentence for a person; a daemon that went away is `ConnectionError`.

What it is *not*: the protocol (docs/CONTROL.md); for trio programs there is vfsd.aclient with
the same methods.

Concurrency: a `Client` may be used by several threads, one request at a time. Imports no trio.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from vfsd import runtime
from vfsd.attributes import StatFs
from vfsd.control import calls, contents, receiving, sending
from vfsd.control.blocking import Conversation
from vfsd.control.calls import AnyPath, place
from vfsd.control.modes import flags_of, read_umask
from vfsd.control.remotefile import RemoteFile
from vfsd.control.replies import Attached, Event, FileInfo, SnapshotInfo, events
from vfsd.control.snapshotface import Snapshots
from vfsd.control.transfer import Problem, Progress, ProgressCallback, Report

__all__ = [
    "Attached",
    "Client",
    "Event",
    "FileInfo",
    "Problem",
    "Progress",
    "RemoteFile",
    "Report",
    "SnapshotInfo",
    "connect",
]


def connect(path: AnyPath = ".", timeout_s: float | None = None) -> Client:
    """Connect to the daemon that serves `path`. UserError (NOT_MOUNTED) if none does.

    With `timeout_s` a daemon that does not answer for so long counts as lost.
    """
    return Client(runtime.find(os.fsencode(path)), timeout_s)


class Client:
    """A connection to a daemon; a context manager that closes it and all its files."""

    def __init__(self, served: runtime.Served, timeout_s: float | None = None) -> None:
        """Connect to a daemon and greet it; see `connect`."""
        self._served = served
        self._base = served.prefix
        self._conversation = Conversation(served, timeout_s)
        self._call = self._conversation.call
        self._run = self._conversation.run
        self.snapshots = Snapshots(self._conversation, self._place)
        try:
            self.greeting = self._call(calls.hello())
        except BaseException:
            self.close()
            raise

    @property
    def mountpoint(self) -> bytes:
        """Where the daemon's tree is mounted."""
        return self._served.mountpoint

    def close(self) -> None:
        """End the connection; open files of it are closed by the daemon."""
        self._conversation.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _place(self, path: AnyPath) -> bytes:
        return place(self._base, path)

    # -- the daemon -----------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Return what the daemon serves, and its counters."""
        return self._call(calls.status())

    def stop(self) -> None:
        """Have the daemon unmount and end; it does so after this returned."""
        self._call(calls.stop())

    def attach(
        self,
        source: AnyPath,
        prefix: AnyPath,
        options: Mapping[str, str] | None = None,
        *,
        read_only: bool = False,
    ) -> Attached:
        """Attach a provider: its name, ``name:source``, or an absolute host path."""
        at = self._place(prefix)
        return self._call(calls.attach(at, source, options or {}, read_only=read_only))

    def detach(self, prefix: AnyPath, *, lazy: bool = False) -> None:
        """Take an attached provider away; EBUSY while it is used, unless `lazy`."""
        self._call(calls.detach(self._place(prefix), lazy=lazy))

    def snapshot(self, prefix: AnyPath, at: AnyPath) -> Attached:
        """Attach a sealed copy of what is attached at `prefix`, at `at`. EOPNOTSUPP."""
        return self._call(calls.snapshot(self._place(prefix), self._place(at)))

    def fork(self, prefix: AnyPath, at: AnyPath) -> Attached:
        """Attach a writable copy of what is attached at `prefix`, at `at`. EOPNOTSUPP."""
        return self._call(calls.fork(self._place(prefix), self._place(at)))

    def watch(self, prefix: AnyPath = "") -> Watch:
        """Watch what changes in the attachments at or below `prefix`, from now on.

        Iterate over the result; it has a connection of its own, which `close` ends.
        """
        return Watch(Client(self._served), self._place(prefix))

    def top(self, interval_s: float = 1.0) -> Samples:
        """Measure what the mount is asked, from now on; a sample per interval.

        Iterate over the result; it has a connection of its own, and closing it ends the measuring.
        """
        return Samples(Client(self._served), interval_s)

    # -- looking --------------------------------------------------------------------------

    def stat(self, path: AnyPath, *, follow: bool = True) -> FileInfo:
        """Return the attributes of a file."""
        return self._call(calls.stat(self._place(path), follow=follow))

    def exists(self, path: AnyPath, *, follow: bool = True) -> bool:
        """Say whether there is such a file."""
        try:
            self.stat(path, follow=follow)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def listdir(self, path: AnyPath = "") -> list[bytes]:
        """Return all names in a directory, sorted."""
        return [name for name, _ in self.scandir(path)]

    def scandir(self, path: AnyPath = "") -> list[tuple[bytes, FileInfo]]:
        """Return all names in a directory with their attributes, sorted."""
        return self._run(calls.list_all(self._place(path)))

    def readlink(self, path: AnyPath) -> bytes:
        """Return a symlink's target."""
        return self._call(calls.readlink(self._place(path)))

    def statfs(self, path: AnyPath = "") -> StatFs:
        """Return the room in the provider that holds `path`."""
        return self._call(calls.statfs(self._place(path)))

    def read_bytes(self, path: AnyPath) -> bytes:
        """Return the whole data of a file."""
        return self._run(contents.read_bytes(self._place(path)))

    def getxattr(self, path: AnyPath, name: str | bytes, *, follow: bool = True) -> bytes:
        """Return the value of an extended attribute."""
        return self._call(calls.getxattr(self._place(path), os.fsencode(name), follow=follow))

    def listxattr(self, path: AnyPath, *, follow: bool = True) -> list[bytes]:
        """Return the names of all extended attributes."""
        return self._call(calls.listxattr(self._place(path), follow=follow))

    # -- changing -------------------------------------------------------------------------

    def write_bytes(self, path: AnyPath, data: bytes, mode: int = 0o666) -> None:
        """Make or replace a file; others see the old one or the whole new one.

        A replaced file's mode and owner are kept; a symlink is replaced, not followed.
        """
        self._run(contents.write_bytes(self._place(path), data, mode & ~read_umask()))

    def mkdir(self, path: AnyPath, mode: int = 0o777, *, parents: bool = False) -> None:
        """Make a directory; with `parents` missing ones on the way, and it may exist."""
        self._call(calls.mkdir(self._place(path), mode & ~read_umask(), parents=parents))

    def mknod(self, path: AnyPath, mode: int, rdev: int = 0) -> None:
        """Make a file of the type in `mode`."""
        self._call(calls.mknod(self._place(path), mode & ~read_umask(), rdev))

    def symlink(self, target: AnyPath, path: AnyPath) -> None:
        """Make the symlink `path`; `target` is stored as it is."""
        self._call(calls.symlink(self._place(path), os.fsencode(target)))

    def link(self, source: AnyPath, target: AnyPath) -> None:
        """Give the file `source` another name, `target`."""
        self._call(calls.link(self._place(source), self._place(target)))

    def unlink(self, path: AnyPath) -> None:
        """Remove a name that is not a directory."""
        self._call(calls.unlink(self._place(path)))

    def rmdir(self, path: AnyPath) -> None:
        """Remove an empty directory."""
        self._call(calls.rmdir(self._place(path)))

    def remove_tree(self, path: AnyPath, progress: Callable[[int], None] | None = None) -> int:
        """Remove a file, or a directory with all below; return how many files that was."""

        def on_part(value: object) -> None:
            if progress is not None and isinstance(value, int):
                progress(value)

        return self._call(calls.remove_tree(self._place(path)), on_part)

    def rename(self, source: AnyPath, target: AnyPath, flags: int = 0) -> None:
        """Rename as `renameat2(2)`: `flags` is 0, 1 (never replace) or 2 (exchange)."""
        self._call(calls.rename(self._place(source), self._place(target), flags))

    def setattr(
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
        return self._call(
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

    def truncate(self, path: AnyPath, size: int) -> None:
        """Set the size of a file."""
        self._call(calls.truncate(self._place(path), size))

    def setxattr(
        self, path: AnyPath, name: str | bytes, value: bytes, *, follow: bool = True
    ) -> None:
        """Set an extended attribute."""
        self._call(calls.setxattr(self._place(path), os.fsencode(name), value, follow=follow))

    def removexattr(self, path: AnyPath, name: str | bytes, *, follow: bool = True) -> None:
        """Remove an extended attribute."""
        self._call(calls.removexattr(self._place(path), os.fsencode(name), follow=follow))

    # -- trees and open files ---------------------------------------------------------------

    def put_tree(
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
        return self._run(steps)

    def get_tree(
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
        return self._run(steps)

    def open(self, path: AnyPath, mode: str = "rb", permissions: int = 0o666) -> RemoteFile:
        """Open a file, unbuffered and binary; wrap it in `io.BufferedReader` where that helps."""
        flags = flags_of(mode)
        fd, _ = self._call(calls.open_file(self._place(path), flags, permissions & ~read_umask()))
        return RemoteFile(self._call, fd, flags)


class Watch(Iterator[Event]):
    """Changes, one at a time; blocks until there is one."""

    def __init__(self, client: Client, prefix: bytes) -> None:
        self._client = client
        self._conversation = client._conversation
        self._waiting: list[Event] = []
        self._conversation.begin(calls.watch(prefix))
        events(self._conversation.next_part())  # empty: from now on nothing is missed

    def __next__(self) -> Event:
        while not self._waiting:
            self._waiting = events(self._conversation.next_part())
        return self._waiting.pop(0)

    def close(self) -> None:
        """Stop watching."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Samples(Iterator[dict[str, Any]]):
    """Samples of a mount's requests (docs/CONTROL.md says what is in one); blocks for the next."""

    def __init__(self, client: Client, interval_s: float) -> None:
        self._client = client
        self._conversation = client._conversation
        try:
            self._conversation.begin(calls.top(round(interval_s * 1000)))
            calls.json_object(self._conversation.next_part())  # empty: all is measured from now on
        except BaseException:
            client.close()
            raise

    def __next__(self) -> dict[str, Any]:
        return calls.json_object(self._conversation.next_part())

    def close(self) -> None:
        """Stop measuring."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
