"""Making, removing and renaming names in directories of the host, by the directories' fds.

Each call works on one component below an fd from beneath.py and follows no symlink: unlink
removes a link and not its target, and nothing is created through one.

As root, what is made belongs to the caller from the first (birth.py). Only where that cannot be had
it is given away afterwards, by an fd and if it still is what was made. setuid and setgid bits are
added once it is the caller's, so that there is never a file that runs as root.

Concurrency: blocking calls without shared state, safe in any thread.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Callable, Sequence
from contextlib import suppress

from providers.passthrough.birth import Owner, born_to
from providers.passthrough.held import HeldFd
from providers.passthrough.look import ALWAYS, OPEN_FLAGS, found_of, look, opened
from providers.passthrough.looking import Found
from providers.passthrough.syscalls import file_mark, linkat_fd, renameat2
from vfsd.errors import fail

ATTEMPTS_MAX = 16
"""Tries to open-or-create while others remove and make the same name."""


Remove = Callable[[int, bytes, bool], HeldFd | None]
"""`unlink` or `rmdir`."""


def create(
    dirfd: int, name: bytes, mode: int, flags: int, owner: Owner | None, gid: int | None
) -> tuple[Found, HeldFd]:
    """Make and open a regular file, or open the one that exists unless O_EXCL is set."""
    asked = flags & OPEN_FLAGS | ALWAYS
    writable = flags & os.O_ACCMODE != os.O_RDONLY
    for _ in range(ATTEMPTS_MAX):
        try:
            with born_to(owner) as born:
                fd = os.open(name, asked | os.O_CREAT | os.O_EXCL, mode & 0o777, dir_fd=dirfd)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
        else:
            held = HeldFd(fd, content=True, writable=writable)
            stat = _give(dirfd, name, mode, owner, held, born)
            return found_of(stat, file_mark(dirfd, name)), held
        try:
            held = HeldFd(os.open(name, asked, dir_fd=dirfd), content=True, writable=writable)
        except FileNotFoundError:
            continue
        opened(held, os.fstat(held.fd), flags, gid)
        return found_of(os.fstat(held.fd), file_mark(dirfd, name)), held
    raise fail(errno.EBUSY, name)


def mknod(dirfd: int, name: bytes, mode: int, rdev: int, owner: Owner | None) -> Found:
    """Make a file of the type in `mode`."""
    with born_to(owner) as born:
        os.mknod(name, mode & ~0o7000, rdev, dir_fd=dirfd)
    stat = _give(dirfd, name, mode, owner, None, born)
    return found_of(stat, file_mark(dirfd, name))


def whiteout(dirfd: int, name: bytes) -> None:
    """Make a character device 0:0; an ordinary user may."""
    os.mknod(name, stat_module.S_IFCHR, 0, dir_fd=dirfd)


def mkdir(dirfd: int, name: bytes, mode: int, owner: Owner | None) -> Found:
    """Make a directory; the kernel hands down setgid."""
    with born_to(owner) as born:
        os.mkdir(name, mode & 0o1777, dir_fd=dirfd)
    stat = _give(dirfd, name, mode, owner, None, born)
    return found_of(stat, file_mark(dirfd, name))


def symlink(dirfd: int, name: bytes, target: bytes, owner: Owner | None) -> Found:
    """Make a symlink with the target as given; where it leads is judged when it is read."""
    with born_to(owner) as born:
        os.symlink(target, name, dir_fd=dirfd)
    stat = _give(dirfd, name, None, owner, None, born)
    return found_of(stat, file_mark(dirfd, name), target)


def link(fd: int, dirfd: int, name: bytes) -> Found:
    """Give the file open as `fd` another name. EPERM for a directory, ENOENT if it has none."""
    if stat_module.S_ISDIR(os.fstat(fd).st_mode):
        raise fail(errno.EPERM)
    linkat_fd(fd, dirfd, name)
    return look(dirfd, name, links=True)


def hold(dirfd: int, name: bytes) -> HeldFd | None:
    """Open what is about to lose its name, without access to its content; None if it cannot."""
    try:
        return HeldFd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dirfd))
    except OSError:
        return None


def unlink(dirfd: int, name: bytes, keep: bool) -> HeldFd | None:
    """Remove a name; with `keep`, return an fd that still leads to the file."""
    held = hold(dirfd, name) if keep else None
    os.unlink(name, dir_fd=dirfd)
    return held


def unlink_all(dirfd: int, names: Sequence[bytes]) -> bool:
    """Remove what is no directory; say whether that was all. What is gone is gone."""
    all_gone = True
    for name in names:
        try:
            os.unlink(name, dir_fd=dirfd)
        except FileNotFoundError:
            continue
        except IsADirectoryError:
            all_gone = False
    return all_gone


def rmdir(dirfd: int, name: bytes, keep: bool) -> HeldFd | None:
    """Remove an empty directory; with `keep`, return an fd that still leads to it."""
    held = hold(dirfd, name) if keep else None
    os.rmdir(name, dir_fd=dirfd)
    return held


def rename(
    dirfd: int, name: bytes, new_dirfd: int, new_name: bytes, flags: int, keep: bool
) -> HeldFd | None:
    """Rename; with `keep`, return an fd that still leads to the file that is replaced."""
    held = hold(new_dirfd, new_name) if keep else None
    renameat2(dirfd, name, new_dirfd, new_name, flags)
    return held


def _give(
    dirfd: int,
    name: bytes,
    mode: int | None,
    owner: Owner | None,
    held: HeldFd | None,
    born: bool,
) -> os.stat_result:
    """See that what was just made is its owner's and has the mode's remaining bits, or unmake it.

    EPERM if it is not: where it was `born` its owner's, it may be another file by now, which
    must not be given away, or the storage knows no owners.
    """
    stat = _stat(dirfd, name, held)
    try:
        if owner is not None:
            uid, gid = owner.uid, owner.gid
            if stat.st_gid != gid and os.fstat(dirfd).st_mode & stat_module.S_ISGID:
                gid = stat.st_gid
            if (stat.st_uid, stat.st_gid) != (uid, gid):
                held = held or _hold_own(dirfd, name, stat, uid if born else os.geteuid())
                os.chown(b"/proc/self/fd/%d" % held.fd, uid, gid)
                stat = _stat(dirfd, name, held)
        wanted = _wanted(mode, stat)
        if wanted != stat_module.S_IMODE(stat.st_mode):
            held = held or _hold_own(dirfd, name, stat, owner.uid if owner else os.geteuid())
            os.chmod(b"/proc/self/fd/%d" % held.fd, wanted)
            stat = _stat(dirfd, name, held)
    except BaseException:
        _unmake(dirfd, name, stat)
        raise
    return stat


def _hold_own(dirfd: int, name: bytes, stat: os.stat_result, uid: int) -> HeldFd:
    """Open what was made, which is `uid`'s. EPERM."""
    held = HeldFd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dirfd))
    found = os.fstat(held.fd)
    if not os.path.samestat(found, stat) or found.st_uid != uid:
        raise fail(errno.EPERM, name)
    return held


def _wanted(mode: int | None, stat: os.stat_result) -> int:
    present = stat_module.S_IMODE(stat.st_mode)
    if mode is None:
        return present
    handed_down = present & stat_module.S_ISGID if stat_module.S_ISDIR(stat.st_mode) else 0
    return mode & 0o7777 | handed_down


def _stat(dirfd: int, name: bytes, held: HeldFd | None) -> os.stat_result:
    if held is not None:
        return os.fstat(held.fd)
    return os.stat(name, dir_fd=dirfd, follow_symlinks=False)


def _unmake(dirfd: int, name: bytes, stat: os.stat_result) -> None:
    """Take back what was made, if it is still what stands there."""
    with suppress(OSError):
        if os.path.samestat(os.stat(name, dir_fd=dirfd, follow_symlinks=False), stat):
            remove = os.rmdir if stat_module.S_ISDIR(stat.st_mode) else os.unlink
            remove(name, dir_fd=dirfd)
