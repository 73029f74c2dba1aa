"""Memory whose writes take a while and tell no time: what is read meanwhile is soon outdated."""

import trio

from providers.memory import MemoryProvider
from providers.memory.handle import MemoryHandle

WRITE_S = 0.5


class SlowHandle(MemoryHandle):
    """Writes after `WRITE_S`, and leaves the file's times as they were."""

    async def write(self, offset, data):
        await trio.sleep(WRITE_S)
        record = self._version.find(self._number)
        times = record.mtime_ns, record.ctime_ns
        count = await super().write(offset, data)
        record.mtime_ns, record.ctime_ns = times
        return count


class SlowMemory(MemoryProvider):
    """See the module."""

    async def open(self, node, flags, caller):
        return SlowHandle(self._version, node.number, flags, caller)
