"""An open regular file.

It refers to the file by number in its version, so what it reads and writes is the live file,
also after snapshots were taken; after `set_read_only` its writes are EROFS like all others.

Concurrency: no method suspends, so an append is atomic across handles.
"""

from __future__ import annotations

import errno
import os

from providers.memory.content import SIZE_MAX
from providers.memory.records import File
from providers.memory.setattr import PRIVILEGE_BITS, drop_privilege
from providers.memory.version import Version, now_ns
from providers.memory.xattrs import drop_capability
from vfsd.errors import fail
from vfsd.provider import Caller, Handle, Stat


class MemoryHandle(Handle):
    """See the module; `release` ends it."""

    __slots__ = ("_append", "_group", "_number", "_open", "_readable", "_version", "_writable")

    past_cache = True

    def __init__(self, version: Version, number: int, flags: int, caller: Caller) -> None:
        self._version = version
        self._number = number
        self._use(flags, caller)
        self._open = True
        version.opened(number)

    def _use(self, flags: int, caller: Caller) -> None:
        access = flags & os.O_ACCMODE
        self._readable = access != os.O_WRONLY
        self._writable = access != os.O_RDONLY
        self._append = bool(flags & os.O_APPEND)
        self._group = caller.gid if caller.uid else None

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        if not self._readable:
            raise fail(errno.EBADF)
        record = self._version.find(self._number)
        assert type(record) is File
        return record.content.read(offset, size)

    def at_once(self, limit_bytes: int) -> bytes | memoryview | None:
        record = self._version.find(self._number)
        assert type(record) is File
        content = record.content
        if not self._readable or content.size > limit_bytes:
            return None
        return content.read(0, content.size)

    def next_data(self, offset: int) -> int | None:
        """Return the first place from `offset` on that is in no hole, None if all is one."""
        record = self._version.find(self._number)
        assert type(record) is File
        return record.content.next_data(offset)

    async def write(self, offset: int, data: bytes) -> int:
        count = self._write(offset, data, append=self._append)
        if count:
            record = self._version.own_file(self._number)
            if record.xattrs is not None:
                drop_capability(self._version, self._number)
            if record.mode & PRIVILEGE_BITS and self._group is not None:
                drop_privilege(record, self._group)
        return count

    def reopen(self, flags: int, caller: Caller) -> bool:
        if flags & os.O_TRUNC:
            return False
        self._use(flags, caller)
        return True

    def fill(self, data: bytes) -> bool:
        """Write what a new file is to hold; False if there is no room for all of it."""
        return self._write(0, data, append=False) == len(data)

    async def write_back(self, offset: int, data: bytes) -> int:
        return self._write(offset, data, append=False)

    def _write(self, offset: int, data: bytes, *, append: bool) -> int:
        version = self._version
        if not version.writable:
            raise fail(errno.EROFS)
        if not self._writable:
            raise fail(errno.EBADF)
        if not data:
            return 0
        if type(data) is not bytes:
            data = bytes(data)
        record = version.own_file(self._number)
        owner = version.owner
        content = record.content
        if content.owner is not owner:
            content = record.content_of(owner)
        if append:
            offset = content.size
        if offset + len(data) > SIZE_MAX:
            if offset >= SIZE_MAX:
                raise fail(errno.EFBIG)
            data = data[: SIZE_MAX - offset]
        charged, chunks = content.charged_bytes, content.chunk_count
        try:
            count = content.write(offset, data, owner, version.room_for(len(data)))
        except MemoryError:
            raise fail(errno.ENOSPC) from None
        finally:
            version.used_bytes += content.charged_bytes - charged
            version.chunk_count += content.chunk_count - chunks
        if not count:
            raise fail(errno.ENOSPC)
        record.mtime_ns = record.ctime_ns = now_ns()
        return count

    async def getattr(self) -> Stat:
        return self._version.find(self._number).stat()

    async def release(self) -> None:
        if self._open:
            self._open = False
            self._version.released(self._number)
