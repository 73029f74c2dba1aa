"""The system calls that Python's `os` lacks, as plain functions that raise `OSError`.

What this is *not*: which path may be opened (beneath.py) or what is done there.

Concurrency: pure calls, safe in any thread; each lets other threads run meanwhile. errno is
kept per thread by ctypes.

Sources: openat2(2), renameat2(2), name_to_handle_at(2), linkat(2), inotify(7); the numbers of
calls without a wrapper in older C libraries are the same on every architecture since Linux 5.x
(`openat2`) or come from a wrapper.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading

_libc = ctypes.CDLL(None, use_errno=True)

AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400
SYS_OPENAT2 = 437

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_HOW = struct.Struct("=QQQ")
"""offset size field: 0 8 flags, 8 8 mode, 16 8 resolve (struct open_how)."""

_HANDLE_BYTES_MAX = 128
_HANDLE_HEAD = struct.Struct("=Ii")
"""offset size field: 0 4 handle_bytes, 4 4 handle_type (struct file_handle); the bytes follow."""

_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = [
    *(ctypes.c_long, ctypes.c_int, ctypes.c_char_p),
    *(ctypes.c_char_p, ctypes.c_size_t),
]
_libc.renameat2.argtypes = [
    *(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p),
    ctypes.c_uint,
]
_libc.name_to_handle_at.argtypes = [
    *(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p),
    *(ctypes.c_void_p, ctypes.c_int),
]
_libc.linkat.argtypes = [
    *(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p),
    ctypes.c_int,
]
_libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]

_INEXPRESSIBLE = (errno.EOPNOTSUPP, errno.EOVERFLOW, errno.ENOSYS, errno.EPERM, errno.EINVAL)


def _error(name: bytes | None = None) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), None if name is None else os.fsdecode(name))


def how_to_open(flags: int, resolve: int) -> bytes:
    """Return what `openat2` takes, packed."""
    return _HOW.pack(flags, 0, resolve)


def openat2(dirfd: int, path: bytes, how: bytes) -> int:
    """Open `path` below `dirfd`; EXDEV or ELOOP where it would break what `how` says."""
    fd: int = _libc.syscall(SYS_OPENAT2, dirfd, path, how, _HOW.size)
    if fd < 0:
        raise _error(path)
    return fd


def renameat2(dirfd: int, name: bytes, new_dirfd: int, new_name: bytes, flags: int) -> None:
    """Rename one name to another with flags."""
    if _libc.renameat2(dirfd, name, new_dirfd, new_name, flags):
        raise _error(name)


def linkat_fd(fd: int, dirfd: int, name: bytes) -> None:
    """Give the file open as `fd` the name `name`; no path to it is resolved again."""
    link = _libc.linkat
    if link(-100, b"/proc/self/fd/%d" % fd, dirfd, name, AT_SYMLINK_FOLLOW):
        raise _error(name)


class _MarkBuffer(threading.local):
    """Where the kernel writes a handle: one per thread, since calls run at the same time."""

    def __init__(self) -> None:
        self.handle = ctypes.create_string_buffer(_HANDLE_HEAD.size + _HANDLE_BYTES_MAX)
        self.mount_id = ctypes.c_int()
        self.addresses = ctypes.addressof(self.handle), ctypes.addressof(self.mount_id)
        self.content = memoryview(self.handle).cast("B")
        self.length = self.content[:4].cast("I")


_mark_buffer = _MarkBuffer()


def file_mark(dirfd: int, name: bytes = b"") -> bytes:
    """Return what tells a file from a later one with the same inode number, without opening it.

    That is the file system's own handle (inode and generation); empty where it has none.
    Without a name it is of the file open as `dirfd`.
    """
    buffer = _mark_buffer
    length = buffer.length
    length[0] = _HANDLE_BYTES_MAX
    flags = 0 if name else AT_EMPTY_PATH
    if _libc.name_to_handle_at(dirfd, name, *buffer.addresses, flags):
        if ctypes.get_errno() in _INEXPRESSIBLE:
            return b""
        raise _error(name)
    return bytes(buffer.content[4 : _HANDLE_HEAD.size + length[0]])


def inotify_init() -> int:
    """Return a new inotify instance, which does not block."""
    fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        raise _error()
    return fd


def inotify_add(inotify_fd: int, fd: int, mask: int) -> int:
    """Watch the file open as `fd` (O_PATH will do) and return the watch descriptor."""
    # A magic link leads to the open file itself: nothing is resolved again.
    wd: int = _libc.inotify_add_watch(inotify_fd, b"/proc/self/fd/%d" % fd, mask)
    if wd < 0:
        raise _error()
    return wd


def inotify_remove(inotify_fd: int, wd: int) -> None:
    """Stop watching; a watch that the kernel dropped by itself is fine."""
    _libc.inotify_rm_watch(inotify_fd, wd)
