"""Measuring requests while somebody looks, and only then.

The handlers of `Operations` know nothing of it. The first window that opens puts a measured
handler over each one, as an attribute of the instance, which pyfuse3 finds first; with the last
window they go again. So a mount that nobody looks at takes no time, counts nothing and asks no
clock: its path is the same code as if this module were not there.

A latency is the time from the start of a handler to its reply: the wait of a request in the
kernel's queue and the kernel's own part are not in it.

What it is *not*: the sums (tallies.py), or who may look and how often (vfsd/control/metering.py).

Concurrency: used from the event loop. /proc is read at the first request of a thread: its
caller waits for us, so it is still there, and these files are made of what the kernel holds
anyway, so reading them waits for nobody (`cmdline`, which lies in a process's memory and so may
lie in a file of ours, is not read).

Source: proc_pid_comm(5), proc_pid_status(5); pyfuse3 3.5 handlers.pxi (`operations.NAME`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import pyfuse3

from vfsd.attachment import Attachment
from vfsd.fuse.directories import BY_INODE
from vfsd.fuse.shim import shim
from vfsd.fuse.tallies import Window

if TYPE_CHECKING:
    from vfsd.fuse.operations import Operations

BY_HANDLE = frozenset({"read", "write", "release", "fsync", "readdir", "releasedir", "fsyncdir"})
"""Kinds whose first argument is a handle; that of most others is an inode's number."""
OF_NOTHING = frozenset({"forget", "statfs"})
COMMANDS_LIMIT = 4096
"""Threads whose process is remembered; all are forgotten when there are more."""

Handler = Callable[..., Awaitable[Any]]


class Meter:
    """Measures the requests of one mount for as many windows as are open."""

    def __init__(self, operations: Operations, kinds: tuple[str, ...]) -> None:
        self._operations = operations
        self._kinds = kinds
        self._windows: list[Window] = []
        self._processes: dict[int, int] = {}
        """From a thread's number to its process's."""
        self._commands: dict[int, str] = {}
        self._unasked: set[int] = set()
        """Handles the kernel keeps a cache for, and has not asked for data so far."""

    @property
    def windows(self) -> int:
        """How many look."""
        return len(self._windows)

    @contextmanager
    def open_window(self) -> Iterator[Callable[[], dict[str, object]]]:
        """Measure while the block runs; gives a function that takes what was counted so far."""
        window = Window()
        if not self._windows:
            self._put_over()
        self._windows.append(window)
        try:
            yield lambda: window.take(self._commands)
        finally:
            self._windows.remove(window)
            if not self._windows:
                self._take_away()

    def _put_over(self) -> None:
        own = vars(self._operations)
        for kind in self._kinds:
            # What the instance has already is a kind that it refuses.
            if kind not in own:
                setattr(self._operations, kind, self._measured(kind))

    def _take_away(self) -> None:
        own = vars(self._operations)
        for kind in self._kinds:
            if hasattr(own.get(kind), "measures"):
                delattr(self._operations, kind)
        self._processes.clear()
        self._commands.clear()
        self._unasked.clear()

    def _measured(self, kind: str) -> Handler:
        handle: Handler = getattr(self._operations, kind)

        async def measured(*args: Any) -> Any:  # noqa: ANN401
            key = (kind, self._attachment(kind, args), self._process(args))
            self._before(kind, args)
            failed, reply, began_ns = True, None, perf_counter_ns()
            try:
                reply = await handle(*args)
                failed = False
            finally:
                took_ns = perf_counter_ns() - began_ns
                for window in self._windows:
                    window.note(
                        key,
                        took_ns,
                        failed=failed,
                        read_bytes=self._read_bytes(kind, reply),
                        written_bytes=reply if reply and kind == "write" else 0,
                    )
            self._after(kind, reply)
            return reply

        # A function takes attributes, which its type does not tell.
        measured.measures = True  # type: ignore[attr-defined]
        return measured

    def _read_bytes(self, kind: str, reply: Any) -> int:  # noqa: ANN401
        """Return how much data the kernel got: for a small file, with its opening."""
        if kind == "read":
            return len(reply) if reply else 0
        return self._given(reply) if kind == "open" and reply else 0

    def _given(self, reply: pyfuse3.FileInfo) -> int:
        return self._operations.handles.open_files[reply.fh].given_bytes

    # -- whose request ----------------------------------------------------------------------

    def _attachment(self, kind: str, args: tuple[Any, ...]) -> Attachment | None:
        operations = self._operations
        if kind in OF_NOTHING:
            return None
        number = args[0]
        if kind in BY_HANDLE:
            if not number & BY_INODE:
                open_file = operations.handles.open_files.get(number)
                return open_file.attachment if open_file is not None else None
            number ^= BY_INODE
        inode = operations.inodes.by_ino.get(number)
        return inode.attachment if inode is not None else None

    def _process(self, args: tuple[Any, ...]) -> int:
        """Return the pid of who asks; 0 for the kernel itself, and where nobody tells."""
        if shim is not None and shim.works:
            thread = shim.caller()
        else:
            # Without the shim, pyfuse3 tells of requests on names and inodes only.
            context = args[-1]
            thread = context.pid if isinstance(context, pyfuse3.RequestContext) else 0
        process = self._processes.get(thread)
        if process is None:
            if len(self._processes) >= COMMANDS_LIMIT:
                self._processes.clear()
                self._commands.clear()
            process, command = process_of(thread)
            self._processes[thread] = process
            self._commands[process] = command
        return process

    # -- what the kernel keeps --------------------------------------------------------------

    def _before(self, kind: str, args: tuple[Any, ...]) -> None:
        """Follow handles that end, or that data is asked of, before they are gone."""
        if kind == "read":
            self._unasked.discard(args[0])
        elif kind == "release" and args[0] in self._unasked:
            self._unasked.remove(args[0])
            for window in self._windows:
                window.cache.files_unasked += 1

    def _after(self, kind: str, reply: object) -> None:
        """Follow handles that the kernel keeps a cache for."""
        if kind == "open" and isinstance(reply, pyfuse3.FileInfo):
            kept = reply.keep_cache and not reply.direct_io
            for window in self._windows:
                window.cache.opens += 1
                window.cache.opens_kept += kept
            if kept and not self._given(reply):
                self._unasked.add(reply.fh)


def process_of(thread: int) -> tuple[int, str]:
    """Return the process that a thread belongs to, and its command's name; ("" once gone)."""
    if not thread:
        return 0, "(kernel)"
    try:
        with open(f"/proc/{thread}/status", "rb") as status:
            lines = status.read(512).splitlines()
        process = next(int(line.split()[1]) for line in lines if line.startswith(b"Tgid:"))
        with open(f"/proc/{process}/comm", "rb") as comm:
            return process, comm.read(64).rstrip(b"\n").decode(errors="backslashreplace")
    except (OSError, ValueError, StopIteration):
        return thread, ""
