"""rename, with its two flags.

Times change as on tmpfs: both directories' mtime and ctime, and the ctime of every file that
was moved or replaced.

Concurrency: does not suspend; checks everything before it changes anything.

Source: rename(2); the order of its errors as Linux gives them on tmpfs.
"""

from __future__ import annotations

import errno

from providers.memory import names
from providers.memory.entries import open_for_names
from providers.memory.records import Directory
from providers.memory.version import Version, now_ns
from vfsd.errors import fail
from vfsd.provider import ROOT_NUMBER

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2


def rename(
    version: Version, source: int, name: bytes, target: int, new_name: bytes, flags: int
) -> None:
    """Move `name` in directory `source` to `new_name` in directory `target`."""
    version.check_writable()
    if flags not in (0, RENAME_NOREPLACE, RENAME_EXCHANGE):
        raise fail(errno.EINVAL)
    source_directory = open_for_names(version, source)
    target_directory = open_for_names(version, target)
    moved = version.child(source_directory, name)
    replaced = names.get(target_directory.names, new_name)
    if flags == RENAME_NOREPLACE and replaced is not None:
        raise fail(errno.EEXIST, new_name)
    if flags == RENAME_EXCHANGE and replaced is None:
        raise fail(errno.ENOENT, new_name)
    if moved == replaced:
        return
    _check_ancestry(version, moved, target, name)
    now = now_ns()
    if flags == RENAME_EXCHANGE:
        assert replaced is not None
        _check_ancestry(version, replaced, source, new_name)
        source_directory.replace_name(name, replaced)
        target_directory.replace_name(new_name, moved)
        _settle(version, replaced, target_directory, source_directory, source, now)
    else:
        if replaced is None:
            target_directory.put_name(new_name, moved)
        else:
            _check_replaceable(version, moved, replaced, new_name)
            target_directory.replace_name(new_name, moved)
            if type(version.find(replaced)) is Directory:
                target_directory.nlink -= 1
                version.remove_directory(replaced, now)
            else:
                version.unlink(replaced, now)
        source_directory.remove_name(name)
    _settle(version, moved, source_directory, target_directory, target, now)
    source_directory.mtime_ns = source_directory.ctime_ns = now
    target_directory.mtime_ns = target_directory.ctime_ns = now


def _settle(
    version: Version, number: int, old: Directory, new: Directory, parent: int, now: int
) -> None:
    record = version.own(number)
    record.ctime_ns = now
    if type(record) is Directory:
        record.parent = parent
        old.nlink -= 1
        new.nlink += 1


def _check_ancestry(version: Version, moved: int, target: int, name: bytes) -> None:
    """Raise EINVAL if the directory `moved` is `target` or stands above it."""
    if type(version.find(moved)) is not Directory:
        return
    number = target
    while number != moved:
        if number == ROOT_NUMBER:
            return
        number = version.find_directory(number).parent
    raise fail(errno.EINVAL, name)


def _check_replaceable(version: Version, moved: int, replaced: int, new_name: bytes) -> None:
    record = version.find(replaced)
    if type(version.find(moved)) is Directory:
        if type(record) is not Directory:
            raise fail(errno.ENOTDIR, new_name)
        if record.count or record.population is not None:
            raise fail(errno.ENOTEMPTY, new_name)
    elif type(record) is Directory:
        raise fail(errno.EISDIR, new_name)
