"""Providers with one bug each, to test the suite: it must catch the bug, and nothing else.

Each class stands beside the names of the checks that must fail for it; its docstring names
the mistake, most of them made by a real system.

Concurrency: as the memory provider's.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
from contextlib import asynccontextmanager

import trio

from providers.memory import MemoryProvider
from tests.conformance.dict_provider import DictProvider
from vfsd.conformance.files import ROOT
from vfsd.errors import fail
from vfsd.pathprovider import PathNode
from vfsd.provider import Entry, Handle, SetAttr
from vfsd.readonly import ReadOnlyView

FAULTS: dict[type, set[str]] = {}


def caught_by(*checks):
    def decorate(provider_class):
        FAULTS[provider_class] = set(checks)
        return provider_class

    return decorate


class Wrapped(Handle):
    """A handle that passes everything on; faults override one method."""

    def __init__(self, inner, provider, node):
        self.inner = inner
        self.provider = provider
        self.node = node

    async def read(self, offset, size):
        return await self.inner.read(offset, size)

    async def write(self, offset, data):
        return await self.inner.write(offset, data)

    async def write_back(self, offset, data):
        return await self.inner.write_back(offset, data)

    async def getattr(self):
        return await self.inner.getattr()

    async def release(self):
        await self.inner.release()


class Wrapping(MemoryProvider):
    """Gives every handle to `wrapper`."""

    wrapper = Wrapped

    async def open(self, node, flags, caller):
        return self.wrapper(await super().open(node, flags, caller), self, node)

    async def create(self, parent, name, mode, flags, caller):
        entry, handle = await super().create(parent, name, mode, flags, caller)
        return entry, self.wrapper(handle, self, entry.node)


@caught_by("open_with_o_trunc_empties", "create_opens_what_exists", "snapshot_is_read_only")
class IgnoresTruncFlag(MemoryProvider):
    async def open(self, node, flags, caller):
        return await super().open(node, flags & ~os.O_TRUNC, caller)


@caught_by(
    "append_ignores_offset",
    "append_follows_truncation",
    "concurrent_appends_lose_nothing",
)
class AppendsAtOffset(MemoryProvider):
    """Two append handles lose data."""

    async def open(self, node, flags, caller):
        return await super().open(node, flags & ~os.O_APPEND, caller)


@caught_by("pages_written_back_are_not_appended")
class AppendsPages(Wrapping):
    class wrapper(Wrapped):
        async def write_back(self, offset, data):
            return await self.inner.write(offset, data)


@caught_by("all_at_once_or_none")
class GivesTheBeginning(Wrapping):
    """Fills a buffer of the size that was asked for, and takes it for all there is."""

    class wrapper(Wrapped):
        def at_once(self, limit_bytes):
            given = self.inner.at_once(1 << 30)
            return None if given is None else given[:limit_bytes]


@caught_by("at_once_what_was_written_last")
class GivesWhatWasThere(Wrapping):
    """Keeps the content of a file as it was when that was opened."""

    class wrapper(Wrapped):
        def __init__(self, inner, provider, node):
            super().__init__(inner, provider, node)
            given = inner.at_once(1 << 30)
            self.content = None if given is None else bytes(given)

        def at_once(self, limit_bytes):
            too_long = self.content is None or len(self.content) > limit_bytes
            return None if too_long else self.content


@caught_by("create_exclusive_refuses_what_exists", "one_of_many_exclusive_creators_wins")
class IgnoresExclusive(MemoryProvider):
    async def create(self, parent, name, mode, flags, caller):
        try:
            entry = await self.lookup(parent, name)
        except FileNotFoundError:
            return await super().create(parent, name, mode, flags, caller)
        if not flags & os.O_EXCL or not stat_module.S_ISREG(entry.stat.mode):
            return await super().create(parent, name, mode, flags, caller)
        return entry, await self.open(entry.node, flags & ~os.O_TRUNC, caller)


@caught_by("truncation_shrinks_and_extends_with_zeros", "cut_data_does_not_come_back")
class ExtendsWithOldData(MemoryProvider):
    async def setattr(self, node, changes, caller):
        before = await self.getattr(node)
        after = await super().setattr(node, changes, caller)
        if changes.size is not None and changes.size > before.size:
            handle = await super().open(node, os.O_WRONLY, caller)
            await handle.write(changes.size - 1, b"\xaa")
            await handle.release()
        return after


@caught_by("unlink_of_directory_is_eisdir", "clear_leaves_a_directory_that_is_empty")
class UnlinksDirectories(MemoryProvider):
    async def unlink(self, parent, name):
        try:
            await super().unlink(parent, name)
        except IsADirectoryError:
            await self.rmdir(parent, name)


@caught_by("unlink_of_symlink_keeps_its_target", "fork_of_a_snapshot_is_writable")
class UnlinksTargets(MemoryProvider):
    """`unlink` of a symlink deletes what it points to as well."""

    async def unlink(self, parent, name):
        entry = await self.lookup(parent, name)
        await super().unlink(parent, name)
        if stat_module.S_ISLNK(entry.stat.mode) and b"f" in await self.readdir(parent):
            await super().unlink(parent, b"f")


@caught_by("rmdir_of_full_directory_is_enotempty")
class WrongErrno(MemoryProvider):
    async def rmdir(self, parent, name):
        try:
            await super().rmdir(parent, name)
        except OSError as error:
            raise fail(errno.EBUSY if error.errno == errno.ENOTEMPTY else error.errno) from error


@caught_by("refused_renames_change_nothing")
class IgnoresNoReplace(MemoryProvider):
    async def rename(self, parent, name, new_parent, new_name, flags):
        await super().rename(parent, name, new_parent, new_name, flags & ~1)


@caught_by(
    "exchange_swaps_any_two",
    "refused_renames_change_nothing",
    "directory_links_follow_renames",
    "cancelled_rename_is_all_or_nothing",
)
class ExchangeIsRename(MemoryProvider):
    async def rename(self, parent, name, new_parent, new_name, flags):
        await super().rename(parent, name, new_parent, new_name, flags & ~2)


@caught_by("cancelled_rename_is_all_or_nothing")
class RenameInTwoSteps(MemoryProvider):
    """Removes the target, lets others run, then renames."""

    async def rename(self, parent, name, new_parent, new_name, flags):
        if not flags:
            try:
                target = await self.lookup(new_parent, new_name)
                source = await self.lookup(parent, name)
            except FileNotFoundError:
                pass
            else:
                modes = target.stat.mode | source.stat.mode
                if modes == 0o100644 and target.node.number != source.node.number:
                    await self.unlink(new_parent, new_name)
                    await trio.lowlevel.checkpoint()
        await super().rename(parent, name, new_parent, new_name, flags)


@caught_by("readdir_result_is_a_snapshot", "tree_can_be_removed_while_listed")
class LiveListing(MemoryProvider):
    """Hands out its own list, and goes on changing it."""

    lists: dict[int, list[bytes]]

    async def readdir(self, node):
        names = list(await super().readdir(node))
        self.__dict__.setdefault("lists", {})[node.number] = names
        return names

    async def unlink(self, parent, name):
        await super().unlink(parent, name)
        listed = self.__dict__.get("lists", {}).get(parent.number, [])
        if name in listed:
            listed.remove(name)


@caught_by("lookup_many_agrees_with_lookup")
class DropsMissingNames(MemoryProvider):
    async def lookup_many(self, parent, names):
        found = await super().lookup_many(parent, names)
        return [entry for entry in found if entry is not None]


@caught_by("lookup_missing_is_enoent")
class LeaksKeyError(MemoryProvider):
    """Raises what is not an OSError for one missing name."""

    async def lookup(self, parent, name):
        try:
            return await super().lookup(parent, name)
        except FileNotFoundError as error:
            if name == b"missing":
                raise KeyError(name) from error
            raise


@caught_by("targets_are_kept_as_given")
class NormalisesTargets(MemoryProvider):
    async def symlink(self, parent, name, target, caller):
        return await super().symlink(parent, name, _normal(target), caller)


def _normal(target):
    return os.path.normpath(target)


@caught_by("chown_clears_setuid_and_setgid")
class KeepsSetuidOnChown(MemoryProvider):
    async def setattr(self, node, changes, caller):
        if changes.mode is None and (changes.uid is not None or changes.gid is not None):
            before = await self.getattr(node)
            changes = changes._replace(mode=before.mode & 0o7777)
        return await super().setattr(node, changes, caller)


@caught_by("write_moves_mtime_and_ctime")
class WriteKeepsMtime(Wrapping):
    class wrapper(Wrapped):
        async def write(self, offset, data):
            before = await self.inner.getattr()
            count = await self.inner.write(offset, data)
            await self.provider.setattr(self.node, SetAttr(mtime_ns=before.mtime_ns), ROOT)
            return count


@caught_by("statfs_follows_what_is_stored")
class ConstantRoom(MemoryProvider):
    async def statfs(self):
        return (await super().statfs())._replace(
            blocks=1000, blocks_free=500, blocks_available=500, files=100, files_free=50
        )


@caught_by("xattrs_can_be_set_replaced_and_removed")
class RemovesMissingXattrs(MemoryProvider):
    async def removexattr(self, node, name):
        try:
            await super().removexattr(node, name)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise


@caught_by("setgid_directory_hands_down_its_group")
class ForgetsSetgid(MemoryProvider):
    async def mkdir(self, parent, name, mode, caller):
        entry = await super().mkdir(parent, name, mode, caller)
        stat = await self.setattr(entry.node, SetAttr(gid=caller.gid, mode=mode), caller)
        return Entry(entry.node, stat)


@caught_by("empty_write_changes_nothing")
class EmptyWriteExtends(Wrapping):
    class wrapper(Wrapped):
        async def write(self, offset, data):
            if not data:
                await self.inner.write(offset - 1, b"\0")
            return await self.inner.write(offset, data)


@caught_by(
    "number_survives_rename_when_nobody_holds_the_node",
    "numbers_are_stable",
    "refused_renames_change_nothing",
    "rename_to_itself_does_nothing",
)
class NewNumberPerLookup(DictProvider):
    """A new inode number whenever nobody holds the node."""

    count = 1 << 40

    def _node_at(self, parent, name):
        node = self._by_place.get((parent.number, name))
        if node is None:
            NewNumberPerLookup.count += 1
            node = PathNode(NewNumberPerLookup.count, parent, name)
            self._by_place[parent.number, name] = node
        return node


@caught_by(
    "snapshot_is_not_changed_by_later_writes",
    "snapshot_is_read_only",
    "open_handles_write_past_a_snapshot",
    "snapshots_of_each_moment",
    "changes_go_on_after_a_pause",
    "what_changed_is_never_called_unchanged",
    "xattrs_survive_forks",
)
class SnapshotIsItself(MemoryProvider):
    def snapshot(self):
        return self


@caught_by("explain_tells_words_and_no_host_path")
class ExplainsTheHost(MemoryProvider):
    async def explain(self, node):
        return {"origin": b"/home/somebody/file"}


@caught_by("changes_go_on_after_a_pause")
class StaysPaused(MemoryProvider):
    paused = False

    @asynccontextmanager
    async def pause(self):
        self.paused = True
        yield

    async def mkdir(self, parent, name, mode, caller):
        if self.paused:
            raise fail(errno.EBUSY)
        return await super().mkdir(parent, name, mode, caller)


class TruncatesReadOnly(ReadOnlyView):
    """Read-only, but O_TRUNC empties the file."""

    async def open(self, node, flags, caller):
        if flags & os.O_TRUNC:
            return await self.inner.open(node, flags | os.O_RDWR, caller)
        return await super().open(node, flags, caller)


READ_ONLY_FAULTS = {
    TruncatesReadOnly: {"open_for_writing_is_erofs"},
}
