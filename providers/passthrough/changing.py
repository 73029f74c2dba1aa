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

TIMES_ALONE = (None,) * (len(SetAttr._fields) - 2)
"""What a change of the times has in all other fields: the attributes of before do not matter."""


def path_of(fd: int) -> bytes:
    """Return the path that leads to the open file itself."""
    return b"/proc/self/fd/%d" % fd


def target_of(held: HeldFd) -> int | bytes:
    """Return by what calls reach the open file: by its fd, or where that will not do by a path."""
    return held.fd if held.content else path_of(held.fd)


def change(held: HeldFd, changes: SetAttr, gid: int | None) -> os.stat_result:
    """Change attributes and return all of them; what may fail for lack of room comes first."""
    if (
        changes[:-2] == TIMES_ALONE
        and changes.atime_ns is not None
        and changes.mtime_ns is not None
    ):
        os.utime(target_of(held), ns=(changes.atime_ns, changes.mtime_ns))
        return os.fstat(held.fd)
    now = before = os.fstat(held.fd)
    kind = stat_module.S_IFMT(before.st_mode)
    if changes.size is not None:
        _resize(held, kind, changes.size)
        now = os.fstat(held.fd)
    if changes.uid is not None or changes.gid is not None:
        _chown(held, changes.uid, changes.gid)
        now = os.fstat(held.fd)
    mode = changes.mode
    if mode is None and gid is not None and kind == stat_module.S_IFREG:
        mode = _cleared(now, before.st_gid, changes, gid)
    if changes.mode is not None or (mode is not None and mode != stat_module.S_IMODE(now.st_mode)):
        assert mode is not None
        _chmod(held, kind, mode)
    if changes.atime_ns is not None or changes.mtime_ns is not None:
        atime = now.st_atime_ns if changes.atime_ns is None else changes.atime_ns
        mtime = now.st_mtime_ns if changes.mtime_ns is None else changes.mtime_ns
        os.utime(target_of(held), ns=(atime, mtime))
    return os.fstat(held.fd)


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


def _chmod(held: HeldFd, kind: int, mode: int) -> None:
    if kind == stat_module.S_IFLNK:
        raise fail(errno.EOPNOTSUPP)
    os.chmod(target_of(held), mode)


def _chown(held: HeldFd, uid: int | None, gid: int | None) -> None:
    os.chown(target_of(held), -1 if uid is None else uid, -1 if gid is None else gid)


def getxattr(held: HeldFd, name: bytes) -> bytes:
    """Return an extended attribute's value."""
    return os.getxattr(target_of(held), name)


def listxattr(held: HeldFd) -> list[bytes]:
    """Return the names of all extended attributes."""
    return [os.fsencode(name) for name in os.listxattr(target_of(held))]


def setxattr(held: HeldFd, name: bytes, value: bytes) -> os.stat_result:
    """Set an extended attribute, and return the attributes after that."""
    os.setxattr(target_of(held), name, value)
    return os.fstat(held.fd)


def removexattr(held: HeldFd, name: bytes) -> os.stat_result:
    """Remove an extended attribute, and return the attributes after that."""
    os.removexattr(target_of(held), name)
    return os.fstat(held.fd)
