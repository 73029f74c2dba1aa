"""Looking at many names of a directory at once, and listing it: by a C library, where it was built.

looking.c makes the same calls as look.py, many of them in one trip: a call from Python costs more
than what the kernel does in it. Without the library (no compiler at install time, or `native=off`)
the calls are made one by one, and everything is the same.

Records are `offset size field`: 0 8 dev, 8 8 ino, 16 8 mode, 24 8 nlink, 32 8 uid, 40 8 gid,
48 8 rdev, 56 8 size, 64 8 blocks, 72 8 atime_ns, 80 8 mtime_ns, 88 8 ctime_ns, 96 8 block_size,
104 4 error, 108 4 mark_length, 112 48 mark.

Concurrency: blocking calls, safe in any thread; each thread has buffers of its own.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from providers.passthrough.syscalls import file_mark
from vfsd.provider import Stat

log = logging.getLogger(__name__)

LIBRARY = Path(__file__).with_name("_looking.so")

RECORD = struct.Struct("=QQ4qQ6qiI48s")
RECORDS = 128
"""Names that are looked at in one trip."""

MARK_ELSEWHERE = 0xFFFF_FFFF
NAMES_BYTES = 256 << 10
"""Names of a directory that fit into the buffer; those of a larger one are listed by Python."""


class Found(NamedTuple):
    """What a name stands for; `target` is a symlink's, if it was read."""

    dev: int
    ino: int
    stat: Stat
    mark: bytes
    target: bytes | None


class _Buffers(threading.local):
    """Where the library writes."""

    def __init__(self) -> None:
        self.records = ctypes.create_string_buffer(RECORDS * RECORD.size)
        self.names = ctypes.create_string_buffer(NAMES_BYTES)
        self.record_view = memoryview(self.records).cast("B")
        self.name_view = memoryview(self.names).cast("B")
        self.addresses = ctypes.addressof(self.records), ctypes.addressof(self.names)


class Looking:
    """The loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._look_many = library.vfsd_look_many
        self._look_many.argtypes = [
            *(ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32, ctypes.c_void_p),
        ]
        self._look_many.restype = None
        self._list = library.vfsd_list
        self._list.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64]
        self._list.restype = ctypes.c_int64
        self._buffers = _Buffers()

    def look_many(self, dirfd: int, names: Sequence[bytes]) -> list[Found | None]:
        """Look at each name, following none of them; None for what is gone."""
        found: list[Found | None] = []
        buffers, make = self._buffers, tuple.__new__
        for first in range(0, len(names), RECORDS):
            page = names[first : first + RECORDS]
            count = len(page)
            self._look_many(dirfd, b"\0".join(page), count, buffers.addresses[0])
            records = RECORD.iter_unpack(buffers.record_view[: count * RECORD.size])
            for name, (dev, ino, *fields, error, length, mark) in zip(page, records, strict=True):
                if not error and length == MARK_ELSEWHERE:
                    mark, length = file_mark(dirfd, name), None
                if error == errno.ENOENT:
                    found.append(None)
                elif error:
                    raise OSError(error, os.strerror(error), os.fsdecode(name))
                else:
                    stat = make(Stat, fields)
                    found.append(make(Found, (dev, ino, stat, mark[:length], None)))
        return found

    def names_in(self, dirfd: int) -> list[bytes] | None:
        """Return all names in the directory; None where they are too many for one trip."""
        buffers = self._buffers
        length = self._list(dirfd, buffers.addresses[1], NAMES_BYTES)
        if length < 0:
            if length == -errno.ERANGE:
                return None
            raise OSError(-length, os.strerror(-length))
        names = bytes(buffers.name_view[:length]).split(b"\0")
        names.pop()
        return names


def _load() -> Looking | None:
    if not LIBRARY.exists():
        return None
    try:
        return Looking(ctypes.CDLL(os.fspath(LIBRARY)))
    except (OSError, AttributeError) as error:
        log.warning("looking at names one by one, without %s: %s", LIBRARY.name, error)
        return None


library = _load()
"""None: it was not built."""
