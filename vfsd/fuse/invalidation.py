"""Telling the kernel what changed by another door, so that caches can be long.

Changes are noted at once and carried out in threads: an invalidation waits for the directory's
lock in the kernel, whose holder may be waiting for an answer from this very event loop. Each
attachment has a queue of its own, so a provider that hangs, and with it a lookup that holds a
directory's lock, holds up what is told about itself and nothing else.

A queue is bounded and folded by (inode, name); past the bound everything of its attachment is
invalidated instead. "Everything" drops the names below an attach point by invalidating its own
entry (the kernel prunes the subtree, known names and known absences alike), and for the root
each name in its directory that the kernel may hold.

The kernel does not know an inode before the caller of the lookup that found it woke up, which
may be later than a change to that file; the kernel then says ENOENT, and would keep what the
lookup said. That caller holds the lock of the directory until it has the inode: so an
invalidation in that directory, of a name that none has, waits for it, and the next one of the
inode is heard.

Concurrency: `changed` from the event loop only; `settled` waits until all that was noted
before it about the given attachments was carried out.

Source: Linux fs/fuse/dir.c, fuse_reverse_inval_entry, and inode.c, fuse_reverse_inval_inode;
fs/dcache.c, d_invalidate.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Collection

import pyfuse3
import trio

from vfsd.contract import Change
from vfsd.fuse.inodes import NUMBER_BITS, Inode, InodeTable, mint
from vfsd.tree import Attachment

log = logging.getLogger(__name__)

PENDING_MAX = 65_536
"""Notes an attachment keeps before all of them are replaced by "everything changed"."""

NAMES_MAX = 65_536
"""Names in the root directory remembered for "everything"; past it, the kernel drops the oldest."""

THREADS_MAX = 256
"""Attachments that the kernel can be told about at a time; each that hangs takes up one."""

NO_NAME = b"."
"""Known to every directory, and never to the kernel's cache of names."""

_UNKNOWN_TO_KERNEL = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)

Note = tuple[int, bytes | None]
"""An inode number and a name in it, or None for the inode itself."""


class Queue:
    """What is to be told about one attachment; it exists while there is something."""

    __slots__ = ("attachment", "done", "everything", "noted", "pending", "progress")

    def __init__(self, attachment: Attachment) -> None:
        self.attachment = attachment
        self.pending: dict[Note, bool] = {}
        self.everything = False
        self.noted = 0
        self.done = 0
        self.progress = trio.Event()
        """Set, and replaced, when something was carried out."""


class Invalidator:
    """A `TreeListener` that keeps the kernel's caches true."""

    def __init__(self, inodes: InodeTable) -> None:
        self._inodes = inodes
        self._queues: dict[Attachment, Queue] = {}
        self._nursery: trio.Nursery | None = None
        self._threads = trio.CapacityLimiter(THREADS_MAX)
        self.noted = 0
        """Changes noted so far. What a provider told before one of them may be outdated."""
        self.root_names: dict[bytes, None] = {}
        """Names asked for in the root directory, found or not: its negative entries too."""
        self.sent = 0
        self._busy = 0
        """Threads that are telling the kernel."""
        self._idle = trio.Event()
        self._ceasing = False

    # -- TreeListener ---------------------------------------------------------------------

    def changed(self, attachment: Attachment, change: Change) -> None:
        self.noted += 1
        if self._ceasing:
            return
        if change.node is None:
            self._queue(attachment).everything = True
            return
        ino = mint(attachment, change.node)
        if ino not in self._inodes.by_ino:
            return
        queue = self._queue(attachment)
        pending = queue.pending
        if len(pending) >= PENDING_MAX:
            queue.everything = True
            pending.clear()
        elif change.name is not None:
            pending[ino, change.name] = True
            pending[ino, None] = True  # the data of a directory is its listing
        elif change.data or (ino, None) not in pending:
            pending[ino, None] = change.data

    async def settled(self, attachments: Collection[Attachment]) -> None:
        queues = [self._queues.get(attachment) for attachment in attachments]
        targets = [(queue, queue.noted) for queue in queues if queue is not None]
        for queue, target in targets:
            while queue.done < target:
                await queue.progress.wait()

    def drop_listing(self, inode: Inode) -> None:
        """Have the kernel drop the listing it keeps of a directory, which did not change."""
        if not self._ceasing:
            self._queue(inode.attachment).pending[inode.ino, None] = True

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
            root = self._inodes.root
            self._queue(root.attachment).pending[root.ino, oldest] = True

    def _queue(self, attachment: Attachment) -> Queue:
        """Return the attachment's queue, in which one more change is about to be noted."""
        queue = self._queues.get(attachment)
        if queue is None:
            queue = self._queues[attachment] = Queue(attachment)
            if self._nursery is not None:
                self._nursery.start_soon(self._carry_out_all, queue)
        queue.noted += 1
        return queue

    async def run(self) -> None:
        """Carry out what is noted, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                for queue in self._queues.values():
                    self._nursery.start_soon(self._carry_out_all, queue)
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def _carry_out_all(self, queue: Queue) -> None:
        while queue.done < queue.noted:
            target, work = queue.noted, self._take(queue)
            if work and not self._ceasing:
                self._busy += 1
                try:
                    await trio.to_thread.run_sync(
                        self._carry_out, work, abandon_on_cancel=True, limiter=self._threads
                    )
                finally:
                    self._busy -= 1
                    if not self._busy:
                        self._idle.set()
            queue.done = target
            queue.progress.set()
            queue.progress = trio.Event()
        del self._queues[queue.attachment]

    async def cease(self) -> None:
        """Tell the kernel nothing more, and return when no thread does any more.

        To be waited for while requests are still answered: the kernel may hold the thread until
        one is, and /dev/fuse, and with it everybody who waits for an answer, until the thread
        is back.
        """
        self._ceasing = True
        while self._busy:
            self._idle = trio.Event()
            await self._idle.wait()

    def _take(self, queue: Queue) -> list[tuple[Note, bool]]:
        work = list(queue.pending.items())
        queue.pending.clear()
        if queue.everything:
            queue.everything = False
            work.extend(self._all_of(queue.attachment))
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
            if name is not None:
                self._send(pyfuse3.invalidate_entry, ino, name)
            elif not self._send(pyfuse3.invalidate_inode, ino, not data):
                self._send_again(ino, not data)
        self.sent += len(work)

    def _send_again(self, ino: int, attr_only: bool) -> None:
        """Tell about an inode that the kernel may only be about to know; see the module."""
        inode = self._inodes.by_ino.get(ino)
        if inode is not None:
            self._send(pyfuse3.invalidate_entry, inode.parent_ino, NO_NAME)
            self._send(pyfuse3.invalidate_inode, ino, attr_only)

    def _send(self, invalidate: Callable[..., None], *args: object) -> bool:
        """Tell the kernel; False if it knows of no such thing."""
        try:
            invalidate(*args)
        except OSError as error:
            if error.errno in _UNKNOWN_TO_KERNEL:
                return False
            log.warning("the kernel refused %s%r: %s", invalidate.__name__, args, error)
        return True

    def statistics(self) -> dict[str, int]:
        """Return how many changes were noted, and how many messages the kernel was sent."""
        return {"changes_noted": self.noted, "invalidations_sent": self.sent}
