"""Renames that replace nothing, or exchange two names in one step.

Concurrency: pure calls, safe in any thread; errno is kept per thread by ctypes. Each raises an
audit event, as the calls of `os` do.

Source: renameat2(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

_libc = ctypes.CDLL(None, use_errno=True)
_libc.renameat2.argtypes = [
    *(ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p),
    ctypes.c_uint,
]

_NOREPLACE = 1
_EXCHANGE = 2
_UNKNOWN = (errno.EINVAL, errno.ENOSYS)


def rename_fresh(dirfd: int, name: bytes, new_name: bytes) -> None:
    """Rename within a directory; EEXIST if the new name is taken.

    On a file system that cannot promise that, the name is looked at first.
    """
    try:
        _renameat2(dirfd, name, new_name, _NOREPLACE)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        try:
            os.stat(new_name, dir_fd=dirfd, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, new_name, src_dir_fd=dirfd, dst_dir_fd=dirfd)
        else:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST)) from None


def exchange(dirfd: int, name: bytes, other: bytes) -> None:
    """Let two names of a directory change places in one step.

    On a file system that cannot, `other` steps aside first: for an instant it is not there.
    """
    try:
        _renameat2(dirfd, name, other, _EXCHANGE)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        aside = name + b"~"
        os.rename(other, aside, src_dir_fd=dirfd, dst_dir_fd=dirfd)
        os.rename(name, other, src_dir_fd=dirfd, dst_dir_fd=dirfd)
        os.rename(aside, name, src_dir_fd=dirfd, dst_dir_fd=dirfd)


def _renameat2(dirfd: int, name: bytes, new_name: bytes, flags: int) -> None:
    sys.audit("os.rename", name, new_name, dirfd, dirfd)
    if _libc.renameat2(dirfd, name, dirfd, new_name, flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(new_name))
