"""The system calls that Python's `os` lacks, for code that reads and keeps trees.

What this is *not*: the policy of the passthrough provider, which guards a live tree against
those who work in it (providers/passthrough/); here a walk only has to follow nothing.

Concurrency: pure calls, safe in any thread; errno is kept per thread by ctypes.

Sources: openat2(2), whose number is the same on every architecture; renameat2(2), syncfs(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.syscall.argtypes = [
    *(ctypes.c_long, ctypes.c_int, ctypes.c_char_p),
    *(ctypes.c_char_p, ctypes.c_size_t),
]

_libc.renameat2.argtypes = [
    *(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p),
    ctypes.c_uint,
]

AT_FDCWD = -100
RENAME_NOREPLACE = 1
SYS_OPENAT2 = 437
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

_HOW = struct.Struct("=QQQ")
"""offset size field: 0 8 flags, 8 8 mode, 16 8 resolve (struct open_how)."""

_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_PIECE_BYTES_MAX = 4000


def open_beneath(dirfd: int, path: bytes, flags: int) -> int:
    """Open `path` below `dirfd`, following nothing on the way nor at the end.

    A path longer than PATH_MAX is walked in pieces. ELOOP where a symlink stands in the way,
    EXDEV where ``..`` would lead out.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    pieces = _pieces(path)
    held = dirfd
    try:
        for piece in pieces[:-1]:
            inner = _open(held, piece, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if held != dirfd:
                os.close(held)
            held = inner
        return _open(held, pieces[-1], flags)
    finally:
        if held != dirfd:
            os.close(held)


def _pieces(path: bytes) -> list[bytes]:
    if len(path) <= _PIECE_BYTES_MAX:
        return [path or b"."]
    pieces: list[bytes] = [b""]
    for name in path.split(b"/"):
        if pieces[-1] and len(pieces[-1]) + len(name) >= _PIECE_BYTES_MAX:
            pieces.append(name)
        else:
            pieces[-1] = b"/".join((pieces[-1], name)) if pieces[-1] else name
    return pieces


def _open(dirfd: int, path: bytes, flags: int) -> int:
    how = _HOW.pack(flags, 0, _BENEATH)
    while True:
        fd: int = _libc.syscall(SYS_OPENAT2, dirfd, path, how, _HOW.size)
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        # EAGAIN: a rename somewhere made the kernel unsure that the walk stayed beneath.
        if code in (errno.EINTR, errno.EAGAIN):
            continue
        # A seccomp filter of an older container runtime answers so.
        if code in (errno.ENOSYS, errno.EPERM):
            return _open_by_steps(dirfd, path, flags)
        raise OSError(code, os.strerror(code), os.fsdecode(path))


def _open_by_steps(dirfd: int, path: bytes, flags: int) -> int:
    *way, last = path.split(b"/")
    held = dirfd
    try:
        for name in way:
            inner = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
            if held != dirfd:
                os.close(held)
            held = inner
        return os.open(last, flags, dir_fd=held)
    finally:
        if held != dirfd:
            os.close(held)


def syncfs(fd: int) -> None:
    """Write everything of the file system that holds `fd` to disk. EIO, ENOSPC."""
    if _libc.syncfs(ctypes.c_int(fd)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def rename_new(source: str, target: str) -> None:
    """Rename a file to a name that must be free: FileExistsError otherwise, and nothing is done."""
    old, new = os.fsencode(source), os.fsencode(target)
    if not _libc.renameat2(AT_FDCWD, old, AT_FDCWD, new, RENAME_NOREPLACE):
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), source, None, target)
    # A file system without that flag: as safe, in two steps.
    os.link(source, target)
    os.unlink(source)
