"""Taking over what somebody made: moved into the store, or given back where it came from.

A move costs the same for a directory of any size, and is there wholly or not at all.

What it is *not*: the rest of saving (store.py). Concurrency: blocking calls.

Source: rename(2): a directory that changes its parent must be writable, since its ``..`` changes.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from contextlib import suppress

from vfsd.digest import content_hasher
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.refusals import Elsewhere

_CHUNK_BYTES = 1 << 20


def adopt_directory(source: str, target: str, store: str) -> None:
    """Move a directory into the store. Elsewhere, UserError; ENOENT, ENOSPC."""
    mode = os.lstat(source).st_mode
    if not stat_module.S_ISDIR(mode):
        raise UserError(f"{source} is not a directory, so it cannot be a layer", ExitCode.USAGE)
    try:
        _move(source, target, stat_module.S_IMODE(mode))
    except OSError as error:
        # EBUSY: a mount stands there, or is still open.
        if error.errno in (errno.EXDEV, errno.EBUSY):
            raise Elsewhere(source, store) from error
        raise


def adopt_file(source: str, target: str) -> tuple[int, bytes]:
    """Move a finished file into the store, on disk; return its size in bytes and its digest.

    From another file system it is copied; the source is then still there.
    """
    if not stat_module.S_ISREG(os.lstat(source).st_mode):
        raise UserError(f"{source} is not a file, so it cannot be an archive", ExitCode.USAGE)
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        from vfsd.snapshots.filecopy import copy_data

        with open(source, "rb") as old, open(target, "xb") as new:
            copy_data(old, new.fileno(), os.fstat(old.fileno()).st_size, lambda _: None)
    try:
        hasher = content_hasher()
        with open(target, "rb") as file:
            while data := file.read(_CHUNK_BYTES):
                hasher.update(data)
            size_bytes = file.tell()
            os.fsync(file.fileno())
    except BaseException:
        give_back(target, source)
        raise
    return size_bytes, hasher.digest()


def give_back(target: str, source: str) -> None:
    """Move what was adopted back to where it was, unless something is there."""
    with suppress(OSError):
        if not os.path.lexists(source):
            mode = os.lstat(target).st_mode
            if stat_module.S_ISDIR(mode):
                _move(target, source, stat_module.S_IMODE(mode))
            else:
                os.rename(target, source)


def _move(source: str, target: str, mode: int) -> None:
    try:
        os.rename(source, target)
    except PermissionError:
        if mode & stat_module.S_IWUSR:
            raise
        os.chmod(source, mode | stat_module.S_IWUSR)
        try:
            os.rename(source, target)
        except BaseException:
            os.chmod(source, mode)
            raise
        os.chmod(target, mode)
