"""An open file of an archive.

Concurrency: reads suspend only where the archive's bytes are not in the page cache.
"""

from __future__ import annotations

from providers.archive.access import EXPECTED, Access
from vfsd.archive.tree import Readable
from vfsd.provider import Handle, Stat


class ArchiveHandle(Handle):
    """Reads one content; it holds nothing that would have to be freed."""

    __slots__ = ("_access", "_content", "_stat")

    def __init__(self, access: Access, content: Readable, stat: Stat) -> None:
        self._access = access
        self._content = content
        self._stat = stat

    async def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        content = self._content
        try:
            return content.read(offset, size)
        except EXPECTED as error:
            return await self._access.again(error, lambda: content.read(offset, size))

    async def getattr(self) -> Stat:
        return self._stat
