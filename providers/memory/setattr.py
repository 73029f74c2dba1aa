"""Changing attributes: modes, owners, sizes, times, and which privilege bits fall with them.

A change of owner clears the setuid bit of what is not a directory, for root as well, and the
setgid bit where the group may execute; where it may not (which once meant mandatory locking),
only if the one who changes it is neither root nor in the group. A change of size or a write
does the same, on regular files and unless root made it. The file's capabilities fall with any
of these. Of a caller's groups only the first is
known here.

atime changes here and at creation only: the kernel answers reads from its cache, so reads
that reach this provider say nothing about when a file was read last.

Concurrency: does not suspend; checks everything before it changes anything.

Source: chown(2), inode(7); tmpfs.
"""

from __future__ import annotations

import errno
import stat as stat_module

from providers.memory.content import SIZE_MAX
from providers.memory.records import Directory, File, Record, shared
from providers.memory.version import Version, now_ns
from providers.memory.xattrs import drop_capability
from vfsd.errors import fail
from vfsd.provider import Caller, SetAttr, Stat

PRIVILEGE_BITS = stat_module.S_ISUID | stat_module.S_ISGID


def change_attributes(version: Version, number: int, changes: SetAttr, caller: Caller) -> Stat:
    """Apply `changes` to the file and return its attributes."""
    version.check_writable()
    mode, uid, gid, size, atime_ns, mtime_ns = changes
    if size is not None:
        _check_size(version.find(number), size)
    record = version.own(number)
    record.ctime_ns = now = now_ns()
    if size is not None:
        assert type(record) is File
        truncate(version, record, size)
        record.mtime_ns = now
        drop_capability(version, number)
        if mode is None and caller.uid:
            drop_privilege(record, caller.gid)
    if uid is not None or gid is not None:
        drop_capability(version, number)
        if mode is None and type(record) is not Directory:
            drop_privilege(record, caller.gid if caller.uid else None)
        if uid is not None:
            record.uid = shared(uid)
        if gid is not None:
            record.gid = shared(gid)
    if mode is not None:
        record.mode = shared(stat_module.S_IFMT(record.mode) | mode & 0o7777)
    if atime_ns is not None:
        record.atime_ns = atime_ns
    if mtime_ns is not None:
        record.mtime_ns = mtime_ns
    return record.stat()


def truncate(version: Version, record: File, size: int) -> None:
    """Cut or extend a file whose record is the version's own."""
    if size == record.content.size:
        return
    content = record.content_of(version.owner)
    charged, chunks = content.charged_bytes, content.chunk_count
    content.truncate(size, version.owner)
    version.used_bytes += content.charged_bytes - charged
    version.chunk_count += content.chunk_count - chunks


def drop_privilege(record: Record, gid: int | None) -> None:
    """Clear the bits that fall when one of group `gid`, or root if None, changes the file."""
    mode = record.mode
    if mode & PRIVILEGE_BITS:
        mode &= ~stat_module.S_ISUID
        if mode & stat_module.S_IXGRP or (gid is not None and gid != record.gid):
            mode &= ~stat_module.S_ISGID
        record.mode = shared(mode)


def _check_size(record: Record, size: int) -> None:
    if type(record) is Directory:
        raise fail(errno.EISDIR)
    if type(record) is not File or size < 0:
        raise fail(errno.EINVAL)
    if size > SIZE_MAX:
        raise fail(errno.EFBIG)
