"""Which vfsd mount shows a directory, as the kernel tells it.

From mountinfo alone: a command can run on another user's mount whose daemon would not answer
this user, and the control socket is not needed for it. vfsd/runtime.py finds daemons.

Concurrency: short blocking calls, except that a daemon that hangs makes a look at its mount hang.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import errno
import os
from typing import NamedTuple

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


class Place(NamedTuple):
    """A directory and the mount that shows it."""

    directory: str
    mountpoint: str


def served(directory: str | None) -> Place:
    """Return the vfsd mount in which `directory` (None: the current one) lies.

    UserError (125) where there is none, its daemon is gone, or this user may not enter it.
    """
    path = _here() if directory is None else os.path.realpath(directory)
    with open("/proc/self/mountinfo", "rb") as table:
        mountpoint, kind = innermost(table.read(), os.fsencode(path))
    if kind != b"fuse.vfsd":
        raise _failure(
            f"{path} is not in a vfsd mount; 'cd' into one, or name one with"
            " 'vfsd run --base /virtual -- ...'"
        )
    _check(path, os.fsdecode(mountpoint))
    return Place(path, os.fsdecode(mountpoint))


def innermost(mountinfo: bytes, path: bytes) -> tuple[bytes, bytes]:
    """Return mountpoint and file system type of the mount that shows the absolute `path`."""
    found = (b"/", b"")
    for line in mountinfo.split(b"\n"):
        fields, _, tail = line.partition(b" - ")
        before, after = fields.split(b" "), tail.split(b" ")
        if len(before) < 6:
            continue
        mountpoint = _unescape(before[4])
        # Of mounts at one place the last one shows.
        if len(mountpoint) >= len(found[0]) and _at_or_below(path, mountpoint):
            found = (mountpoint, after[0])
    return found


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise _failure(
            "the current directory is gone (deleted or unmounted); 'cd' into a vfsd mount"
        ) from None


def _check(path: str, mountpoint: str) -> None:
    try:
        with os.scandir(path):
            pass
    except NotADirectoryError:
        raise _failure(f"{path} is not a directory; the command needs one to start in") from None
    except FileNotFoundError:
        raise _failure(f"{path} does not exist; create it, or name another one") from None
    except PermissionError:
        raise _failure(
            f"this user may not enter {path}; if another user mounted {mountpoint}, it takes"
            " 'vfsd mount --allow-other' to let you in"
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED):
            raise
        raise _failure(
            f"the vfsd daemon that served {mountpoint} is gone;"
            f" 'vfsd unmount {mountpoint}' clears it"
        ) from None


def _failure(message: str) -> UserError:
    return UserError(message, ExitCode.RUN_FAILED)


def _at_or_below(path: bytes, ancestor: bytes) -> bool:
    return path == ancestor or path.startswith(ancestor.rstrip(b"/") + b"/")


def _unescape(field: bytes) -> bytes:
    # The kernel writes space, tab, newline and backslash as three octal digits.
    first, *rest = field.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)
