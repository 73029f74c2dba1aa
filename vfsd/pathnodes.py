"""Nodes that know their path, the handles open on each, and their numbers.

What it is *not*: when a file comes, moves or goes (pathprovider.py).

Concurrency: changed between awaits only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import trio

from vfsd.attributes import Stat
from vfsd.contract import NUMBER_LIMIT, ROOT_NUMBER, Handle, Node
from vfsd.digest import short_key
from vfsd.errors import fail

EXCEPTIONS_LIMIT = 1 << 16
"""Numbers remembered; of more, those noted first may change once nobody holds the file."""

Place = tuple[int, bytes]
"""The number of a directory, and a name in it."""


class PathNode(Node):
    """A node that knows its place; `parent` is None for the root and for removed files."""

    __slots__ = ("__weakref__", "name", "open_files", "parent")

    def __init__(self, number: int, parent: PathNode | None, name: bytes) -> None:
        super().__init__(number)
        self.parent = parent
        self.name = name
        self.open_files: list[OpenFile] = []

    @contextmanager
    def borrowed(self) -> Iterator[Handle]:
        """Give one of the open handles, of those that write if any does. ESTALE if there is none.

        It is not released before the block ends.
        """
        if not self.open_files:
            raise fail(errno.ESTALE)
        writing = (each for each in self.open_files if each.writes)
        with next(writing, self.open_files[-1]).borrowed() as handle:
            yield handle


class OpenFile(Handle):
    """The subclass's handle, known to its node for as long as it is open."""

    __slots__ = (
        *("_borrowers", "_inner", "_node", "_returned", "writes"),
        *("direct_io", "keep_cache", "knows_version"),
    )

    def __init__(self, inner: Handle, node: PathNode, flags: int) -> None:
        self._inner = inner
        self._node = node
        self._borrowers = 0
        self._returned: trio.Event | None = None
        self.direct_io = inner.direct_io
        self.keep_cache = inner.keep_cache
        self.knows_version = inner.knows_version
        self.writes = flags & os.O_ACCMODE != os.O_RDONLY
        node.open_files.append(self)

    async def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        return await self._inner.read(offset, size)

    async def write(self, offset: int, data: bytes) -> int:
        return await self._inner.write(offset, data)

    async def write_back(self, offset: int, data: bytes) -> int:
        return await self._inner.write_back(offset, data)

    async def getattr(self) -> Stat:
        return await self._inner.getattr()

    async def fsync(self, *, datasync: bool) -> None:
        await self._inner.fsync(datasync=datasync)

    async def release(self) -> None:
        self._node.open_files.remove(self)
        if self._borrowers:
            self._returned = trio.Event()
            # Whoever borrowed it is in a call of the subclass: closing under it could make that
            # call reach another file by the same fd. A close is not to be lost to a cancellation.
            with trio.CancelScope(shield=True):
                await self._returned.wait()
        await self._inner.release()

    @contextmanager
    def borrowed(self) -> Iterator[Handle]:
        """Give the subclass's handle; `release` waits for the end of the block."""
        self._borrowers += 1
        try:
            yield self._inner
        finally:
            self._borrowers -= 1
            if self._returned is not None and not self._borrowers:
                self._returned.set()


class Numbers:
    """The number of each place: derived from it, but for the exceptions that are remembered.

    Exceptions are files that were renamed, and files whose derived number another one has.
    """

    def __init__(self) -> None:
        self.held: WeakValueDictionary[int, PathNode] = WeakValueDictionary()
        """Nodes that someone holds, with a place or without: their numbers are taken."""
        self._exceptions: dict[Place, int] = {}
        self._excepted: set[int] = set()

    def find(self, place: Place) -> int:
        """Return the number of the file at `place`, of which there is no node."""
        number = self._exceptions.get(place)
        if number is None:
            number = self._derived(place)
            while number <= ROOT_NUMBER or number in self.held or number in self._excepted:
                number = (number + 1) % NUMBER_LIMIT
            self.note(place, number)
        return number

    def note(self, place: Place, number: int) -> None:
        """Remember that the file now at `place` has `number`, if that needs remembering."""
        self.drop(place)
        if number == self._derived(place):
            return
        if len(self._exceptions) >= EXCEPTIONS_LIMIT:
            self.drop(next(iter(self._exceptions)))
        self._exceptions[place] = number
        self._excepted.add(number)

    def drop(self, place: Place) -> None:
        """Forget what was noted: the file left `place`."""
        number = self._exceptions.pop(place, None)
        if number is not None:
            self._excepted.remove(number)

    @staticmethod
    def _derived(place: Place) -> int:
        directory, name = place
        return short_key(directory.to_bytes(6, "little") + name) % NUMBER_LIMIT
