"""Making or replacing whole files so that others see the old or the new one, never a part.

A new name is made at once where it was free; where it was taken, the new file is made under a
temporary name in the same directory and renamed over the old one. A symlink is replaced, never
written through.

Concurrency: a temporary entry is removed by the request that made it, also when it is
cancelled.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import stat as stat_module
from collections.abc import Awaitable, Callable

import trio

from vfsd.attributes import SetAttr
from vfsd.contract import Entry, Handle
from vfsd.control.batchverbs import Commit, Stage
from vfsd.control.openfiles import release
from vfsd.control.pathverbs import WriteFile
from vfsd.control.work import Work
from vfsd.errors import fail
from vfsd.tree import Place, split_path

log = logging.getLogger(__name__)

CLEANUP_TIMEOUT_SECONDS = 5.0
"""Longest wait for a temporary entry to be removed in a cancelled request."""

Maker = Callable[[bytes], Awaitable[Entry]]
"""Makes a file under the name it is given; on an error it leaves nothing behind.

Only the maker knows whether the name is its own: any error may mean that another file has it.
"""


async def install(work: Work, parent: Place, name: bytes, make: Maker) -> Entry:
    """Let `make` make the file `name`, replacing what has the name. EISDIR, EBUSY."""
    try:
        return await _make(work, parent, name, make)
    except FileExistsError:
        pass
    parent.attachment.check_unpinned(parent.node, name)
    old = await parent.attachment.provider.lookup(parent.node, name)
    if stat_module.S_ISDIR(old.stat.mode):
        raise fail(errno.EISDIR, name)
    temporary = temporary_name()
    entry = await _make(work, parent, temporary, make)
    if entry.node.number == old.node.number:  # a link to itself: rename would leave both names
        await discard(work, parent, temporary)
        return entry
    await replace(work, parent, temporary, name)
    return entry


async def replace(work: Work, parent: Place, temporary: bytes, name: bytes) -> None:
    """Rename the entry `temporary` to `name`, which may be taken; on an error it is removed."""
    provider = parent.attachment.provider
    try:
        parent.attachment.check_unpinned(parent.node, name)
        try:
            old = await provider.lookup(parent.node, name)
        except FileNotFoundError:
            old = None
        await provider.rename(parent.node, temporary, parent.node, name, 0)
    except BaseException:
        await discard(work, parent, temporary)
        raise
    work.edits.entry(parent, temporary)
    work.edits.entry(parent, name)
    if old is not None:
        work.edits.attributes(Place(parent.attachment, old.node))


async def _make(work: Work, parent: Place, name: bytes, make: Maker) -> Entry:
    entry = await make(name)
    work.edits.entry(parent, name)
    return entry


async def discard(work: Work, parent: Place, name: bytes) -> None:
    """Remove a temporary entry if it is there, also in a cancelled task."""
    with trio.move_on_after(CLEANUP_TIMEOUT_SECONDS, shield=True):
        try:
            await parent.attachment.provider.unlink(parent.node, name)
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("a temporary file cannot be removed: %s", error)
        work.edits.entry(parent, name)


def temporary_name() -> bytes:
    """Return a name that nobody guesses, recognisable if it is ever left behind."""
    return b".vfsd-" + secrets.token_hex(8).encode()


def file_maker(
    work: Work,
    parent: Place,
    data: bytes,
    mode: int,
    mtime_ns: int | None,
    old: Entry | None = None,
) -> Maker:
    """Return a maker of a regular file; with `old` it gets that one's mode and owner."""
    attachment = parent.attachment

    async def make(name: bytes) -> Entry:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with attachment.opening():
            entry, handle = await attachment.provider.create(
                parent.node, name, mode & 0o7777, flags, work.caller
            )
            try:
                try:
                    await write_all(handle, data)
                finally:
                    await release(handle)
                if old is not None:
                    changes = SetAttr(old.stat.mode & 0o7777, old.stat.uid, old.stat.gid)
                else:
                    # Writing clears the setuid and setgid bits.
                    changes = SetAttr(mode & 0o7777 if mode & 0o6000 else None, mtime_ns=mtime_ns)
                await apply(work, Place(attachment, entry.node), changes)
            except BaseException:
                await discard(work, parent, name)
                raise
        return entry

    return make


async def apply(work: Work, place: Place, changes: SetAttr) -> None:
    """Set attributes of a file, if there is any to set, and tell it."""
    if changes != SetAttr():
        await place.attachment.provider.setattr(place.node, changes, work.caller)
        work.edits.attributes(place)


async def write_all(handle: Handle, data: bytes) -> None:
    """Write all of `data` at the start of a new file."""
    done = 0
    while done < len(data):
        written = await handle.write(done, data[done:] if done else data)
        if written <= 0:
            raise fail(errno.EIO)
        done += written


async def write_file(work: Work, verb: WriteFile) -> object:
    parent, name = await work.tree.resolve_parent(verb.path)
    old = await _regular(parent, name)
    await install(work, parent, name, file_maker(work, parent, verb.data, verb.mode, None, old))
    return None


async def _regular(parent: Place, name: bytes) -> Entry | None:
    """Return the regular file `name`, None if there is none."""
    try:
        entry = await parent.attachment.provider.lookup(parent.node, name)
    except FileNotFoundError:
        return None
    return entry if stat_module.S_ISREG(entry.stat.mode) else None


async def directory_below(work: Work, at: Place, names: list[bytes]) -> Place:
    """Walk down from `at` without following a symlink. ENOTDIR, ENOENT."""
    place = at
    for name in names:
        place, entry = await work.tree.lookup(place, name)
        if not stat_module.S_ISDIR(entry.stat.mode):
            raise fail(errno.ENOTDIR, name)
    return place


async def stage(work: Work, verb: Stage) -> object:
    """Return the virtual fd."""
    at, entry = await work.tree.resolve(verb.at)
    if not stat_module.S_ISDIR(entry.stat.mode):
        raise fail(errno.ENOTDIR, verb.at)
    parent = await directory_below(work, at, split_path(verb.path))
    name = temporary_name()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    with parent.attachment.opening():
        entry, handle = await parent.attachment.provider.create(
            parent.node, name, 0o600, flags, work.caller
        )
        work.edits.entry(parent, name)
        try:
            file = await work.files.add(
                parent.attachment, entry.node, handle, writable=True, staged=(parent, name)
            )
        except BaseException:
            await discard(work, parent, name)
            raise
    return file.fd


async def commit(work: Work, verb: Commit) -> object:
    if split_path(verb.name) != [verb.name]:
        raise fail(errno.EINVAL, verb.name)
    file = work.files.take(verb.fd)
    staged, file.staged = file.staged, None
    await work.files.close(file)
    if staged is None:
        raise fail(errno.EBADF)
    parent, temporary = staged
    try:
        changes = SetAttr(mode=verb.mode & 0o7777, mtime_ns=verb.mtime_ns)
        old = await _regular(parent, verb.name) if verb.keep else None
        if old is not None:
            changes = SetAttr(
                old.stat.mode & 0o7777, old.stat.uid, old.stat.gid, mtime_ns=verb.mtime_ns
            )
        await apply(work, file.place, changes)
        await replace(work, parent, temporary, verb.name)
    except BaseException:
        await discard(work, parent, temporary)
        raise
    return None
