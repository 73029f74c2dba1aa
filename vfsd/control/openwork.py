"""Verbs on virtual fds: open, read, write, fstat, ftruncate, fsync, close.

Concurrency: a file is held by every request on it (openfiles.py), so that closing it during a
read is safe.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module

from vfsd.attributes import SetAttr
from vfsd.control.fileverbs import Close, Open, Read, StatFd, SyncFd, TruncateFd, Write
from vfsd.control.framing import DATA_LIMIT_BYTES
from vfsd.control.openfiles import ControlFile
from vfsd.control.placing import discard
from vfsd.control.work import Work, record
from vfsd.errors import fail
from vfsd.tree import Place

PASSED_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_TRUNC
KNOWN_FLAGS = (
    PASSED_FLAGS
    | os.O_CREAT
    | os.O_EXCL
    | os.O_NOFOLLOW
    | os.O_CLOEXEC
    | os.O_NONBLOCK
    | os.O_NOCTTY
    | getattr(os, "O_LARGEFILE", 0)
)


async def open_(work: Work, verb: Open) -> object:
    """Return ``[fd, record]``."""
    flags = verb.flags
    if flags & ~KNOWN_FLAGS or flags & os.O_ACCMODE == os.O_ACCMODE:
        raise fail(errno.EINVAL, verb.path)
    if flags & os.O_CREAT:
        file = await _create(work, verb)
    else:
        file = await _open_existing(work, verb, follow=not flags & os.O_NOFOLLOW)
    async with work.files.using(file.fd):
        attributes = await file.handle.getattr()
    return [file.fd, record(file.place, file.place.node, attributes)]


async def _create(work: Work, verb: Open) -> ControlFile:
    parent, name = await work.tree.resolve_parent(verb.path)
    try:
        _, found = await work.tree.lookup(parent, name)
    except FileNotFoundError:
        pass
    else:
        if verb.flags & os.O_EXCL:
            raise fail(errno.EEXIST, verb.path)
        if stat_module.S_ISLNK(found.stat.mode) or not stat_module.S_ISREG(found.stat.mode):
            return await _open_existing(work, verb, follow=not verb.flags & os.O_NOFOLLOW)
    provider = parent.attachment.provider
    # O_EXCL or not, whether the file exists is decided here by the provider, atomically.
    flags = verb.flags & (PASSED_FLAGS | os.O_CREAT | os.O_EXCL)
    with parent.attachment.opening():
        entry, handle = await provider.create(
            parent.node, name, verb.mode & 0o7777, flags, work.caller
        )
        work.edits.entry(parent, name)
        if verb.flags & os.O_TRUNC:
            work.edits.data(Place(parent.attachment, entry.node))
        return await work.files.add(
            parent.attachment, entry.node, handle, writable=bool(flags & os.O_ACCMODE)
        )


async def _open_existing(work: Work, verb: Open, *, follow: bool) -> ControlFile:
    place, entry = await work.tree.resolve(verb.path, follow=follow)
    kind = entry.stat.mode
    if stat_module.S_ISLNK(kind):
        raise fail(errno.ELOOP, verb.path)
    if stat_module.S_ISDIR(kind):
        raise fail(errno.EISDIR, verb.path)
    if not stat_module.S_ISREG(kind):
        raise fail(errno.ENXIO, verb.path)
    with place.attachment.opening():
        handle = await place.attachment.provider.open(
            entry.node, verb.flags & PASSED_FLAGS, work.caller
        )
        if verb.flags & os.O_TRUNC:
            work.edits.data(place)
        return await work.files.add(
            place.attachment, entry.node, handle, writable=bool(verb.flags & os.O_ACCMODE)
        )


async def read(work: Work, verb: Read) -> object:
    async with work.files.using(verb.fd) as file:
        return bytes(await file.handle.read(verb.offset, min(verb.size, DATA_LIMIT_BYTES)))


async def write(work: Work, verb: Write) -> object:
    if verb.offset + len(verb.data) >= 1 << 63:
        raise fail(errno.EFBIG)
    async with work.files.using(verb.fd) as file:
        try:
            return await file.handle.write(verb.offset, verb.data)
        finally:
            work.edits.data(file.place)


async def fstat(work: Work, verb: StatFd) -> object:
    async with work.files.using(verb.fd) as file:
        return record(file.place, file.place.node, await file.handle.getattr())


async def ftruncate(work: Work, verb: TruncateFd) -> object:
    async with work.files.using(verb.fd) as file:
        if not file.writable:
            raise fail(errno.EINVAL)
        place = file.place
        await place.attachment.provider.setattr(place.node, SetAttr(size=verb.size), work.caller)
        work.edits.data(place)
    return None


async def fsync(work: Work, verb: SyncFd) -> object:
    async with work.files.using(verb.fd) as file:
        await file.handle.fsync(datasync=verb.data_only)
    return None


async def close(work: Work, verb: Close) -> object:
    file = work.files.take(verb.fd)
    await work.files.close(file)
    if file.staged is not None:
        await discard(work, *file.staged)
    return None
