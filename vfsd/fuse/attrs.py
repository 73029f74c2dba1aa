"""Attributes in the kernel's terms: `Stat` to `EntryAttributes`, `StatFs` to `StatvfsData`.

Concurrency: pure functions.
"""

from __future__ import annotations

import pyfuse3

from vfsd.attributes import SetAttr, Stat, StatFs


def entry_attributes(ino: int, stat: Stat, cache_s: float) -> pyfuse3.EntryAttributes:
    """Return the reply for `ino`, which the kernel may keep for `cache_s` seconds."""
    entry = pyfuse3.EntryAttributes()
    fill(entry, ino, stat, cache_s)
    return entry


def fill(entry: pyfuse3.EntryAttributes, ino: int, stat: Stat, cache_s: float) -> None:
    """Make `entry` the reply for `ino`; a listing uses one object for all its entries."""
    entry.st_ino = ino
    (
        entry.st_mode,
        entry.st_nlink,
        entry.st_uid,
        entry.st_gid,
        entry.st_rdev,
        entry.st_size,
        entry.st_blocks,
        entry.st_atime_ns,
        entry.st_mtime_ns,
        entry.st_ctime_ns,
        entry.st_blksize,
    ) = stat
    entry.entry_timeout = cache_s
    entry.attr_timeout = cache_s


def negative_entry(cache_s: float) -> pyfuse3.EntryAttributes:
    """Return the reply "no such name", which the kernel may keep for `cache_s` seconds."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = cache_s
    return entry


def requested_changes(attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> SetAttr:
    """Return what a setattr request asks for."""
    return SetAttr(
        mode=attr.st_mode & 0o7777 if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        size=attr.st_size if fields.update_size else None,
        atime_ns=attr.st_atime_ns if fields.update_atime else None,
        mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
    )


def statvfs_data(room: StatFs) -> pyfuse3.StatvfsData:
    """Return the reply to statfs."""
    data = pyfuse3.StatvfsData()
    data.f_bsize = room.block_size
    data.f_frsize = room.block_size
    data.f_blocks = room.blocks
    data.f_bfree = room.blocks_free
    data.f_bavail = room.blocks_available
    data.f_files = room.files
    data.f_ffree = room.files_free
    data.f_favail = room.files_free
    data.f_namemax = room.name_max
    return data
