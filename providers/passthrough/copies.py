"""A whole file, made beside and renamed into place: the calls that a copy-up takes, in one go.

Made by the methods of the contract one after the other it takes twice as many system calls, and 1.6
times as long (docs/PERFORMANCE.md, "A copy-up in one step").

Concurrency: blocking calls without shared state, safe in any thread.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
import struct
from contextlib import suppress

from providers.passthrough.birth import Owner, born_to
from providers.passthrough.changing import target_of
from providers.passthrough.held import HeldFd
from providers.passthrough.look import ALWAYS, found_of
from providers.passthrough.looking import Found, Looking
from providers.passthrough.syscalls import RENAME_NOREPLACE, file_mark, renameat2
from vfsd.errors import fail
from vfsd.provider import FileCopy

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | ALWAYS


def put(
    beside: HeldFd,
    spare: bytes,
    directory: HeldFd,
    name: bytes,
    copy: FileCopy,
    library: Looking | None = None,
) -> tuple[Found, HeldFd] | None:
    """Make the file as `spare` in `beside`, and rename it to a free name in `directory`.

    None, with nothing left behind, where a call fails or its owner cannot be had this way.
    """
    owner = Owner(copy.stat.uid, copy.stat.gid)
    if library is not None:
        try:
            with born_to(owner):
                return library.put(beside.fd, spare, directory.fd, name, NEW, copy)
        except (OSError, struct.error):  # a number that no file of a host can have
            return None
    try:
        with born_to(owner):
            fd = os.open(spare, NEW, copy.stat.mode & 0o777, dir_fd=beside.fd)
    except OSError:
        return None
    held = HeldFd(fd, content=True, writable=True)
    try:
        made = _fill(fd, copy)
        found = found_of(made, file_mark(fd))
        before = os.fstat(directory.fd)
        renameat2(beside.fd, spare, directory.fd, name, RENAME_NOREPLACE)
    except OSError:
        with suppress(OSError):
            os.unlink(spare, dir_fd=beside.fd)
        return None
    with suppress(OSError):
        os.utime(target_of(directory), ns=(before.st_atime_ns, before.st_mtime_ns))
    return found, held


def _fill(fd: int, copy: FileCopy) -> os.stat_result:
    """Give the new file its content and attributes; EPERM if it cannot be its owner's."""
    stat, data, xattrs = copy
    if data and os.pwrite(fd, data, 0) != len(data):
        raise fail(errno.ENOSPC)
    for attribute, value in xattrs:
        os.setxattr(fd, attribute, value)
    os.utime(fd, ns=(stat.atime_ns, stat.mtime_ns))
    made = os.fstat(fd)
    if (made.st_uid, made.st_gid) != (stat.uid, stat.gid):
        raise fail(errno.EPERM)
    if made.st_mode != stat.mode:
        # Last: writing takes setuid and setgid away.
        os.fchmod(fd, stat_module.S_IMODE(stat.mode))
        made = os.fstat(fd)
    return made
