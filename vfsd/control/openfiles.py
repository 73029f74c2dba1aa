"""The virtual fds of one connection: it may use only its own, and all go with it.

They come from the daemon's one table, so their numbers never collide with those of files that
were opened through the mount.

Concurrency: `taken` changes between awaits. A file is released once no request uses it: a
close during a read on the same fd makes the number invalid at once and the release late.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from vfsd.contract import Handle, Node
from vfsd.errors import fail
from vfsd.handles import HandleTable
from vfsd.tree import Attachment, Place

log = logging.getLogger(__name__)

FILES_LIMIT = 4096
"""Files that one connection may have open (EMFILE past it)."""

RELEASE_TIMEOUT_SECONDS = 5.0
"""Longest wait for a file to be released when its client is gone or the daemon ends."""


@dataclass(slots=True, eq=False)
class ControlFile:
    """An open file of a connection; `staged` names where its temporary entry stands."""

    fd: int
    place: Place
    handle: Handle
    writable: bool
    staged: tuple[Place, bytes] | None = None
    users: int = 0
    closing: bool = False


class OpenFiles:
    """What one connection has open."""

    def __init__(self, table: HandleTable) -> None:
        self._table = table
        self.taken: dict[int, ControlFile] = {}

    async def add(
        self,
        attachment: Attachment,
        node: Node,
        handle: Handle,
        *,
        writable: bool,
        staged: tuple[Place, bytes] | None = None,
    ) -> ControlFile:
        """Take over `handle` under a new virtual fd; it is released if that fails. EMFILE."""
        try:
            if len(self.taken) >= FILES_LIMIT:
                raise fail(errno.EMFILE)
            if not attachment.attached:
                raise fail(errno.ESTALE)  # detached while the provider was opening it
            fd = self._table.add(attachment, node, handle).fh
        except OSError:
            await release(handle)
            raise
        file = self.taken[fd] = ControlFile(fd, Place(attachment, node), handle, writable, staged)
        return file

    @asynccontextmanager
    async def using(self, fd: int) -> AsyncIterator[ControlFile]:
        """Yield the open file, which is not released meanwhile. EBADF if it is not ours."""
        file = self.taken.get(fd)
        if file is None:
            raise fail(errno.EBADF)
        file.users += 1
        try:
            yield file
        finally:
            file.users -= 1
            if file.closing and not file.users:
                await self._finish(file)

    def take(self, fd: int) -> ControlFile:
        """Make the number invalid and return its file, which the caller `close`s. EBADF."""
        file = self.taken.pop(fd, None)
        if file is None:
            raise fail(errno.EBADF)
        return file

    async def close(self, file: ControlFile) -> None:
        """Release a file that was `take`n, or have its last user do it."""
        file.closing = True
        if not file.users:
            await self._finish(file)

    async def close_all(self) -> list[tuple[Place, bytes]]:
        """Close everything; return where temporary entries of staged files still stand."""
        staged = []
        for file in list(self.taken.values()):
            if file.staged is not None:
                staged.append(file.staged)
            await self.close(self.take(file.fd))
        return staged

    async def _finish(self, file: ControlFile) -> None:
        self._table.remove(file.fd)
        await release(file.handle)


async def release(handle: Handle) -> None:
    """Release a handle, also in a cancelled task; errors are logged, as nobody is left to tell."""
    with trio.move_on_after(RELEASE_TIMEOUT_SECONDS, shield=True):
        try:
            await handle.release()
        except OSError as error:
            log.error("closing a file failed: %s", error)
