"""Changing attributes of a host file through an fd that leads to it.

The fd is of O_PATH or of an open handle. What has no call for such an fd goes through
/proc/self/fd, whose magic links lead to the open file itself: no name is resolved again, and
a symlink's own attributes are changed, never its target's.

The host's kernel takes setuid and setgid bits away as the provider's own user deserves it. Where
that is root and works for somebody else, that one's group (`gid` in what follows, else None)
says what falls besides; of a caller's groups only the first is known here.

Concurrency: blocking calls without shared state, safe in any thread.

Source: proc_pid_fd(5); inode(7) for what clears setuid and setgid bits; tmpfs.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module

from providers.passthrough.held import HeldFd
from vfsd.errors import fail
from vfsd.provider import SetAttr


def path_of(fd: int) -> bytes:
    """Return the path that leads to the open file itself."""
    return b"/proc/self/fd/%d" % fd


def change(fd: HeldFd, changes: SetAttr, gid: int | None) -> os.stat_result:
    """Change attributes and return all of them; what may fail for lack of room comes first."""
    before = os.fstat(fd.fd)
    kind = stat_module.S_IFMT(before.st_mode)
    if changes.size is not None:
        _resize(fd, kind, changes.size)
    if changes.uid is not None or changes.gid is not None:
        _chown(fd.fd, changes.uid, changes.gid)
    mode = changes.mode
    now = os.fstat(fd.fd)
    if mode is None and gid is not None and kind == stat_module.S_IFREG:
        mode = _cleared(now, before.st_gid, changes, gid)
    if mode is not None and mode != stat_module.S_IMODE(now.st_mode):
        _chmod(fd.fd, kind, mode)
    elif changes.mode is not None:
        _chmod(fd.fd, kind, changes.mode)
    if changes.atime_ns is not None or changes.mtime_ns is not None:
        now = os.fstat(fd.fd)
        atime = now.st_atime_ns if changes.atime_ns is None else changes.atime_ns
        mtime = now.st_mtime_ns if changes.mtime_ns is None else changes.mtime_ns
        _utime(fd.fd, atime, mtime)
    return os.fstat(fd.fd)


def drop_setid(fd: int, gid: int) -> None:
    """Clear the bits that a write by somebody of group `gid` takes away."""
    stat = os.fstat(fd)
    mode = _without_setid(stat_module.S_IMODE(stat.st_mode), stat.st_gid, gid)
    if mode != stat_module.S_IMODE(stat.st_mode):
        os.fchmod(fd, mode)


def _without_setid(mode: int, file_gid: int, gid: int) -> int:
    mode &= ~stat_module.S_ISUID
    # setgid without group execution once marked mandatory locking, and stays for the group.
    if mode & stat_module.S_IXGRP or gid != file_gid:
        mode &= ~stat_module.S_ISGID
    return mode


def _cleared(stat: os.stat_result, file_gid: int, changes: SetAttr, gid: int) -> int | None:
    """Return the mode without setuid and setgid if this change takes them away."""
    if changes.uid is None and changes.gid is None and changes.size is None:
        return None
    return _without_setid(stat_module.S_IMODE(stat.st_mode), file_gid, gid)


def _resize(fd: HeldFd, kind: int, size: int) -> None:
    if kind == stat_module.S_IFDIR:
        raise fail(errno.EISDIR)
    if kind != stat_module.S_IFREG:
        raise fail(errno.EINVAL)
    if fd.writable:
        os.ftruncate(fd.fd, size)
    else:
        os.truncate(path_of(fd.fd), size)


def _chmod(fd: int, kind: int, mode: int) -> None:
    if kind == stat_module.S_IFLNK:
        raise fail(errno.EOPNOTSUPP)
    os.chmod(path_of(fd), mode)


def _chown(fd: int, uid: int | None, gid: int | None) -> None:
    os.chown(path_of(fd), -1 if uid is None else uid, -1 if gid is None else gid)


def _utime(fd: int, atime_ns: int, mtime_ns: int) -> None:
    os.utime(path_of(fd), ns=(atime_ns, mtime_ns))


def getxattr(fd: int, name: bytes) -> bytes:
    """Return an extended attribute's value."""
    return os.getxattr(path_of(fd), name)


def listxattr(fd: int) -> list[bytes]:
    """Return the names of all extended attributes."""
    return [os.fsencode(name) for name in os.listxattr(path_of(fd))]


def setxattr(fd: int, name: bytes, value: bytes) -> os.stat_result:
    """Set an extended attribute, and return the attributes after that."""
    os.setxattr(path_of(fd), name, value)
    return os.fstat(fd)


def removexattr(fd: int, name: bytes) -> os.stat_result:
    """Remove an extended attribute, and return the attributes after that."""
    os.removexattr(path_of(fd), name)
    return os.fstat(fd)
