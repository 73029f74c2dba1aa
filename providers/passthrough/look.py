"""Looking at files of the host: attributes, listings, opening, by a directory's fd and a name.

Nothing here follows a last symlink, and every name is one component (beneath.py), so what is
seen lies in the very directory that the fd is. A file that was seen before is compared by
device and inode number (`key`) before anything is done with it.

Concurrency: blocking calls without shared state, safe in any thread.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from providers.passthrough.changing import drop_setid
from providers.passthrough.held import HeldFd
from providers.passthrough.looking import KIND, Found, Looking
from providers.passthrough.nodes import Identity
from providers.passthrough.syscalls import file_mark
from vfsd.errors import fail
from vfsd.provider import Stat, StatFs

OPEN_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_SYNC | os.O_DSYNC
"""What a guest may choose about an open host file; the rest is decided here."""

ALWAYS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Should a FIFO stand where a file was, opening it must not wait for its other end."""


GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR)
"""What a name gives where the file it stood for was, by now, removed or replaced."""


KIND_LINK = stat_module.S_IFLNK


Opened = tuple[HeldFd, int, int, int]
"""An open file, its size in bytes, its mtime and its ctime, in nanoseconds."""


class KnownLink(NamedTuple):
    """A symlink whose target was read before; it never changes, the link is only replaced."""

    identity: Identity
    target: bytes


def stat_of(stat: os.stat_result) -> Stat:
    """Return the host's attributes in the contract's words."""
    return Stat(
        *(stat.st_mode, stat.st_nlink, stat.st_uid, stat.st_gid, stat.st_rdev),
        *(stat.st_size, stat.st_blocks),
        *(stat.st_atime_ns, stat.st_mtime_ns, stat.st_ctime_ns),
        stat.st_blksize,
    )


def found_of(stat: os.stat_result, mark: bytes, target: bytes | None = None) -> Found:
    """Return what was found, from the host's attributes."""
    return Found(stat.st_dev, stat.st_ino, stat_of(stat), mark, target)


def look(
    dirfd: int,
    name: bytes,
    links: bool,
    known: KnownLink | None = None,
    library: Looking | None = None,
) -> Found:
    """Return what `name` stands for. ENOENT, ENOTDIR.

    `links` are read, which moves their atime, but for the one that is `known`.
    """
    if library is not None:
        found = library.look(dirfd, name)
        if not links or found.stat.mode & KIND != KIND_LINK:
            return found
    stat = os.stat(name, dir_fd=dirfd, follow_symlinks=False)
    target = None
    if links and stat_module.S_ISLNK(stat.st_mode):
        mark = file_mark(dirfd, name)
        if known is not None and known.identity == (stat.st_dev, stat.st_ino, KIND_LINK, mark):
            return found_of(stat, mark, known.target)
        target = os.readlink(name, dir_fd=dirfd)
        stat = os.stat(name, dir_fd=dirfd, follow_symlinks=False)  # reading moved its atime
    return found_of(stat, file_mark(dirfd, name), target)


def look_many(
    dirfd: int,
    names: Sequence[bytes],
    links: bool,
    known: Mapping[bytes, KnownLink],
    library: Looking | None = None,
) -> list[Found | None]:
    """Look at each name; None for what is gone."""
    if library is not None:
        found = library.look_many(dirfd, names)
        if links:
            for place, each in enumerate(found):
                if each is not None and stat_module.S_ISLNK(each.stat.mode):
                    name = names[place]
                    (found[place],) = look_many(dirfd, (name,), links, known)
        return found
    found = []
    for name in names:
        try:
            found.append(look(dirfd, name, links, known.get(name)))
        except FileNotFoundError:
            found.append(None)
    return found


def names_in(dirfd: int, library: Looking | None = None) -> list[bytes]:
    """Return all names in the directory."""
    names = None if library is None else library.names_in(dirfd)
    if names is not None:
        return names
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dirfd)
    try:
        return [os.fsencode(name) for name in os.listdir(fd)]
    finally:
        os.close(fd)


def links_in(dirfd: int) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Return all names in the directory, and the targets of the symlinks among them."""
    names: list[bytes] = []
    targets: dict[bytes, bytes] = {}
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dirfd)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                names.append(name)
                if entry.is_symlink():
                    try:
                        targets[name] = os.readlink(name, dir_fd=fd)
                    except OSError:
                        continue  # replaced meanwhile: a lookup will tell
    finally:
        os.close(fd)
    return names, targets


def check_same(stat: os.stat_result, identity: Identity, dirfd: int, name: bytes = b"") -> None:
    """Raise ESTALE unless that is the file which was meant, and not a later one in its stead."""
    dev, ino, kind, mark = identity
    if (stat.st_dev, stat.st_ino, stat_module.S_IFMT(stat.st_mode)) != (dev, ino, kind):
        raise fail(errno.ESTALE)
    if mark and file_mark(dirfd, name) != mark:
        raise fail(errno.ESTALE)


def stat_at(dirfd: int, name: bytes, identity: Identity, library: Looking | None = None) -> Stat:
    """Return the attributes of the file that was last seen there. ESTALE if it left."""
    with gone_is_stale():
        if library is not None:
            dev, ino, found, mark, _ = library.look(dirfd, name)
            if (dev, ino, found.mode & KIND) != identity[:3] or identity.mark not in (b"", mark):
                raise fail(errno.ESTALE)
            return found
        stat = os.stat(name, dir_fd=dirfd, follow_symlinks=False)
        check_same(stat, identity, dirfd, name)
    return stat_of(stat)


def hold_at(dirfd: int, name: bytes, identity: Identity) -> HeldFd:
    """Open the file that was last seen there without access to its content. ESTALE."""
    with gone_is_stale():
        held = HeldFd(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dirfd))
    check_same(os.fstat(held.fd), identity, held.fd)
    return held


def open_at(
    dirfd: int,
    name: bytes,
    identity: Identity,
    flags: int,
    gid: int | None,
    library: Looking | None = None,
) -> Opened:
    """Open the regular file that was last seen there. ESTALE."""
    asked = flags & OPEN_FLAGS | ALWAYS
    if library is not None:
        try:
            found = library.open(dirfd, name, asked, identity)
        except OSError as error:
            if error.errno in GONE:
                raise fail(errno.ESTALE) from error
            raise
        if found is None:
            raise fail(errno.ESTALE)
        check_regular(identity.kind)
        return _emptied(found[0], gid) if flags & os.O_TRUNC else found
    with gone_is_stale():
        fd = os.open(name, asked, dir_fd=dirfd)
    held = HeldFd(fd, content=True, writable=flags & os.O_ACCMODE != os.O_RDONLY)
    stat = os.fstat(fd)
    check_same(stat, identity, fd)
    return opened(held, stat, flags, gid)


class gone_is_stale:
    """What is not found under its name any more is ESTALE, since the node is still known."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and error.errno in GONE:
            raise fail(errno.ESTALE) from error


def open_again(path_fd: int, flags: int, gid: int | None) -> Opened:
    """Open the regular file that an fd already leads to. EISDIR, ENXIO."""
    check_regular(os.fstat(path_fd).st_mode)
    # A magic link leads to the open file itself: no name is resolved.
    fd = os.open(b"/proc/self/fd/%d" % path_fd, flags & OPEN_FLAGS | ALWAYS & ~os.O_NOFOLLOW)
    held = HeldFd(fd, content=True, writable=flags & os.O_ACCMODE != os.O_RDONLY)
    return opened(held, os.fstat(fd), flags, gid)


def opened(held: HeldFd, stat: os.stat_result, flags: int, gid: int | None) -> Opened:
    """Check what was opened, and only then empty it if that was asked for; `gid` as changing.py."""
    check_regular(stat.st_mode)
    if flags & os.O_TRUNC:
        return _emptied(held, gid)
    return held, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _emptied(held: HeldFd, gid: int | None) -> Opened:
    if gid is not None:
        drop_setid(held.fd, gid)
    if held.writable:
        os.ftruncate(held.fd, 0)
    else:
        os.truncate(b"/proc/self/fd/%d" % held.fd, 0)
    stat = os.fstat(held.fd)
    return held, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def check_regular(mode: int) -> None:
    """Raise unless it is a file whose content can be served. EISDIR, ELOOP, ENXIO."""
    kind = stat_module.S_IFMT(mode)
    if kind != stat_module.S_IFREG:
        codes = {stat_module.S_IFDIR: errno.EISDIR, stat_module.S_IFLNK: errno.ELOOP}
        raise fail(codes.get(kind, errno.ENXIO))


def statfs_of(fd: int) -> StatFs:
    """Return the room in the backing file system. `fd` is of O_PATH, which fstatvfs takes."""
    room = os.fstatvfs(fd)
    return StatFs(
        *(room.f_frsize, room.f_blocks, room.f_bfree, room.f_bavail, room.f_files),
        *(room.f_ffree, room.f_namemax),
    )
