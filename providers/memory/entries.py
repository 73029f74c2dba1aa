"""Names: making files, linking and removing them.

Times change as on tmpfs: the directory's mtime and ctime with each name, the file's ctime
with each link. New files below a setgid directory take its group, new directories its bit too.

What is *not* here: rename (rename.py).

Concurrency: no function suspends; each checks everything before it changes anything, so that
it is seen entirely or not at all.
"""

from __future__ import annotations

import errno
import stat as stat_module

from providers.memory import names
from providers.memory.records import Directory, File, Record, Symlink
from providers.memory.version import LINK_MAX, Version, now_ns
from vfsd.errors import fail
from vfsd.provider import PATH_MAX, Caller, Entry, Node

_SPECIAL_TYPES = frozenset(
    (stat_module.S_IFIFO, stat_module.S_IFSOCK, stat_module.S_IFCHR, stat_module.S_IFBLK)
)
_DEVICE_TYPES = frozenset((stat_module.S_IFCHR, stat_module.S_IFBLK))


def open_for_names(version: Version, parent: int) -> Directory:
    """Return the directory's record to change. EROFS, ENOTDIR, ENOENT if it was removed."""
    if not version.writable:
        raise fail(errno.EROFS)
    record = version.records.get(parent)
    if type(record) is not Directory:
        raise fail(errno.ENOENT if record is None else errno.ENOTDIR)
    if not record.nlink:
        raise fail(errno.ENOENT)
    return record if record.owner is version.owner else version.take(parent, record)


def add_file(
    version: Version, directory: Directory, name: bytes, mode: int, caller: Caller
) -> Entry:
    """Make an empty regular file at a free name of a directory that is the owner's."""
    record = File(
        version.owner,
        stat_module.S_IFREG | mode & 0o7777,
        caller.uid,
        group_for(directory, caller),
        now_ns(),
    )
    return add_entry(version, directory, name, record)


def make_special(
    version: Version, parent: int, name: bytes, mode: int, rdev: int, caller: Caller
) -> Entry:
    """Make a FIFO, socket, device node or empty regular file, by the type in `mode`."""
    directory = _for_new_name(version, parent, name)
    kind = stat_module.S_IFMT(mode)
    if kind in (0, stat_module.S_IFREG):
        return add_file(version, directory, name, mode, caller)
    if kind not in _SPECIAL_TYPES:
        raise fail(errno.EPERM, name)
    gid = group_for(directory, caller)
    record = Record(version.owner, kind | mode & 0o7777, caller.uid, gid, now_ns())
    if kind in _DEVICE_TYPES:
        record.rdev = rdev
    return add_entry(version, directory, name, record)


def make_directory(version: Version, parent: int, name: bytes, mode: int, caller: Caller) -> Entry:
    """Make an empty directory."""
    directory = _for_new_name(version, parent, name)
    mode = stat_module.S_IFDIR | mode & 0o7777 | directory.mode & stat_module.S_ISGID
    gid = group_for(directory, caller)
    record = Directory(version.owner, mode, caller.uid, gid, now_ns(), parent)
    return add_entry(version, directory, name, record)


def make_symlink(
    version: Version, parent: int, name: bytes, target: bytes, caller: Caller
) -> Entry:
    """Make a symlink."""
    directory = _for_new_name(version, parent, name)
    if len(target) >= PATH_MAX:
        raise fail(errno.ENAMETOOLONG, name)
    if not target:
        raise fail(errno.ENOENT, name)
    gid = group_for(directory, caller)
    record = Symlink(version.owner, caller.uid, gid, now_ns(), target)
    return add_entry(version, directory, name, record)


def link(version: Version, number: int, parent: int, name: bytes) -> Entry:
    """Give a file another name."""
    directory = _for_new_name(version, parent, name)
    record = version.records.get(number)
    if record is None or not record.nlink:
        raise fail(errno.ENOENT, name)
    if type(record) is Directory:
        raise fail(errno.EPERM, name)
    if record.nlink >= LINK_MAX:
        raise fail(errno.EMLINK, name)
    record = version.own(number)
    record.nlink += 1
    record.ctime_ns = now_ns()
    directory.put_name(name, number)
    directory.mtime_ns = directory.ctime_ns = record.ctime_ns
    return Entry(Node(number), record.stat())


def unlink(version: Version, parent: int, name: bytes) -> None:
    """Remove a name that is not a directory."""
    directory = open_for_names(version, parent)
    number = version.child(directory, name)
    if type(version.find(number)) is Directory:
        raise fail(errno.EISDIR, name)
    now = now_ns()
    directory.remove_name(name)
    directory.mtime_ns = directory.ctime_ns = now
    version.unlink(number, now)


def remove_directory(version: Version, parent: int, name: bytes) -> None:
    """Remove an empty directory."""
    directory = open_for_names(version, parent)
    number = version.child(directory, name)
    record = version.find_directory(number)
    if record.count or record.population is not None:
        raise fail(errno.ENOTEMPTY, name)
    directory.remove_name(name)
    directory.nlink -= 1
    directory.mtime_ns = directory.ctime_ns = now = now_ns()
    version.remove_directory(number, now)


def group_for(directory: Directory, caller: Caller) -> int:
    """Return the group of a new file in `directory`."""
    return directory.gid if directory.mode & stat_module.S_ISGID else caller.gid


def add_entry(version: Version, directory: Directory, name: bytes, record: Record) -> Entry:
    """Put a new record at a free name of a directory that is the owner's. ENOSPC."""
    node = version.add(record)
    directory.put_name(name, node.number)
    directory.mtime_ns = directory.ctime_ns = record.ctime_ns
    if type(record) is Directory:
        directory.nlink += 1
    return Entry(node, record.stat())


def _for_new_name(version: Version, parent: int, name: bytes) -> Directory:
    directory = open_for_names(version, parent)
    if names.get(directory.names, name) is not None:
        raise fail(errno.EEXIST, name)
    return directory
