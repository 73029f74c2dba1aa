"""Verbs that look at files by path: stat, list, readlink, statfs, xattrs, read_file, fetch.

Modes are not checked: who may connect to the socket owns the daemon (see docs/CONTROL.md).

Concurrency: a listing's pages are cut by name, so they stay right while the directory changes;
nothing else is kept between requests.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Sequence

import trio

from vfsd import provenance
from vfsd.contract import Entry
from vfsd.control.batchverbs import Fetch
from vfsd.control.framing import DATA_LIMIT_BYTES
from vfsd.control.openfiles import release
from vfsd.control.pathverbs import (
    GetXattr,
    ListDirectory,
    ListXattr,
    ReadFile,
    ReadLink,
    StatFile,
    StatFilesystem,
)
from vfsd.control.work import CHECKPOINT_EVERY, Work, record
from vfsd.errors import fail
from vfsd.tree import Place

RECORD_BYTES = 160
"""Upper bound of one record in a listing, without its name: 13 integers of up to 9 bytes."""


async def stat(work: Work, verb: StatFile) -> object:
    place, entry = await work.tree.resolve(verb.path, follow=verb.follow)
    return record(place, entry.node, entry.stat)


async def readlink(work: Work, verb: ReadLink) -> object:
    place, _ = await work.tree.resolve(verb.path, follow=False)
    return await place.attachment.provider.readlink(place.node)


async def statfs(work: Work, verb: StatFilesystem) -> object:
    place, _ = await work.tree.resolve(verb.path)
    return list(await place.attachment.provider.statfs())


async def list_directory(work: Work, verb: ListDirectory) -> object:
    """Return ``{"entries": [[name, record], ...], "after": name or nil}``; nil: that is all."""
    place, entry = await work.tree.resolve(verb.path)
    if not stat_module.S_ISDIR(entry.stat.mode):
        raise fail(errno.ENOTDIR, verb.path)
    names, start = await work.listings.names_past(place, verb.after)
    end, room = start, DATA_LIMIT_BYTES
    while end < len(names) and end - start < verb.limit:
        room -= RECORD_BYTES + len(names[end])
        if room < 0:
            break
        end += 1
    page = names[start:end]
    found = await _lookup_all(work, place, page)
    entries = [
        [name, record(child, each.node, each.stat)]
        for name, (child, each) in zip(page, found, strict=True)
        if each is not None
    ]
    # `after` is told, not taken from the last entry: that one may be gone by now.
    after = page[-1] if end < len(names) else None
    work.listings.keep(place, names, after)
    return {"entries": entries, "after": after}


async def _lookup_all(
    work: Work, place: Place, names: Sequence[bytes]
) -> list[tuple[Place, Entry | None]]:
    found: list[tuple[Place, Entry | None]] = []
    nested = place.attachment.nested
    for name, entry in zip(
        names, await place.attachment.provider.lookup_many(place.node, names), strict=True
    ):
        if nested and (place.node.number, name) in nested:
            found.append(await work.tree.lookup(place, name))
        else:
            found.append((place, entry))
    return found


async def getxattr(work: Work, verb: GetXattr) -> object:
    place, _ = await work.tree.resolve(verb.path, follow=verb.follow)
    return bytes(await provenance.getxattr(place.attachment, place.node, verb.name))


async def listxattr(work: Work, verb: ListXattr) -> object:
    place, _ = await work.tree.resolve(verb.path, follow=verb.follow)
    return list(await place.attachment.provider.listxattr(place.node))


async def read_file(work: Work, verb: ReadFile) -> object:
    place, entry = await work.tree.resolve(verb.path)
    data = await read_whole(work, place, entry, DATA_LIMIT_BYTES)
    if data is None:
        raise fail(errno.EFBIG, verb.path)
    return data


async def fetch(work: Work, verb: Fetch) -> object:
    """Return an array, shorter than the names where no more fits: data, or an errno."""
    directory, _ = await work.tree.resolve(verb.at)
    room = DATA_LIMIT_BYTES
    answers: list[bytes | int] = []
    for position, name in enumerate(verb.names):
        if position % CHECKPOINT_EVERY == 0:
            await trio.lowlevel.checkpoint()
        try:
            if b"/" in name or name in (b"", b".", b".."):
                raise fail(errno.EINVAL, name)
            place, entry = await work.tree.lookup(directory, name)
            data = await read_whole(work, place, entry, room)
        except OSError as error:
            answers.append(error.errno or errno.EIO)
            continue
        if data is None:
            if answers:
                break
            answers.append(errno.EFBIG)
            continue
        answers.append(data)
        room -= len(data)
    return answers


async def read_whole(work: Work, place: Place, entry: Entry, limit: int) -> bytes | None:
    """Return all data of a regular file, None if it is more than `limit` bytes. EISDIR, EINVAL."""
    if stat_module.S_ISDIR(entry.stat.mode):
        raise fail(errno.EISDIR)
    if not stat_module.S_ISREG(entry.stat.mode):
        raise fail(errno.EINVAL)
    if entry.stat.size > limit:
        return None
    with place.attachment.opening():
        handle = await place.attachment.provider.open(entry.node, os.O_RDONLY, work.caller)
        try:
            # The size is a hint: it may have changed, and a dynamic file's is not known.
            data = bytes(await handle.read(0, limit + 1))
            if entry.stat.size and len(data) == entry.stat.size:
                return data
            while len(data) <= limit:
                more = bytes(await handle.read(len(data), limit + 1 - len(data)))
                if not more:
                    return data
                data += more
            return None
        finally:
            await release(handle)
