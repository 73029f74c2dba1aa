"""Dynamic files: content that a function or an iterable makes at each open.

Each handle has the content of its own open. Pieces of an iterable are taken as reads ask for
them and kept until the handle is closed, so that a read may go back; more than `BUFFER_MAX`
is EFBIG. `stat` tells the size 0, as procfs does, and `direct_io` tells the kernel to read
until the end instead of trusting it. A snapshot has the file, not the content of a moment.

What fails in the author's function is EIO and is logged; an `OSError` passes with its errno.

Concurrency: opening and reading may suspend. Reads of one handle take pieces one after
another, under a lock.
"""

from __future__ import annotations

import errno
import inspect
import logging
from collections.abc import Iterable, Iterator
from typing import NoReturn

import trio

from providers.memory.items import Source
from providers.memory.version import Version
from vfsd.errors import fail
from vfsd.provider import Handle, Stat

BUFFER_MAX = 256 * 1024 * 1024
"""Bytes of one open dynamic file."""
PIECES_PER_TURN = 256
"""Pieces taken before other tasks get a turn."""

logger = logging.getLogger(__name__)


class DynamicHandle(Handle):
    """An open dynamic file; read-only."""

    __slots__ = ("_failure", "_lock", "_made", "_number", "_open", "_pieces", "_version")

    direct_io = True

    def __init__(self, version: Version, number: int) -> None:
        self._version = version
        self._number = number
        self._lock = trio.Lock()
        self._made = bytearray()
        self._pieces: Iterator[object] | None = None
        self._failure = 0
        self._open = True
        version.opened(number)

    async def fill(self, source: Source) -> None:
        """Make the content, or get ready to take its pieces."""
        try:
            data: object = source
            if callable(source):
                data = source()
                if inspect.isawaitable(data):
                    data = await data
            if isinstance(data, bytes | bytearray | memoryview):
                self._made += data
            elif isinstance(data, str) or not isinstance(data, Iterable):
                raise TypeError(f"a dynamic file's content is bytes, not {type(data).__name__}")
            else:
                self._pieces = iter(data)
        except Exception as error:
            raise_as_oserror(error, source)
        if len(self._made) > BUFFER_MAX:
            raise fail(errno.EFBIG)

    async def read(self, offset: int, size: int) -> bytes:
        stop = offset + size
        if self._pieces is not None and stop > len(self._made):
            async with self._lock:
                await self._take_until(stop)
        with memoryview(self._made) as view:
            return bytes(view[offset:stop])

    async def getattr(self) -> Stat:
        return self._version.find(self._number).stat()

    async def release(self) -> None:
        if self._open:
            self._open = False
            self._made = bytearray()
            self._pieces = None
            self._version.released(self._number)

    async def _take_until(self, stop: int) -> None:
        taken = 0
        if self._failure:
            raise fail(self._failure)
        while self._pieces is not None and len(self._made) < stop:
            try:
                piece = next(self._pieces)
                if not isinstance(piece, bytes | bytearray | memoryview):
                    raise TypeError(f"a piece of a dynamic file is a {type(piece).__name__}")
                if len(self._made) + len(piece) > BUFFER_MAX:
                    raise fail(errno.EFBIG)
                self._made += piece
            except StopIteration:
                self._pieces = None
            except Exception as error:
                # A generator that raised is at its end: without this memory, the next read
                # would take the end for the end of the file.
                self._failure = errno_of(error)
                raise_as_oserror(error, self._pieces)
            taken += 1
            if taken % PIECES_PER_TURN == 0:
                await trio.lowlevel.checkpoint()


def errno_of(error: Exception) -> int:
    """Return the errno that the caller gets for what the author's function raised."""
    return (isinstance(error, OSError) and error.errno) or errno.EIO


def raise_as_oserror(error: Exception, author: object) -> NoReturn:
    """Raise what the author's function raised, as an `OSError` with an errno."""
    if isinstance(error, OSError):
        if error.errno:
            raise error
        raise fail(errno.EIO) from error
    name = getattr(author, "__qualname__", type(author).__name__)
    logger.error("%s failed; the caller gets EIO", name, exc_info=error)
    raise fail(errno.EIO) from error
