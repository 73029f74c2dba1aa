"""The verb put: many files in one message, so that seeding a tree costs no round trip per file.

Entries are made in their order, below one directory; the walk down from it follows no symlink.
One that fails is told and the others are made all the same. One wait for the kernel's caches
serves the whole batch.

Concurrency: other tasks get a turn every `CHECKPOINT_EVERY` files.
"""

from __future__ import annotations

import errno
import stat as stat_module

import trio

from vfsd.attributes import SetAttr
from vfsd.contract import Entry
from vfsd.control.batchverbs import Put, PutEntry
from vfsd.control.changing import check_target
from vfsd.control.placing import apply, file_maker, install
from vfsd.control.work import CHECKPOINT_EVERY, Work
from vfsd.errors import fail
from vfsd.tree import Place, check_not_hidden, check_same, split_path


async def put(work: Work, verb: Put) -> object:
    """Return ``[[index, errno], ...]`` for the entries that failed."""
    at, entry = await work.tree.resolve(verb.at)
    if not stat_module.S_ISDIR(entry.stat.mode):
        raise fail(errno.ENOTDIR, verb.at)
    batch = Batch(work, at)
    failures: list[list[int]] = []
    for position, item in enumerate(verb.entries):
        if position % CHECKPOINT_EVERY == 0:
            await trio.lowlevel.checkpoint()
        try:
            await batch.place(item)
        except OSError as error:
            failures.append([position, error.errno or errno.EIO])
    return failures


class Batch:
    """One batch on its way; remembers the directories it walked through."""

    def __init__(self, work: Work, at: Place) -> None:
        self._work = work
        self._at = at
        self._directories: dict[bytes, Place] = {b"": at}

    async def place(self, item: PutEntry) -> None:
        """Make one file. Raises OSError; then nothing of it is there."""
        path, mode, mtime_ns, content = item
        names = split_path(path)
        if not names:
            if not stat_module.S_ISDIR(mode):
                raise fail(errno.EINVAL, path)
            await apply(self._work, self._at, SetAttr(mode & 0o7777, mtime_ns=mtime_ns))
            return
        parent = await self._directory(names[:-1])
        name = names[-1]
        check_not_hidden(parent, name)
        match stat_module.S_IFMT(mode), content:
            case stat_module.S_IFREG, bytes(data):
                maker = file_maker(self._work, parent, data, mode, mtime_ns)
                await install(self._work, parent, name, maker)
            case stat_module.S_IFDIR, None:
                await self._make_directory(parent, name, mode & 0o7777, mtime_ns)
            case stat_module.S_IFLNK, bytes(target):
                await self._make_symlink(parent, name, target, mtime_ns)
            case ((stat_module.S_IFIFO | stat_module.S_IFSOCK), None):
                await self._make_node(parent, name, mode, 0, mtime_ns)
            case ((stat_module.S_IFCHR | stat_module.S_IFBLK), int(rdev)):
                await self._make_node(parent, name, mode, rdev, mtime_ns)
            case 0, bytes(source):
                await self._make_link(parent, name, source)
            case _:
                raise fail(errno.EINVAL, path)

    async def _directory(self, names: list[bytes]) -> Place:
        path = b"/".join(names)
        known = self._directories.get(path)
        if known is not None:
            return known
        above = await self._directory(names[:-1])
        place, entry = await self._work.tree.lookup(above, names[-1])
        if not stat_module.S_ISDIR(entry.stat.mode):
            raise fail(errno.ENOTDIR, path)
        self._directories[path] = place
        return place

    async def _make_directory(
        self, parent: Place, name: bytes, mode: int, mtime_ns: int | None
    ) -> None:
        work = self._work
        try:
            entry = await parent.attachment.provider.mkdir(parent.node, name, mode, work.caller)
            place = Place(parent.attachment, entry.node)
            work.edits.entry(parent, name)
        except FileExistsError:
            place, entry = await work.tree.lookup(parent, name)
            if not stat_module.S_ISDIR(entry.stat.mode):
                raise
        changed_mode = None if entry.stat.mode & 0o7777 == mode else mode
        await apply(work, place, SetAttr(changed_mode, mtime_ns=mtime_ns))

    async def _make_symlink(
        self, parent: Place, name: bytes, target: bytes, mtime_ns: int | None
    ) -> None:
        check_target(target)

        async def make(name: bytes) -> Entry:
            provider = parent.attachment.provider
            return await provider.symlink(parent.node, name, target, self._work.caller)

        entry = await install(self._work, parent, name, make)
        place = Place(parent.attachment, entry.node)
        await apply(self._work, place, SetAttr(mtime_ns=mtime_ns))

    async def _make_node(
        self, parent: Place, name: bytes, mode: int, rdev: int, mtime_ns: int | None
    ) -> None:
        async def make(name: bytes) -> Entry:
            provider = parent.attachment.provider
            return await provider.mknod(parent.node, name, mode, rdev, self._work.caller)

        entry = await install(self._work, parent, name, make)
        place = Place(parent.attachment, entry.node)
        await apply(self._work, place, SetAttr(mtime_ns=mtime_ns))

    async def _make_link(self, parent: Place, name: bytes, source: bytes) -> None:
        names = split_path(source)
        if not names:
            raise fail(errno.EPERM, source)
        above = await self._directory(names[:-1])
        linked, entry = await self._work.tree.lookup(above, names[-1])
        check_same(linked.attachment, parent.attachment)
        if stat_module.S_ISDIR(entry.stat.mode):
            raise fail(errno.EPERM, source)

        async def make(name: bytes) -> Entry:
            return await parent.attachment.provider.link(linked.node, parent.node, name)

        await install(self._work, parent, name, make)
        self._work.edits.attributes(linked)
