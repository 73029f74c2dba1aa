"""An open regular file of the host.

Reads of what the page cache holds are made in the event loop (`RWF_NOWAIT`); what is not there
is fetched in a thread, as are large writes and every fsync. On storage that may block all of
it is done in threads.

An append is the host's own O_APPEND: it is atomic against all writers, the host's included. Pages
that the kernel writes back by such a handle say that they are none (RWF_NOAPPEND, Linux 6.9), or
go by a second opening of the same file.

Concurrency: as many calls at a time as callers make; the fd closes with the last of them.

Source: preadv2(2), pwritev2(2); inode(7) for setuid and setgid bits.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from typing import TYPE_CHECKING

from providers.passthrough.changing import drop_setid
from providers.passthrough.held import HeldFd
from providers.passthrough.look import open_again, stat_of
from providers.passthrough.nodes import HostNode
from vfsd.errors import fail
from vfsd.provider import Caller, Handle, Stat

if TYPE_CHECKING:
    from providers.passthrough.host import Host

INLINE_MAX = 128 << 10
"""A write of more bytes than this is made in a thread: it may have to wait for the disk."""

RWF_NOAPPEND = 0x20
"""Not in Python's `os`. Source: Linux include/uapi/linux/fs.h."""

READ_MAX = 1 << 20
"""Size of the buffer that reads in the event loop share."""

_view = memoryview(mmap.mmap(-1, READ_MAX, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
"""Its content is the caller's until it next awaits, as the contract says.

It begins at a page: what malloc maps begins 16 bytes behind one, whereto the kernel copies three
times slower (vfsd/archive/scratch.py).
"""

_without_nowait: set[int] = set()
"""Devices whose file systems have no RWF_NOWAIT, tmpfs among them: there all is in memory."""


class PassthroughHandle(Handle):
    """See the module; `release` ends it."""

    __slots__ = (
        *("_beside", "_flags", "_gid", "_held", "_provider", "_size"),
        *("keep_cache", "node", "past_cache"),
    )

    def __init__(
        self,
        provider: Host,
        node: HostNode,
        held: HeldFd,
        flags: int,
        gid: int | None,
        size: int | None = None,
    ) -> None:
        """`size` is the file's when it was opened, None where that is not worth knowing."""
        self._provider = provider
        self.node = node
        self._held: HeldFd | None = held
        self._beside: HeldFd | None = None
        """The same file, open so that nothing is appended."""
        self._flags = flags
        self._size = size
        self._gid = gid
        """Of whom setuid and setgid bits fall by writing; None if the host sees to it."""
        self.keep_cache = not node.mapped
        self.past_cache = node.dev == provider.fine_times_dev
        node.fds.append(held)

    def _fd(self) -> HeldFd:
        if self._held is None:
            raise fail(errno.EBADF)
        return self._held

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        held = self._fd()
        if self._flags & os.O_ACCMODE == os.O_WRONLY:
            raise fail(errno.EBADF)
        if not self.node.slow and size <= READ_MAX:
            count = _read_cached(held.fd, self.node.dev, offset, size)
            if count is not None:
                return _view[:count]
        return await self._provider.threads.look(lambda: os.pread(held.fd, size, offset))

    def at_once(self, limit_bytes: int) -> memoryview | None:
        held = self._fd()
        size = self._size
        if self.node.slow or self._flags & os.O_ACCMODE == os.O_WRONLY:
            return None
        if size is None or size > limit_bytes or size >= READ_MAX:
            return None
        count = _read_at_once(held.fd, self.node.dev, 0, 0, size + 1)
        return _view[:size] if count == size else None

    async def write(self, offset: int, data: bytes) -> int:
        held = self._fd()
        if not held.writable:
            raise fail(errno.EBADF)
        gid = self._gid
        if self._waits(len(data)):

            def write() -> tuple[int, os.stat_result]:
                if gid is not None:
                    drop_setid(held.fd, gid)
                return _write_all(held.fd, offset, data), os.fstat(held.fd)

            return self._noted(*await self._provider.threads.change(write))
        if gid is not None:
            drop_setid(held.fd, gid)
        written = _write_all(held.fd, offset, data)
        return self._noted(written, os.fstat(held.fd)) if self._provider.watching else written

    async def write_back(self, offset: int, data: bytes) -> int:
        held = self._fd()
        if not held.writable:
            raise fail(errno.EBADF)

        def write() -> tuple[int, os.stat_result]:
            if not self._flags & os.O_APPEND:
                return _write_all(held.fd, offset, data), os.fstat(held.fd)
            return self._write_beside(held, offset, data), os.fstat(held.fd)

        if self._waits(len(data)):
            return self._noted(*await self._provider.threads.change(write))
        return self._noted(*write())

    def _waits(self, size: int) -> bool:
        """Say whether a write of that size may have to wait for the storage."""
        return self.node.slow or size > INLINE_MAX or bool(self._flags & (os.O_SYNC | os.O_DSYNC))

    def _noted(self, written: int, stat: os.stat_result) -> int:
        """Note how an own change left the file, to know it by that later."""
        node = self.node
        node.own_ctime_ns, node.data_mtime_ns = stat.st_ctime_ns, stat.st_mtime_ns
        return written

    def _write_beside(self, held: HeldFd, offset: int, data: bytes) -> int:
        """Write at `offset` although the fd appends."""
        if self._beside is None:
            try:
                return os.pwritev(held.fd, [data], offset, RWF_NOAPPEND)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
            self._beside = open_again(held.fd, os.O_WRONLY, None)[0]
        return _write_all(self._beside.fd, offset, data)

    def reopen(self, flags: int, caller: Caller) -> bool:
        held = self._fd()
        unlike = flags & (os.O_TRUNC | os.O_SYNC | os.O_DSYNC)
        if self.node.slow or not held.writable or unlike or not flags & os.O_ACCMODE:
            return False
        if flags & os.O_APPEND:
            fcntl.fcntl(held.fd, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK)
        self._flags = flags
        self._gid = self._provider.fallible(caller)
        return True

    async def getattr(self) -> Stat:
        held = self._fd()
        if not self.node.slow:
            return stat_of(os.fstat(held.fd))
        return stat_of(await self._provider.threads.look(lambda: os.fstat(held.fd)))

    async def fsync(self, *, datasync: bool) -> None:
        held = self._fd()
        if not self._provider.durable(self.node):
            return
        sync = os.fdatasync if datasync else os.fsync
        await self._provider.threads.change(lambda: sync(held.fd))

    async def release(self) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        node = self.node
        node.fds = [each for each in node.fds if each is not held]
        if held.writable:
            node.closing += 1
        if node.slow:
            # Closing may wait for the storage: the last reference goes in a thread.
            last = [held, self._beside]
            self._beside = None
            del held
            await self._provider.threads.change(last.clear)


def _read_cached(fd: int, dev: int, offset: int, size: int) -> int | None:
    """Read into the shared buffer what needs no waiting; None if not all of it is there."""
    done = 0
    while done < size:
        count = _read_at_once(fd, dev, offset, done, size)
        if count is None:
            return None
        done += count
        if not count or dev in _without_nowait:  # there, fewer come only at the end
            break
    return done


def _read_at_once(fd: int, dev: int, offset: int, done: int, size: int) -> int | None:
    """Go on reading into the shared buffer, by one call; None if that would have to wait."""
    if dev not in _without_nowait:
        try:
            return os.preadv(fd, [_view[done:size]], offset + done, os.RWF_NOWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            _without_nowait.add(dev)
    return os.preadv(fd, [_view[done:size]], offset + done)


def _write_all(fd: int, offset: int, data: bytes) -> int:
    """Write; fewer bytes than all only if an error came after some were written."""
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        try:
            more = os.pwrite(fd, memoryview(data)[written:], offset + written)
        except OSError:
            break
        if not more:
            break
        written += more
    return written
