"""Looking at many names of a directory at once, and opening files: by a C library, where built.

looking.c, opening.c and putting.c make the same calls as look.py and copies.py, many of them in one
trip: a call from Python costs more than what the kernel does in it. Without the library (no
compiler at install time, or `native=off`) the calls are made one by one, and everything is the
same.

Records (record.h) are `offset size field`: 0 8 dev, 8 8 ino, 16 8 mode, 24 8 nlink, 32 8 uid,
40 8 gid, 48 8 rdev, 56 8 size, 64 8 blocks, 72 8 atime_ns, 80 8 mtime_ns, 88 8 ctime_ns,
96 8 block_size, 104 4 error, 108 4 mark_length, 112 48 mark.

What a file is to be that is put (putting.c): 0 8 size, 8 8 atime_ns, 16 8 mtime_ns, 24 4 mode,
28 4 uid, 32 4 gid, 36 4 xattrs; then for each extended attribute: 0 4 name_length, 4 4 length, the
name, a NUL, the value.

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

from providers.passthrough.held import HeldFd
from providers.passthrough.syscalls import file_mark
from vfsd.provider import FileCopy, Stat

log = logging.getLogger(__name__)

LIBRARY = Path(__file__).with_name("_looking.so")

RECORD = struct.Struct("=QQ4qQ6qiI48s")
OPENED = struct.Struct("=QQq32xq16xqq8xiI48s")
"""The same record, without what nobody asks of a file that is opened."""

WATCH = struct.Struct("=i")
WANTED = struct.Struct("=qqqIIII")
XATTR = struct.Struct("=II")

KIND = 0o170000
"""The file type bits of a mode: what `stat.S_IFMT` masks, at every look."""

RECORDS = 128
"""Names that are looked at in one trip."""

MISSING = os.strerror(errno.ENOENT)

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
        self._look = library.vfsd_look
        self._look.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p]
        self._list = library.vfsd_list
        self._list.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64]
        self._list.restype = ctypes.c_int64
        self._open = library.vfsd_open
        self._open.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
        self._enter = library.vfsd_enter
        self._enter.argtypes = [
            *(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64),
            *(ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p),
        ]
        self._put = library.vfsd_put
        self._put.argtypes = [
            *(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int),
            *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p),
        ]
        self._buffers = _Buffers()

    def look(self, dirfd: int, name: bytes) -> Found:
        """Return what `name` stands for, without following it. ENOENT, ENOTDIR."""
        buffers = self._buffers
        error = self._look(dirfd, name, buffers.addresses[0])
        if error == errno.ENOENT:  # as often as not
            raise FileNotFoundError(error, MISSING, name)
        if error:
            raise _failed(error, name)
        dev, ino, *fields, _, length, mark = RECORD.unpack_from(buffers.record_view)
        if length == MARK_ELSEWHERE:
            mark, length = file_mark(dirfd, name), None
        make = tuple.__new__
        return make(Found, (dev, ino, make(Stat, fields), mark[:length], None))

    def open(
        self, dirfd: int, name: bytes, flags: int, identity: tuple[int, int, int, bytes]
    ) -> tuple[HeldFd, int, int, int] | None:
        """Open a file; return it, its size, mtime and ctime, None if `identity` is another's."""
        buffers = self._buffers
        fd = self._open(dirfd, name, flags, buffers.addresses[0])
        if fd < 0:
            raise _failed(-fd, name)
        held = HeldFd(fd, content=True, writable=flags & os.O_ACCMODE != os.O_RDONLY)
        dev, ino, mode, size, mtime_ns, ctime_ns, error, length, mark = OPENED.unpack_from(
            buffers.record_view
        )
        meant_dev, meant_ino, kind, meant_mark = identity
        if ino != meant_ino or dev != meant_dev or mode & KIND != kind:
            return None
        if meant_mark:
            if error:
                raise _failed(error, name)
            if (file_mark(fd) if length == MARK_ELSEWHERE else mark[:length]) != meant_mark:
                return None
        return held, size, mtime_ns, ctime_ns

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
                    raise _failed(error, name)
                else:
                    stat = make(Stat, fields)
                    found.append(make(Found, (dev, ino, stat, mark[:length], None)))
        return found

    def enter(
        self, dirfd: int, name: bytes, how: bytes, key: tuple[int, int], inotify_fd: int, mask: int
    ) -> tuple[HeldFd, int]:
        """Open a directory as `how` says, and watch it; return it and the watch, or -errno of that.

        ESTALE if it is not the one of that device and inode number, which is not watched then.
        """
        buffers = self._buffers
        address = buffers.addresses[0]
        fd = self._enter(dirfd, name, how, *key, inotify_fd, mask, address)
        if fd < 0:
            raise _failed(-fd, name)
        (watch,) = WATCH.unpack_from(buffers.record_view)
        return HeldFd(fd), watch

    def put(
        self, beside: int, spare: bytes, directory: int, name: bytes, flags: int, copy: FileCopy
    ) -> tuple[Found, HeldFd]:
        """Make a file as `spare`, and rename it to a free `name`; nothing is left if that fails."""
        stat, data, xattrs = copy
        wanted = WANTED.pack(
            *(len(data), stat.atime_ns, stat.mtime_ns),
            *(stat.mode, stat.uid, stat.gid, len(xattrs)),
        )
        for key, value in xattrs:
            wanted += b"%b%b\0%b" % (XATTR.pack(len(key), len(value)), key, value)
        buffers = self._buffers
        fd = self._put(beside, spare, directory, name, flags, wanted, data, buffers.addresses[0])
        if fd < 0:
            raise _failed(-fd, name)
        held = HeldFd(fd, content=True, writable=True)
        dev, ino, *fields, _, length, mark = RECORD.unpack_from(buffers.record_view)
        if length == MARK_ELSEWHERE:
            mark, length = file_mark(fd), None
        make = tuple.__new__
        return make(Found, (dev, ino, make(Stat, fields), mark[:length], None)), held

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


def _failed(error: int, name: bytes) -> OSError:
    return OSError(error, os.strerror(error), name)


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
