"""Which vfsd mount shows a directory, as the kernel tells it.

From mountinfo alone: a command can run on another user's mount whose daemon would not answer
this user, and the control socket is not needed for it. vfsd/runtime.py finds daemons.

Concurrency: short blocking calls, except that a daemon that hangs makes a look at its mount hang.

Source: vfsd/mountinfo.py.
"""

from __future__ import annotations

import errno
import os

from vfsd import mountinfo
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.named import NamedTuple


class Place(NamedTuple):
    """A directory and the mount that shows it."""

    directory: str
    mountpoint: str


def served(directory: str | None) -> Place:
    """Return the vfsd mount in which `directory` (None: the current one) lies.

    UserError (125) where there is none, its daemon is gone, or this user may not enter it.
    """
    path = here() if directory is None else os.path.realpath(directory)
    mount = mountinfo.showing(mountinfo.read(), os.fsencode(path))
    if mount is None or mount.kind != b"fuse.vfsd":
        raise _failure(
            f"{path} is not in a vfsd mount; 'cd' into one, or name one with"
            " 'vfsd run --base /virtual -- ...'"
        )
    place = Place(path, os.fsdecode(mount.mountpoint))
    _check(path, place.mountpoint)
    return place


def here() -> str:
    """Return the current directory. UserError (125) if it is gone."""
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
