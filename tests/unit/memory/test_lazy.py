"""Lazy directories: populated once, whoever comes first, and whatever happens meanwhile."""

import os

import pytest
import trio
import trio.testing

from providers.memory import Dynamic, File, Lazy, MemoryProvider, Subdirectory, Symlink
from tests.unit.memory.trees import (
    ADMIN,
    check_books,
    find,
    get,
    mkdir,
    open_at,
    put,
    raises,
    rename,
    unlink,
    walk,
)

EIO, EDEADLK, ENOSPC, ENOTEMPTY, EBUSY = 5, 35, 28, 39, 16


class Author:
    """A populate function that counts its runs and waits to be let go."""

    def __init__(self, content=None):
        self.content = {b"file": b"data"} if content is None else content
        self.runs = 0
        self.gate = trio.Event()
        self.gate.set()
        self.errors = []

    async def __call__(self):
        self.runs += 1
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return self.content


@pytest.fixture
def provider():
    return MemoryProvider()


async def test_populated_at_the_first_access_and_only_then(provider):
    author = Author()
    provider.add_lazy_directory(b"lazy", author, mode=0o750)
    entry = await find(provider, b"lazy")
    assert entry.stat.mode & 0o777 == 0o750
    await provider.getattr(entry.node)
    await provider.readdir(provider.root)
    assert author.runs == 0
    assert await provider.readdir(entry.node) == [b"file"]
    assert await get(provider, b"lazy/file") == b"data"
    assert await provider.readdir(entry.node) == [b"file"]
    assert author.runs == 1
    check_books(provider)


async def test_every_kind_of_content(provider):
    inner = Author({b"leaf": b"inner"})
    content = {
        b"plain": b"text",
        b"tool": File(bytes(300_000), 0o755),
        b"link": Symlink(b"plain"),
        b"made": Dynamic([b"made"]),
        b"dir": {b"sub": Subdirectory({b"x": bytearray(b"x")}, 0o700)},
        b"later": Lazy(inner, 0o711),
    }
    provider.add_lazy_directory(b"lazy", lambda: content)
    assert await get(provider, b"lazy/plain") == b"text"
    content.clear()
    assert len(await get(provider, b"lazy/tool")) == 300_000
    assert await provider.readlink((await find(provider, b"lazy/link")).node) == b"plain"
    assert (await find(provider, b"lazy/dir/sub")).stat.mode & 0o777 == 0o700
    assert await get(provider, b"lazy/dir/sub/x") == b"x"
    assert inner.runs == 0
    assert await get(provider, b"lazy/later/leaf") == b"inner"
    assert (await find(provider, b"lazy")).stat.nlink == 4
    handle = await open_at(provider, b"lazy/made", os.O_RDONLY)
    assert await handle.read(0, 10) == b"made"
    await handle.release()
    check_books(provider)


@pytest.mark.parametrize(
    "access",
    [
        lambda p, lazy: p.lookup(lazy, b"file"),
        lambda p, lazy: p.lookup_many(lazy, [b"file", b"absent"]),
        lambda p, lazy: p.readdir(lazy),
        lambda p, lazy: p.create(lazy, b"n", 0o644, os.O_RDONLY, ADMIN),
        lambda p, lazy: p.mkdir(lazy, b"n", 0o755, ADMIN),
        lambda p, lazy: p.mknod(lazy, b"n", 0o010644, 0, ADMIN),
        lambda p, lazy: p.symlink(lazy, b"n", b"t", ADMIN),
        lambda p, lazy: p.unlink(lazy, b"file"),
        lambda p, lazy: p.rename(lazy, b"file", p.root, b"n", 0),
        lambda p, lazy: p.rename(p.root, b"other", lazy, b"n", 0),
    ],
)
async def test_each_way_in_populates(provider, access):
    author = Author()
    provider.add_lazy_directory(b"lazy", author)
    await put(provider, b"other")
    lazy = (await find(provider, b"lazy")).node
    await access(provider, lazy)
    assert author.runs == 1
    check_books(provider)


async def test_a_name_that_the_content_has_cannot_be_made_again(provider):
    provider.add_lazy_directory(b"lazy", Author())
    lazy = (await find(provider, b"lazy")).node
    with raises(17):
        await provider.mkdir(lazy, b"file", 0o755, ADMIN)


async def test_it_is_empty_only_if_its_content_is(provider):
    provider.add_lazy_directory(b"full", Author())
    provider.add_lazy_directory(b"empty", Author({}))
    provider.add_lazy_directory(b"empty too", Author({}))
    await mkdir(provider, b"dir")
    with raises(ENOTEMPTY):
        await provider.rmdir(provider.root, b"full")
    with raises(ENOTEMPTY):
        await rename(provider, b"dir", b"full")
    await rename(provider, b"dir", b"empty too")
    await provider.rmdir(provider.root, b"empty")
    assert sorted(await provider.readdir(provider.root)) == [b"empty too", b"full"]
    check_books(provider)


@pytest.mark.parametrize("how", ["rmdir", "rename"])
async def test_another_one_may_take_its_place_meanwhile(provider, how):
    """What is removed must be what was found to be empty."""
    first, second = Author({}), Author()
    first.gate = trio.Event()
    provider.add_lazy_directory(b"here", first)
    provider.add_lazy_directory(b"there", second)
    await mkdir(provider, b"dir")
    root = provider.root

    async def remove():
        with raises(ENOTEMPTY):
            if how == "rmdir":
                await provider.rmdir(root, b"here")
            else:
                await provider.rename(root, b"dir", root, b"here", 0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(remove)
        await trio.testing.wait_all_tasks_blocked()
        assert first.runs == 1
        await rename(provider, b"there", b"here", 2)
        first.gate.set()
    assert await get(provider, b"here/file") == b"data"
    check_books(provider)


async def test_moving_it_does_not_populate_it(provider):
    author = Author()
    provider.add_lazy_directory(b"lazy", author)
    await mkdir(provider, b"dir")
    await rename(provider, b"lazy", b"dir/moved")
    assert author.runs == 0
    assert await get(provider, b"dir/moved/file") == b"data"
    check_books(provider)


async def test_concurrent_accesses_wait_for_one_run(provider):
    author = Author()
    author.gate = trio.Event()
    provider.add_lazy_directory(b"lazy", author)
    lazy = (await find(provider, b"lazy")).node
    found = []

    async def access():
        found.append(await provider.readdir(lazy))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(access)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        author.gate.set()
    assert found == [[b"file"]] * 10
    assert author.runs == 1
    check_books(provider)


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(110, "time-out"), 110), (ValueError("odd"), EIO)]
)
async def test_a_failure_is_shared_by_all_who_wait_and_then_forgotten(
    provider, caplog, error, code
):
    author = Author()
    author.gate = trio.Event()
    author.errors = [error]
    provider.add_lazy_directory(b"lazy", author)
    lazy = (await find(provider, b"lazy")).node
    failed = []

    async def access():
        with raises(code):
            await provider.lookup(lazy, b"file")
        failed.append(1)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(access)
        await trio.testing.wait_all_tasks_blocked()
        author.gate.set()
    assert len(failed) == 5
    assert author.runs == 1
    assert len(caplog.records) == (code == EIO)
    assert await get(provider, b"lazy/file") == b"data"
    assert author.runs == 2
    check_books(provider)


async def test_cancelling_the_run_hands_it_to_one_who_waits(provider):
    author = Author()
    author.gate = trio.Event()
    provider.add_lazy_directory(b"lazy", author)
    lazy = (await find(provider, b"lazy")).node
    found = []
    first = trio.CancelScope()

    async def access_and_be_cancelled():
        with first:
            await provider.readdir(lazy)
            found.append("not cancelled")

    async def access():
        found.append(await provider.readdir(lazy))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(access_and_be_cancelled)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(access)
        await trio.testing.wait_all_tasks_blocked()
        assert author.runs == 1
        first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert author.runs == 2
        author.gate.set()
    assert found == [[b"file"]] * 3
    assert author.runs == 2
    check_books(provider)


async def test_cancelling_one_who_waits_disturbs_nobody(provider):
    author = Author()
    author.gate = trio.Event()
    provider.add_lazy_directory(b"lazy", author)
    lazy = (await find(provider, b"lazy")).node
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.readdir, lazy)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0):
            await provider.readdir(lazy)
        author.gate.set()
    assert await provider.readdir(lazy) == [b"file"]
    assert author.runs == 1


async def test_a_populate_function_that_asks_for_its_own_directory(provider):
    async def looping():
        await get(provider, b"lazy/file")

    provider.add_lazy_directory(b"lazy", looping)
    with raises(EDEADLK):
        await get(provider, b"lazy/file")


async def test_removed_while_it_is_being_populated(provider):
    author = Author()
    author.gate = trio.Event()
    await mkdir(provider, b"dir")
    provider.add_lazy_directory(b"dir/lazy", author)
    lazy = (await find(provider, b"dir/lazy")).node
    outcome = []

    async def access():
        with raises(116):
            await provider.readdir(lazy)
        outcome.append("gone")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(access)
        await trio.testing.wait_all_tasks_blocked()
        await provider.aclose()
        author.gate.set()
    assert outcome == ["gone"]


async def test_versions_share_the_one_run(provider):
    inner = Author({b"leaf": b"inner"})
    author = Author({b"file": b"data", b"inner": Lazy(inner)})
    provider.add_lazy_directory(b"lazy", author)
    snapshot, fork = provider.snapshot(), provider.fork()
    await put(fork, b"lazy/mine", b"x")
    assert await get(snapshot, b"lazy/file") == b"data"
    for each in (provider, fork, snapshot):
        assert await get(each, b"lazy/inner/leaf") == b"inner"
    await unlink(provider, b"lazy/file")
    assert sorted(await provider.readdir((await find(provider, b"lazy")).node)) == [b"inner"]
    assert b"mine" not in (await walk(snapshot))[b"lazy"][1]
    assert (author.runs, inner.runs) == (1, 1)
    for each in (provider, fork, snapshot):
        check_books(each)


async def test_a_snapshot_taken_during_the_run(provider):
    author = Author()
    author.gate = trio.Event()
    provider.add_lazy_directory(b"lazy", author)
    lazy = (await find(provider, b"lazy")).node
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.readdir, lazy)
        await trio.testing.wait_all_tasks_blocked()
        snapshot = provider.snapshot()
        author.gate.set()
    assert await get(provider, b"lazy/file") == b"data"
    assert snapshot.statistics()["present_files"] == 2
    assert await get(snapshot, b"lazy/file") == b"data"
    assert author.runs == 1


async def test_populating_keeps_times_and_is_reported(provider):
    author = Author({b"dir": {}})
    provider.add_lazy_directory(b"lazy", author)
    entry = await find(provider, b"lazy")
    changes = []
    provider.subscribe(changes.append)
    await provider.readdir(entry.node)
    await provider.readdir(entry.node)
    assert [(each.node.number, each.name) for each in changes] == [(entry.node.number, None)]
    after = await provider.getattr(entry.node)
    assert (after.mtime_ns, after.ctime_ns) == (entry.stat.mtime_ns, entry.stat.ctime_ns)
    assert after.nlink == 3


async def test_content_beyond_the_quota():
    author = Author({b"%d" % number: bytes(4096) for number in range(4)})
    for limits in ({"inodes": 5}, {"size_bytes": 3 * 4096}):
        provider = MemoryProvider(**limits)
        provider.add_lazy_directory(b"lazy", author)
        node = (await find(provider, b"lazy")).node
        for _ in range(2):
            with raises(ENOSPC):
                await provider.readdir(node)
        assert provider.statistics()["present_files"] == 2
        check_books(provider)
    assert author.runs == 2, "the content was not at fault"


@pytest.mark.parametrize(
    "content",
    [
        None,
        [b"file"],
        {"text": b"x"},
        {b"": b"x"},
        {b"..": b"x"},
        {b"a/b": b"x"},
        {b"a\0": b"x"},
        {b"n" * 256: b"x"},
        {b"f": "text"},
        {b"f": Symlink(b"")},
        {b"f": Symlink(b"x" * 4096)},
        {b"f": Dynamic(iter([b"once"]))},
        {b"fine": b"x", b"dir": {b".": b"x"}},
    ],
)
async def test_content_that_is_refused(provider, caplog, content):
    provider.add_lazy_directory(b"lazy", lambda: content)
    node = (await find(provider, b"lazy")).node
    with raises(EIO):
        await provider.readdir(node)
    assert len(caplog.records) == 1
    assert provider.statistics()["present_files"] == 2
    check_books(provider)


async def test_nothing_can_be_added_below_what_is_not_there_yet(provider):
    provider.add_lazy_directory(b"lazy", Author())
    with raises(EBUSY):
        provider.add_dynamic(b"lazy/file", [b"x"])
    await provider.readdir((await find(provider, b"lazy")).node)
    provider.add_dynamic(b"lazy/more", [b"x"])
    with raises(17):
        provider.add_dynamic(b"lazy/file", [b"x"])


async def test_read_only_trees_populate_but_refuse_changes_first(provider):
    author = Author()
    author.errors = [OSError(110, "time-out")]
    provider.add_lazy_directory(b"lazy", author)
    lazy = (await find(provider, b"lazy")).node
    provider.set_read_only(True)
    for attempt in (
        lambda: provider.mkdir(lazy, b"n", 0o755, ADMIN),
        lambda: provider.unlink(lazy, b"file"),
        lambda: provider.rmdir(provider.root, b"lazy"),
        lambda: provider.rename(provider.root, b"lazy", lazy, b"n", 0),
        lambda: provider.create(lazy, b"n", 0o644, os.O_RDWR, ADMIN),
        lambda: provider.link(lazy, lazy, b"n"),
    ):
        with raises(30):
            await attempt()
    assert author.runs == 0
    with raises(110):
        await provider.readdir(lazy)
    assert await provider.readdir(lazy) == [b"file"]
