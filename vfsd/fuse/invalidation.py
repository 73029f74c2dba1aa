"""Telling the kernel what changed by another door, so that caches can be long.

Changes are noted at once and carried out by one task, in a thread: an invalidation waits for
the directory's lock in the kernel, whose holder may be waiting for an answer from this very
event loop.

A bounded set of pending notes, folded by (inode, name); past the bound everything is
invalidated instead. "Everything" drops the names below an attach point by invalidating its own
entry (the kernel prunes the subtree, known names and known absences alike), and for the root
each name in its directory that the kernel may hold.

Concurrency: `changed` from the event loop only; `settled` waits until all that was noted
before it was carried out.

Source: Linux fs/fuse/dir.c, fuse_reverse_inval_entry; fs/dcache.c, d_invalidate.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

import pyfuse3
import trio

from vfsd.contract import Change
from vfsd.fuse.inodes import NUMBER_BITS, InodeTable, mint
from vfsd.fuse.shim import weigh
from vfsd.tree import Attachment

log = logging.getLogger(__name__)

PENDING_MAX = 65_536
"""Notes kept before all of them are replaced by "everything changed"."""

NAMES_MAX = 65_536
"""Names in the root directory remembered for "everything"; past it, the kernel drops the oldest."""

_UNKNOWN_TO_KERNEL = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)

Note = tuple[int, bytes | None]
"""An inode number and a name in it, or None for the inode itself."""


class Invalidator:
    """A `TreeListener` that keeps the kernel's caches true."""

    def __init__(self, inodes: InodeTable) -> None:
        self._inodes = inodes
        self._pending: dict[Note, bool] = {}
        self._everything: set[Attachment] = set()
        self._wake = trio.Event()
        self.noted = 0
        """Changes noted so far. What a provider told before one of them may be outdated."""
        self._done = 0
        self._progress = trio.Condition()
        self.root_names: dict[bytes, None] = {}
        """Names asked for in the root directory, found or not: its negative entries too."""
        self.sent = 0
        self._busy = False
        """A thread is telling the kernel."""
        self._ceasing = False

    # -- TreeListener ---------------------------------------------------------------------

    def changed(self, attachment: Attachment, change: Change) -> None:
        self.noted += 1
        if change.node is None:
            weigh(attachment)
        if change.node is None or len(self._pending) >= PENDING_MAX:
            self._everything.add(attachment)
        else:
            ino = mint(attachment, change.node)
            if ino in self._inodes.by_ino:
                if change.name is not None:
                    self._pending[ino, change.name] = True
                    self._pending[ino, None] = True  # the data of a directory is its listing
                elif change.data or (ino, None) not in self._pending:
                    self._pending[ino, None] = change.data
        self._wake.set()

    async def settled(self) -> None:
        target = self.noted
        async with self._progress:
            while self._done < target:
                await self._progress.wait()

    def keeps(self, attachment: Attachment, number: int) -> bool:
        return attachment.index << NUMBER_BITS | number in self._inodes.by_ino

    # -- carrying out ---------------------------------------------------------------------

    def note_root_name(self, name: bytes) -> None:
        """Remember that the kernel asked for `name` in the root directory."""
        names = self.root_names
        names[name] = None
        if len(names) > NAMES_MAX:
            oldest = next(iter(names))
            del names[oldest]
            self._pending[self._inodes.root.ino, oldest] = True
            self._wake.set()

    async def run(self) -> None:
        """Carry out what is noted, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            target, work = self.noted, self._take()
            if work and not self._ceasing:
                self._busy = True
                await trio.to_thread.run_sync(self._carry_out, work, abandon_on_cancel=True)
            async with self._progress:
                self._busy = False
                self._done = target
                self._progress.notify_all()

    async def cease(self) -> None:
        """Tell the kernel nothing more, and return when no thread does any more.

        To be waited for while requests are still answered: the kernel may hold the thread until
        one is, and /dev/fuse, and with it everybody who waits for an answer, until the thread
        is back.
        """
        self._ceasing = True
        async with self._progress:
            while self._busy:
                await self._progress.wait()

    def _take(self) -> list[tuple[Note, bool]]:
        work = list(self._pending.items())
        self._pending.clear()
        for attachment in self._everything:
            work.extend(self._all_of(attachment))
        self._everything.clear()
        return work

    def _all_of(self, attachment: Attachment) -> list[tuple[Note, bool]]:
        work: list[tuple[Note, bool]] = [
            ((inode.ino, None), True) for inode in self._inodes.of(attachment)
        ]
        if attachment.host is None:
            root = self._inodes.root.ino
            work.extend(((root, name), True) for name in self.root_names)
        elif attachment.host_node is not None:
            work.append(((mint(attachment.host, attachment.host_node), attachment.name), True))
        return work

    def _carry_out(self, work: list[tuple[Note, bool]]) -> None:
        for (ino, name), data in work:
            if self._ceasing:
                return
            if name is None:
                self._send(pyfuse3.invalidate_inode, ino, not data)
            else:
                self._send(pyfuse3.invalidate_entry, ino, name)
        self.sent += len(work)

    def _send(self, invalidate: Callable[..., None], *args: object) -> None:
        try:
            invalidate(*args)
        except OSError as error:
            if error.errno not in _UNKNOWN_TO_KERNEL:
                log.warning("the kernel refused %s%r: %s", invalidate.__name__, args, error)

    def statistics(self) -> dict[str, int]:
        """Return how many changes were noted, and how many messages the kernel was sent."""
        return {"changes_noted": self.noted, "invalidations_sent": self.sent}
