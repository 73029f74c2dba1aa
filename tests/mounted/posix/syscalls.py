"""Calls that Python's `os` does not have, by ctypes.

Sources: rename(2) for renameat2, and linux/fs.h for its flags; utimensat(2); getdents64(2).
"""

import ctypes
import os

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Dirent(ctypes.Structure):
    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_uint16),
        ("kind", ctypes.c_uint8),
        ("name", ctypes.c_char * 256),
    )


_libc.opendir.restype = ctypes.c_void_p
_libc.readdir.restype = ctypes.POINTER(_Dirent)
_libc.readdir.argtypes = (ctypes.c_void_p,)
_libc.telldir.restype = ctypes.c_long
_libc.telldir.argtypes = (ctypes.c_void_p,)
_libc.seekdir.argtypes = (ctypes.c_void_p, ctypes.c_long)
_libc.rewinddir.argtypes = (ctypes.c_void_p,)
_libc.closedir.argtypes = (ctypes.c_void_p,)


def _check(result):
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def renameat2(path, new_path, flags):
    _check(_libc.renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(new_path), flags))


def utimensat(path, atime, mtime, flags=0):
    """Set times given as (seconds, nanoseconds), where UTIME_NOW and UTIME_OMIT may stand."""
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _check(_libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags))


def fallocate(fd, mode, offset, length):
    _check(_libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


class DirectoryStream:
    """opendir(3) and what goes with it."""

    def __init__(self, path):
        self._stream = _libc.opendir(os.fsencode(path))
        if not self._stream:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def read(self):
        """Return the next entry as (name, inode number, type), or None at the end."""
        found = _libc.readdir(self._stream)
        return (found[0].name, found[0].ino, found[0].kind) if found else None

    def rest(self):
        entries = []
        while (entry := self.read()) is not None:
            entries.append(entry)
        return entries

    def tell(self):
        return _libc.telldir(self._stream)

    def seek(self, place):
        _libc.seekdir(self._stream, place)

    def rewind(self):
        _libc.rewinddir(self._stream)

    def close(self):
        _libc.closedir(self._stream)
