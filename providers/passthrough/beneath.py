"""The choke point: every directory that the provider works in is opened here.

From the fd of a directory below the root, and plain names, to the fd of the directory they
lead to. Traversal cannot escape, by construction:

- a name is one component: never ``.``, ``..``, empty, and without ``/`` or NUL (`check_name`),
  so no path is ever assembled from what a guest wrote;
- no component may be a symlink, a magic link of /proc included: either the kernel refuses them
  (`openat2` with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS), or each is
  opened by itself with O_NOFOLLOW and O_DIRECTORY;
- what was opened must be the very directory that was meant, by device and inode number.

All other modules use one fd from here together with one name, in calls that do not follow a
last symlink. Where the root's path leads later is of no interest: it is an fd as well.

Concurrency: pure calls, safe in any thread.

Source: openat2(2); path_resolution(7).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from providers.passthrough.held import HeldFd
from providers.passthrough.looking import Looking
from providers.passthrough.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    how_to_open,
    openat2,
)
from vfsd.errors import fail

DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
HOW = how_to_open(DIRECTORY, RESOLVE)

NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)
"""What opening gives where a directory on the way was, by now, moved or replaced."""

NAMES_AT_ONCE = 15
"""Names per `openat2`: their path stays below PATH_MAX whatever their length."""

Descend = Callable[[HeldFd, Sequence[bytes]], HeldFd]
"""Opens the directory that the names lead to, one below the other."""

NO_NAMES = frozenset([b"", b".", b".."])

Key = tuple[int, int]
"""Device and inode number."""


def check_name(name: bytes) -> None:
    """Raise EINVAL unless `name` is one plain component."""
    if b"/" in name or b"\0" in name or name in NO_NAMES:
        raise fail(errno.EINVAL)


def check_names(names: Sequence[bytes]) -> None:
    """Raise EINVAL unless each name is one plain component, as `check_name` does."""
    joined = b"\0".join(names)
    plain = b"/" not in joined and joined.count(b"\0") < max(len(names), 1)
    if not plain or not NO_NAMES.isdisjoint(names):
        raise fail(errno.EINVAL)


def descend_by_openat2(base: HeldFd, names: Sequence[bytes]) -> HeldFd:
    """Let the kernel walk, and refuse symlinks and whatever leads out."""
    held = base
    for start in range(0, len(names), NAMES_AT_ONCE):
        path = b"/".join(names[start : start + NAMES_AT_ONCE])
        held = HeldFd(openat2(held.fd, path, HOW))
    return held


def descend_by_walk(base: HeldFd, names: Sequence[bytes]) -> HeldFd:
    """Open one component after the other, none of which may be a symlink."""
    held = base
    for name in names:
        held = HeldFd(os.open(name, DIRECTORY, dir_fd=held.fd))
    return held


GUARDS: dict[str, Descend] = {"openat2": descend_by_openat2, "walk": descend_by_walk}


def has_openat2() -> bool:
    """Say whether this kernel (or a seccomp filter above it) lets openat2 through."""
    try:
        os.close(openat2(-100, b".", HOW))
    except OSError as error:
        return error.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL)
    return True


def reach(descend: Descend, base: HeldFd, names: Sequence[bytes], key: Key) -> HeldFd:
    """Return the directory below `base` that `names` lead to, if it is the one `key` says.

    ESTALE if it is not there any more: a directory on the way was moved, removed or replaced.
    """
    for name in names:
        check_name(name)
    try:
        held = descend(base, names)
    except OSError as error:
        if error.errno in NOT_THERE:
            raise fail(errno.ESTALE) from error
        raise
    found = os.fstat(held.fd)
    if (found.st_dev, found.st_ino) != key:
        raise fail(errno.ESTALE)
    return held


def reach_watched(
    library: Looking, base: HeldFd, name: bytes, key: Key, inotify_fd: int, mask: int
) -> tuple[HeldFd, int]:
    """Do as `reach` by openat2, with one name, and watch the directory, all in one trip.

    Return the watch's descriptor as well, or -errno if there can be none. ESTALE as there.
    """
    check_name(name)
    try:
        return library.enter(base.fd, name, HOW, key, inotify_fd, mask)
    except OSError as error:
        if error.errno in NOT_THERE:
            raise fail(errno.ESTALE) from error
        raise


def open_root(source: str | bytes) -> HeldFd:
    """Open the directory that becomes the root; links in `source` itself are the owner's.

    ENOENT, ENOTDIR, EACCES also if it cannot be listed or searched.
    """
    readable = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.stat(".", dir_fd=readable)
        return HeldFd(os.open(".", DIRECTORY, dir_fd=readable))
    finally:
        os.close(readable)
