"""What `PathProvider` does for its subclasses, where the conformance suite cannot look."""

import errno
import gc
import os
import stat as stat_module
from contextlib import asynccontextmanager

import pytest
import trio

from tests.conformance.dict_provider import DictProvider, ReopeningDictProvider
from vfsd import pathnodes
from vfsd.provider import Handle, Identity, SetAttr, Stat, Traits

ROOT = Identity(0, 0)
NEW = os.O_RDWR | os.O_CREAT


@asynccontextmanager
async def fails(code):
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code, caught.value


class Gated(ReopeningDictProvider):
    """Like one on a slow disk: calls of the methods in `slow` wait for `gate`, before or after."""

    def __init__(self):
        super().__init__()
        self.slow = set()
        self.late = set()
        self.gate = trio.Event()
        self.waiting = trio.Event()
        self.calls = []

    async def _pass(self, name, which):
        if name in which:
            self.waiting.set()
            await self.gate.wait()


def _gate(name):
    async def method(self, *arguments):
        self.calls.append(name)
        await self._pass(name, self.slow)
        try:
            return await getattr(super(Gated, self), name)(*arguments)
        finally:
            await self._pass(name, self.late)

    setattr(Gated, name, method)


for _name in ("stat", "open_path", "create_path", "mkdir_path", "unlink_path", "rename_path"):
    _gate(_name)


async def put(provider, name, data=b"", parent=None):
    """Make or replace a file; return its node."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    parent = parent or provider.root
    entry, handle = await provider.create(parent, name, 0o644, flags, ROOT)
    if data:
        await handle.write(0, data)
    await handle.release()
    return entry.node


async def number(provider, name, parent=None):
    """Look up a number without holding the node."""
    return (await provider.lookup(parent or provider.root, name)).node.number


# -- existing names -------------------------------------------------------------------------


async def test_making_never_reaches_the_subclass_where_something_is():
    provider = DictProvider()
    root = provider.root
    await put(provider, b"f", b"data")
    await provider.mkdir(root, b"d", 0o755, ROOT)
    await provider.symlink(root, b"l", b"f", ROOT)
    before = dict(provider.items)
    for name in (b"f", b"d", b"l"):
        async with fails(errno.EEXIST):
            await provider.create(root, name, 0o644, NEW | os.O_EXCL | os.O_TRUNC, ROOT)
        async with fails(errno.EEXIST):
            await provider.mkdir(root, name, 0o755, ROOT)
        async with fails(errno.EEXIST):
            await provider.symlink(root, name, b"x", ROOT)
        for kind in (stat_module.S_IFREG, stat_module.S_IFIFO):
            async with fails(errno.EEXIST):
                await provider.mknod(root, name, kind | 0o644, 0, ROOT)
    assert provider.items == before
    assert bytes(before[b"f"].data) == b"data"


async def test_create_opens_a_file_refuses_a_directory_and_follows_no_link():
    provider = DictProvider()
    root = provider.root
    node = await put(provider, b"f", b"data")
    await provider.mkdir(root, b"d", 0o755, ROOT)
    await provider.symlink(root, b"l", b"f", ROOT)
    entry, handle = await provider.create(root, b"f", 0o600, NEW, ROOT)
    assert entry.node is node
    assert (entry.stat.mode, entry.stat.size) == (0o100644, 4)
    assert await handle.read(0, 9) == b"data"
    async with fails(errno.EISDIR):
        await provider.create(root, b"d", 0o644, NEW, ROOT)
    async with fails(errno.ELOOP):
        await provider.create(root, b"l", 0o644, NEW | os.O_TRUNC, ROOT)
    assert await handle.read(0, 9) == b"data"


async def test_in_a_removed_directory_there_is_no_entry_to_make_or_remove():
    provider = DictProvider()
    gone = (await provider.mkdir(provider.root, b"d", 0o755, ROOT)).node
    await provider.rmdir(provider.root, b"d")
    for call in (
        lambda: provider.create(gone, b"x", 0o644, NEW, ROOT),
        lambda: provider.mkdir(gone, b"x", 0o755, ROOT),
        lambda: provider.symlink(gone, b"x", b"t", ROOT),
        lambda: provider.unlink(gone, b"x"),
        lambda: provider.rmdir(gone, b"x"),
        lambda: provider.rename(gone, b"x", provider.root, b"y", 0),
    ):
        async with fails(errno.ENOENT):
            await call()


async def test_of_two_exclusive_creates_one_makes_the_file():
    provider = Gated()
    provider.late.add("create_path")
    outcomes = []

    async def create():
        try:
            _, handle = await provider.create(provider.root, b"f", 0o644, NEW | os.O_EXCL, ROOT)
        except FileExistsError:
            outcomes.append("exists")
        else:
            outcomes.append("made")
            await handle.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(create)
        nursery.start_soon(create)
        await trio.testing.wait_all_tasks_blocked()
        provider.gate.set()
    assert sorted(outcomes) == ["exists", "made"]
    assert provider.calls.count("create_path") == 1


async def test_another_name_can_be_made_meanwhile():
    provider = Gated()
    provider.slow.add("mkdir_path")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.mkdir, provider.root, b"d", 0o755, ROOT)
        await provider.waiting.wait()
        with trio.fail_after(5):
            await put(provider, b"f")
        provider.gate.set()
    assert set(await provider.readdir(provider.root)) == {b"d", b"f"}


async def test_a_cancelled_wait_for_a_name_leaves_it_free():
    provider = Gated()
    provider.slow.add("mkdir_path")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.mkdir, provider.root, b"d", 0o755, ROOT)
        await provider.waiting.wait()
        with trio.move_on_after(0) as scope:
            await provider.rmdir(provider.root, b"d")
        assert scope.cancelled_caught
        provider.gate.set()
    with trio.fail_after(5):
        await provider.rmdir(provider.root, b"d")
    assert await provider.readdir(provider.root) == []


async def test_opposite_renames_at_a_time_do_not_wait_for_each_other():
    provider = Gated()
    await put(provider, b"a", b"a")
    await put(provider, b"b", b"b")
    provider.slow.add("rename_path")
    root = provider.root
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provider.rename, root, b"a", root, b"b", 2)
            nursery.start_soon(provider.rename, root, b"b", root, b"a", 2)
            await trio.testing.wait_all_tasks_blocked()
            provider.gate.set()
    assert bytes(provider.items[b"a"].data) == b"a"


# -- refusals -------------------------------------------------------------------------------


async def test_link_is_eperm_and_erofs_where_nothing_can_be_written():
    provider = DictProvider()
    node = await put(provider, b"f")
    for name in (b"g", b"f"):
        async with fails(errno.EPERM):
            await provider.link(node, provider.root, name)
    provider.writable = False
    async with fails(errno.EROFS):
        await provider.link(node, provider.root, b"g")


async def test_read_only_comes_before_every_other_error_and_before_the_subclass():
    provider = Gated()
    root = provider.root
    node = await put(provider, b"f", b"data")
    gone = (await provider.mkdir(root, b"d", 0o755, ROOT)).node
    await provider.rmdir(root, b"d")
    provider.writable = False
    provider.calls.clear()
    for parent, name in ((root, b"f"), (root, b"new"), (gone, b"x"), (node, b"below")):
        for call, *arguments in (
            (provider.create, 0o644, NEW, ROOT),
            (provider.create, 0o644, NEW | os.O_EXCL, ROOT),
            (provider.mknod, stat_module.S_IFIFO | 0o644, 0, ROOT),
            (provider.mkdir, 0o755, ROOT),
            (provider.symlink, b"target", ROOT),
            (provider.unlink,),
            (provider.rmdir,),
            (provider.rename, root, b"other", 99),
        ):
            async with fails(errno.EROFS):
                await call(parent, name, *arguments)
    for victim in (node, gone, root):
        async with fails(errno.EROFS):
            await provider.setattr(victim, SetAttr(size=0), ROOT)
        async with fails(errno.EROFS):
            await provider.setxattr(victim, b"user.a", b"1")
        async with fails(errno.EROFS):
            await provider.removexattr(victim, b"user.a")
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_TRUNC, os.O_APPEND):
            async with fails(errno.EROFS):
                await provider.open(victim, flags, ROOT)
    assert provider.calls == []


async def test_xattrs_without_the_trait_are_not_supported_also_of_a_file_without_a_name():
    provider = DictProvider()
    node = await put(provider, b"f")
    handle = await provider.open(node, os.O_RDWR, ROOT)
    await provider.unlink(provider.root, b"f")
    async with fails(errno.EOPNOTSUPP):
        await provider.getxattr(node, b"security.capability")
    async with fails(errno.EOPNOTSUPP):
        await provider.setxattr(node, b"user.a", b"1")
    assert await provider.listxattr(node) == ()
    await handle.release()


async def test_xattrs_with_the_trait_reach_the_subclass_by_path():
    class WithXattrs(DictProvider):
        def __init__(self):
            super().__init__()
            self.values = {}

        @property
        def traits(self):
            return Traits(writable=True, xattrs=True)

        async def getxattr_path(self, path, name):
            return self.values[path, name]

        async def listxattr_path(self, path):
            return [name for other, name in self.values if other == path]

        async def setxattr_path(self, path, name, value):
            self.values[path, name] = value

        async def removexattr_path(self, path, name):
            del self.values[path, name]

    provider = WithXattrs()
    node = await put(provider, b"f")
    await provider.setxattr(node, b"user.a", b"1")
    assert await provider.getxattr(node, b"user.a") == b"1"
    assert await provider.listxattr(node) == [b"user.a"]
    await provider.removexattr(node, b"user.a")
    assert await provider.listxattr(node) == []


# -- files without a name -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["unlink", "replace", "behind our back"])
async def test_an_open_file_without_a_name_answers_until_it_is_closed(how):
    provider = DictProvider()
    root = provider.root
    node = await put(provider, b"f", b"data")
    first = await provider.open(node, os.O_RDONLY, ROOT)
    second = await provider.open(node, os.O_RDWR, ROOT)
    if how == "unlink":
        await provider.unlink(root, b"f")
    elif how == "replace":
        await put(provider, b"g", b"other")
        await provider.rename(root, b"g", root, b"f", 0)
    else:
        provider.items.pop(b"f").links -= 1
    stat = await provider.getattr(node)
    assert (stat.nlink, stat.size) == (0, 4)
    await second.write(4, b" and more")
    await second.release()
    assert (await provider.getattr(node)).size == 13
    await first.release()
    for call in (
        lambda: provider.getattr(node),
        lambda: provider.open(node, os.O_RDONLY, ROOT),
        lambda: provider.setattr(node, SetAttr(mode=0o600), ROOT),
    ):
        async with fails(errno.ESTALE):
            await call()


async def test_a_file_made_by_create_answers_when_its_name_is_gone():
    provider = ReopeningDictProvider()
    entry, handle = await provider.create(provider.root, b"f", 0o644, NEW, ROOT)
    await provider.unlink(provider.root, b"f")
    await handle.write(0, b"data")
    assert (await provider.setattr(entry.node, SetAttr(size=2), ROOT)).size == 2
    again = await provider.open(entry.node, os.O_RDONLY, ROOT)
    await handle.release()
    assert await again.read(0, 9) == b"da"
    assert (await provider.getattr(entry.node)).size == 2
    await again.release()
    async with fails(errno.ESTALE):
        await provider.getattr(entry.node)


async def test_what_the_subclass_cannot_do_without_a_name_is_estale():
    provider = DictProvider()
    entry, handle = await provider.create(provider.root, b"f", 0o644, NEW, ROOT)
    await provider.unlink(provider.root, b"f")
    async with fails(errno.ESTALE):
        await provider.setattr(entry.node, SetAttr(size=2), ROOT)
    async with fails(errno.ESTALE):
        await provider.open(entry.node, os.O_RDONLY, ROOT)
    await handle.release()


async def test_changes_of_a_file_without_a_name_go_to_a_handle_that_writes():
    class Noting(ReopeningDictProvider):
        async def setattr_unlinked(self, handle, changes, caller):
            self.used = handle
            return await super().setattr_unlinked(handle, changes, caller)

        async def open_path(self, path, flags, caller):
            self.given = await super().open_path(path, flags, caller)
            return self.given

    provider = Noting()
    node = await put(provider, b"f", b"data")
    reading = [await provider.open(node, os.O_RDONLY, ROOT)]
    writing = await provider.open(node, os.O_WRONLY, ROOT)
    wanted = provider.given
    reading.append(await provider.open(node, os.O_RDONLY, ROOT))
    await provider.unlink(provider.root, b"f")
    await provider.setattr(node, SetAttr(size=1), ROOT)
    assert provider.used is wanted
    for handle in (*reading, writing):
        await handle.release()


async def test_a_handle_is_not_released_while_it_answers_for_its_node():
    story = []

    class Slow(Handle):
        async def read(self, offset, size):
            return b""

        async def getattr(self):
            story.append("asked")
            await gate.wait()
            story.append("answered")
            return Stat(0o100644, 0, 0, 0, 0, 0, 0, 0, 0, 0)

        async def release(self):
            story.append("released")

    class Provided(DictProvider):
        async def open_path(self, path, flags, caller):
            return Slow()

    gate = trio.Event()
    provider = Provided()
    node = await put_item(provider, b"f")
    handle = await provider.open(node, os.O_RDONLY, ROOT)
    await provider.unlink(provider.root, b"f")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.getattr, node)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            nursery.start_soon(release_in, scope, handle)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert story == ["asked"]
        gate.set()
    assert story == ["asked", "answered", "released"]


async def release_in(scope, handle):
    with trio.CancelScope() as own:
        own.cancel()
        await handle.release()


async def put_item(provider, name):
    """Make a file behind the provider's back, and return its node."""
    other = DictProvider()
    await put(other, name)
    provider.items[name] = other.items[name]
    return (await provider.lookup(provider.root, name)).node


async def test_a_create_that_fails_at_its_end_leaves_no_open_handle():
    released = []

    class Broken(Handle):
        async def read(self, offset, size):
            return b""

        async def getattr(self):
            raise OSError(errno.EIO, "broken")

        async def release(self):
            await trio.lowlevel.checkpoint()
            released.append(self)

    class Provided(DictProvider):
        async def create_path(self, path, mode, flags, caller):
            await super().create_path(path, mode, flags, caller)
            return Broken()

    provider = Provided()
    async with fails(errno.EIO):
        await provider.create(provider.root, b"f", 0o644, NEW, ROOT)
    assert len(released) == 1
    node = (await provider.lookup(provider.root, b"f")).node
    assert node.open_files == []


# -- renames in between ---------------------------------------------------------------------


async def test_a_file_found_missing_during_a_rename_is_looked_for_again():
    provider = Gated()
    directory = (await provider.mkdir(provider.root, b"d", 0o755, ROOT)).node
    node = await put(provider, b"f", b"data", directory)
    provider.late.add("rename_path")  # renamed already, but the call has not returned
    stats = []

    async def look():
        stats.append(await provider.getattr(node))
        stats.append((await provider.lookup(directory, b"f")).stat)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.rename, provider.root, b"d", provider.root, b"e", 0)
        await provider.waiting.wait()
        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        assert stats == []
        provider.gate.set()
    assert [stat.size for stat in stats] == [4, 4]
    assert provider.path_of(node) == b"e/f"


async def test_a_lookup_that_comes_back_late_does_not_unmake_what_was_made_meanwhile():
    provider = Gated()
    provider.late.add("stat")
    async with trio.open_nursery() as nursery:

        async def look():
            async with fails(errno.ENOENT):
                await provider.lookup(provider.root, b"f")

        nursery.start_soon(look)
        await provider.waiting.wait()
        provider.late.clear()
        node = await put(provider, b"f", b"data")
        provider.gate.set()
    assert (await provider.getattr(node)).size == 4


async def test_a_failed_rename_moves_nothing():
    provider = DictProvider()
    root = provider.root
    node = await put(provider, b"f", b"data")
    await provider.mkdir(root, b"d", 0o755, ROOT)
    async with fails(errno.EISDIR):
        await provider.rename(root, b"f", root, b"d", 0)
    assert provider.path_of(node) == b"f"
    assert await number(provider, b"f") == node.number


# -- numbers --------------------------------------------------------------------------------


async def test_numbers_are_the_same_at_the_next_start():
    numbers = []
    for _ in range(2):
        provider = DictProvider()
        directory = (await provider.mkdir(provider.root, b"d", 0o755, ROOT)).node
        await put(provider, b"f", parent=directory)
        numbers.append((directory.number, await number(provider, b"f", directory)))
    assert numbers[0] == numbers[1]


async def test_numbers_stay_through_renames_of_what_nobody_holds():
    provider = DictProvider()
    root = provider.root
    directory = (await provider.mkdir(root, b"d", 0o755, ROOT)).node
    await put(provider, b"f", parent=directory)
    await put(provider, b"g")
    before = {b"d": directory.number, b"f": await number(provider, b"f", directory)}
    before[b"g"] = await number(provider, b"g")
    del directory
    gc.collect()
    await provider.rename(root, b"d", root, b"e", 0)
    gc.collect()
    await provider.rename(root, b"e", root, b"g", 2)
    gc.collect()
    directory = (await provider.lookup(root, b"g")).node
    after = {b"d": directory.number, b"f": await number(provider, b"f", directory)}
    after[b"g"] = await number(provider, b"e")
    assert after == before


async def test_a_new_file_at_the_old_place_has_another_number_and_keeps_it():
    provider = DictProvider()
    root = provider.root
    await put(provider, b"f")
    old = await number(provider, b"f")
    gc.collect()
    await provider.rename(root, b"f", root, b"g", 0)
    await put(provider, b"f")
    new = await number(provider, b"f")
    assert new != old
    gc.collect()
    assert (await number(provider, b"f"), await number(provider, b"g")) == (new, old)
    await provider.unlink(root, b"g")
    gc.collect()
    assert await number(provider, b"f") == new


async def test_a_rename_to_itself_changes_neither_number_nor_node():
    provider = DictProvider()
    node = await put(provider, b"f")
    await provider.rename(provider.root, b"f", provider.root, b"f", 0)
    assert provider.path_of(node) == b"f"
    assert (await provider.lookup(provider.root, b"f")).node is node


async def test_what_is_remembered_is_bounded_and_goes_with_the_files(monkeypatch):
    monkeypatch.setattr(pathnodes, "EXCEPTIONS_LIMIT", 10)
    provider = DictProvider()
    root = provider.root
    moved = {}
    for count in range(30):
        await put(provider, b"old%d" % count)
        moved[count] = await number(provider, b"old%d" % count)
        await provider.rename(root, b"old%d" % count, root, b"new%d" % count, 0)
        assert len(provider._numbers._exceptions) <= 10
        assert len(provider._numbers._excepted) == len(provider._numbers._exceptions)
    gc.collect()
    for count in range(20, 30):
        assert await number(provider, b"new%d" % count) == moved[count]
    for count in range(30):
        await provider.unlink(root, b"new%d" % count)
    assert not provider._numbers._exceptions
    assert not provider._numbers._excepted


async def test_nothing_is_held_of_what_nobody_holds():
    provider = DictProvider()
    for count in range(50):
        await put(provider, b"f%d" % count)
        await provider.unlink(provider.root, b"f%d" % count)
    gc.collect()
    assert not provider._by_place
    assert not provider._claims
    assert not provider._numbers.held
