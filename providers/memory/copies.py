"""A whole file put in place at once, as a copy-up needs it.

Concurrency: no function suspends.
"""

from __future__ import annotations

import os

from providers.memory import names, xattrs
from providers.memory.entries import add_file, open_for_names, unlink
from providers.memory.handle import MemoryHandle
from providers.memory.records import shared
from providers.memory.version import Version
from vfsd.provider import Entry, FileCopy, Handle, Identity


async def put_copy(
    version: Version, parent: int, name: bytes, copy: FileCopy
) -> tuple[Entry, Handle] | None:
    """Put the file at a free name; the directory's mtime stays. None where it cannot be had.

    EROFS, ENOTDIR, ENOENT if the directory was removed.
    """
    directory = open_for_names(version, parent)
    if names.get(directory.names, name) is not None:
        return None
    mtime_ns = directory.mtime_ns
    stat, data, attributes = copy
    owner = Identity(stat.uid, stat.gid)
    try:
        node = add_file(version, directory, name, stat.mode, owner).node
    except OSError:
        return None
    handle = MemoryHandle(version, node.number, os.O_RDWR, owner)
    try:
        whole = handle.fill(data)
        for attribute, value in attributes:
            xattrs.put(version, node.number, attribute, value)
    except OSError:
        whole = False
    if not whole:
        await handle.release()
        unlink(version, parent, name)
        version.own(parent).mtime_ns = mtime_ns
        return None
    directory.mtime_ns = mtime_ns
    record = version.own_file(node.number)
    record.gid = shared(stat.gid)  # also below a setgid directory
    record.atime_ns, record.mtime_ns = stat.atime_ns, stat.mtime_ns
    return Entry(node, record.stat()), handle
