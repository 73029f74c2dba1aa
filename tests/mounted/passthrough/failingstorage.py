"""Storage that fails when told to: a provider whose calls raise what the file $FAULT names.

Mounted by a daemon of its own, it is to another daemon a file system of the kernel that answers
EIO or EDQUOT, as a dying disk or a full quota does. Without a fault it keeps all it is given.
"""

import errno
import os

from providers.memory import MemoryProvider
from vfsd.provider import Handle


def check():
    """Raise the fault, if there is one now."""
    with open(os.environ["FAULT"]) as file:
        name = file.read()
    if name:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))


class FailingHandle(Handle):
    def __init__(self, inner):
        self._inner = inner
        self.direct_io = True  # so that each call comes here

    async def read(self, offset, size):
        check()
        return await self._inner.read(offset, size)

    async def write(self, offset, data):
        check()
        return await self._inner.write(offset, data)

    async def getattr(self):
        return await self._inner.getattr()

    async def fsync(self, *, datasync):
        check()

    async def release(self):
        await self._inner.release()


class FailingProvider(MemoryProvider):
    async def open(self, *arguments):
        return FailingHandle(await super().open(*arguments))

    async def create(self, *arguments):
        check()
        entry, handle = await super().create(*arguments)
        return entry, FailingHandle(handle)

    async def mkdir(self, *arguments):
        check()
        return await super().mkdir(*arguments)

    async def unlink(self, *arguments):
        check()
        return await super().unlink(*arguments)

    async def rename(self, *arguments):
        check()
        return await super().rename(*arguments)

    async def setattr(self, *arguments):
        check()
        return await super().setattr(*arguments)
