"""The contract for open files: what a provider's `open` and `create` return.

What it is *not*: the numbers by which doors know them (handles.py), or a provider (contract.py).

Concurrency: from the event loop only, as everything of a provider.
"""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod

from vfsd.attributes import Caller, Stat
from vfsd.errors import fail


class Handle(ABC):
    """An open file. It outlives the file's names, and holds the file until `release`."""

    __slots__ = ()

    direct_io: bool = False
    """True: the kernel must not cache data or trust the size (content made at open)."""

    keep_cache: bool = True
    """False: what the kernel kept of the data before this opening may be outdated."""

    knows_version: bool = False
    """True: `keep_cache` compares with the opening before, and is believed though nobody tells
    of changes; else the kernel keeps data only where changes are told."""

    past_cache: bool = False
    """True: writes may go past the kernel's cache of the data, for each makes mtime another."""

    @abstractmethod
    async def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        """Return up to `size` bytes from `offset`; fewer only at the end of the file.

        The caller uses the buffer before it next awaits. EBADF if not open for reading,
        EISDIR, EIO.
        """

    def at_once(self, limit_bytes: int) -> bytes | bytearray | memoryview | None:
        """Return the whole content, if that is no more than `limit_bytes` and needs no waiting.

        None otherwise, or where the handle is not open for reading. The caller uses the buffer
        before it next awaits.
        """
        return None

    async def write(self, offset: int, data: bytes) -> int:
        """Write at `offset`, or at the end if opened with O_APPEND; return `len(data)`.

        Atomic. Updates mtime and ctime, and clears setuid and setgid bits unless the opener
        was root. EBADF if not open for writing, EROFS, ENOSPC, EFBIG, EDQUOT, EIO. What is
        acknowledged is there; on an error nothing is written, or the count says how much.
        """
        raise fail(errno.EBADF)

    async def write_back(self, offset: int, data: bytes) -> int:
        """As `write`, but at `offset` even with O_APPEND, and setuid and setgid stay.

        So the kernel writes back pages changed through mmap, by any handle it holds that writes.
        """
        return await self.write(offset, data)

    @abstractmethod
    async def getattr(self) -> Stat:
        """Return the attributes of the open file, linked or not (`fstat`). EIO."""

    async def fsync(self, *, datasync: bool) -> None:
        """Return once written data (and unless `datasync`, metadata) is durable. EIO, ENOSPC."""

    def reopen(self, flags: int, caller: Caller) -> bool:
        """Go on as if `caller` had opened the file with `flags`; False: it must be opened anew.

        For who made the file and now hands it on; `flags` do not empty it.
        """
        return False

    async def release(self) -> None:
        """Close: called exactly once, last. Errors are logged, nobody is left to tell."""
