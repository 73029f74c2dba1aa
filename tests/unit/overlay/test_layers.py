"""Many layers, seals, restarts, and lowers that change behind the overlay's back."""

import errno
import mmap
import os
import stat
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider
from providers.passthrough import PassthroughProvider
from providers.passthrough.handle import PassthroughHandle
from tests.mounted.overlay.observed import describe_provider, unlike
from tests.mounted.overlay.scenery import remove_all
from tests.unit.overlay.layering import Counting, append, number, overlay, sealed
from vfsd.conformance import Directory, File, Files
from vfsd.errors import UserError
from vfsd.provider import Change, Identity

ROOT = Identity(0, 0)
KEEP = {"links": "keep"}
DEEP = 1000


@asynccontextmanager
async def over_directories(tmp_path, lower="lower", **options):
    for name in ("upper", lower):
        (tmp_path / name).mkdir(exist_ok=True)
    upper = await PassthroughProvider.from_options(str(tmp_path / "upper"), KEEP | options)
    base = await PassthroughProvider.from_options(str(tmp_path / lower), KEEP)
    provider = await OverlayProvider.over(upper, [base], spare=MemoryProvider())
    yield Files(provider)
    await provider.aclose()


async def test_what_the_lower_does_not_vouch_for_is_not_kept(tmp_path):
    """A lower's file that the host changes through a map is read afresh at each opening."""
    async with over_directories(tmp_path) as files:
        path = tmp_path / "lower/f"
        path.write_bytes(b"a" * 4096)
        os.utime(path, ns=(1, 1))
        async with files.opened(b"f") as handle:
            assert handle.keep_cache
        fd = os.open(path, os.O_RDWR)
        with mmap.mmap(fd, 4096) as area:
            os.close(fd)
            area[0:1] = b"b"
            async with files.opened(b"f") as handle:
                assert not handle.keep_cache


# -- through several layers ------------------------------------------------------------------


async def whiteout(layer, path):
    files = Files(layer)
    parent, name = await files.place(path)
    await layer.mknod(parent, name, stat.S_IFCHR, 0, ROOT)


async def test_whiteout_of_a_whiteout_through_three_layers():
    top, middle = MemoryProvider(), MemoryProvider()
    await Files(top).put(b"f", b"again")
    await whiteout(middle, b"f")
    await whiteout(middle, b"gone")
    bottom = await sealed({b"f": File(b"first"), b"gone": File(b"first")})
    async with overlay(top.snapshot(), middle.snapshot(), bottom) as files:
        assert await files.names() == [b"f"]
        assert await files.get(b"f") == b"again"
        await files.unlink(b"f")
        assert await files.names() == []
        await files.put(b"f", b"third time")
        await files.put(b"gone", b"back")
        assert await files.get(b"f") == b"third time"
        await files.unlink(b"f")
        await files.unlink(b"gone")
        assert await files.names() == []


async def test_directory_replaced_by_file_and_back():
    async with overlay({b"d/sub/f": File(b"x")}, {b"d/g": File(b"y")}) as files:
        before = await number(files, b"d")
        await remove_all(files, b"d")
        await files.put(b"d", b"a file now")
        await files.unlink(b"d")
        await files.mkdir(b"d")
        assert await files.names(b"d") == []
        assert await number(files, b"d") != before
        await files.mkdir(b"d/sub")
        assert await files.names(b"d/sub") == []
        fork = Files(files.provider.fork())
        assert await fork.names(b"d") == [b"sub"]
        await fork.provider.aclose()


async def test_lower_file_over_lower_directory_ends_the_merge():
    async with overlay({b"a": File(b"file")}, {b"a/x": File()}, {b"a/y": File()}) as files:
        assert await files.get(b"a") == b"file"
        await files.unlink(b"a")
        assert not await files.exists(b"a")


async def test_a_deep_chain_asks_only_layers_that_have_the_name():
    layers, asked = [], []
    for place in range(DEEP):
        layer = MemoryProvider()
        await Files(layer).put(b"f%d" % place, b"%d" % place)
        layers.append(layer.snapshot())
        asked.append(Counting(layers[-1], "lookup"))
    async with overlay(*layers) as files:
        assert await files.get(b"f999") == b"999"
        for each in asked:
            each.count = 0
        assert await files.get(b"f500") == b"500"
        assert not await files.exists(b"absent")
        await files.put(b"new")
        assert sum(each.count for each in asked) <= 2
        assert len({await number(files, b"f%d" % place) for place in range(DEEP)}) == DEEP


# -- versions --------------------------------------------------------------------------------


async def test_snapshot_and_fork_ask_no_layer():
    upper, base = MemoryProvider(), await sealed({b"d/f%d" % n: File(b"x") for n in range(300)})
    async with overlay(base, upper=upper) as files:
        for place in range(300):
            await files.put(b"d/g%d" % place)
        calls = [Counting(each, "lookup") for each in (upper, base)]
        calls += [Counting(each, "readdir") for each in (upper, base)]
        snapshot = files.provider.snapshot()
        fork = files.provider.fork()
        assert [each.count for each in calls] == [0, 0, 0, 0]
        await snapshot.aclose()
        await fork.aclose()
        assert await files.get(b"d/f7") == b"x", "closing a fork left the lowers open"


async def test_an_overlay_below_an_overlay_and_not_above():
    async with overlay({b"d/f": File(b"x")}) as inner:
        await append(inner, b"d/f", b"y")
        async with overlay(inner.provider.snapshot()) as files:
            await append(files, b"d/f", b"z")
            sealed_tree = Files(files.provider.snapshot())
            await remove_all(files, b"d")
            assert (await files.names(), await sealed_tree.get(b"d/f")) == ([], b"xyz")
            await sealed_tree.provider.aclose()
    empty = await OverlayProvider.over(MemoryProvider(), [await sealed({})])
    with pytest.raises(UserError, match="cannot hold whiteouts"):
        await OverlayProvider.over(empty, [await sealed({})])


@pytest.mark.parametrize("kind", ["memory", "directory"])
async def test_versions_know_what_they_share(tmp_path, kind):
    (tmp_path / "lower/d").mkdir(parents=True)
    (tmp_path / "lower/d/a").write_bytes(b"a")
    (tmp_path / "lower/b").write_bytes(b"b")
    (tmp_path / "upper").mkdir()
    base, top = [
        await PassthroughProvider.from_options(str(tmp_path / name), KEEP)
        for name in ("lower", "upper")
    ]
    upper = MemoryProvider() if kind == "memory" else top
    provider = await OverlayProvider.over(upper, [base], spare=MemoryProvider())
    files = Files(provider)
    await files.put(b"mine")
    await append(files, b"b", b"!")
    sealed_tree = Files(provider.snapshot())

    async def changed():
        paths = (b"", b"b", b"d", b"d/a", b"mine")
        return {
            path
            for path in paths
            if not provider.unchanged(
                await files.node(path), sealed_tree.provider, await sealed_tree.node(path)
            )
        }

    assert await changed() == set()
    await append(files, b"d/a", b"!")
    assert {b"d/a"} <= await changed() <= {b"", b"d", b"d/a"}
    await append(files, b"mine", b"!")
    assert {b"d/a", b"mine"} <= await changed() <= {b"", b"d", b"d/a", b"mine"}
    await sealed_tree.provider.aclose()
    await provider.aclose()
    if kind == "memory":
        await top.aclose()


async def test_lowers_close_with_the_last_that_shows_them():
    base = await sealed({b"f": File(b"x")})
    closed = Counting(base, "aclose")
    provider = await OverlayProvider.over(MemoryProvider(), [base])
    fork = provider.fork()
    await provider.aclose()
    await provider.aclose()
    assert (closed.count, await Files(fork).get(b"f")) == (0, b"x")
    await fork.aclose()
    assert closed.count == 1


async def test_seals_of_a_directory(tmp_path):
    async with over_directories(tmp_path) as files:
        (tmp_path / "lower/low").write_bytes(b"low")
        await files.put(b"f", b"one")
        async with files.opened(b"f", os.O_RDWR) as handle, files.opened(b"low") as reader:
            first = Files(files.provider.snapshot())
            await handle.write(3, b" two")
            second = Files(files.provider.snapshot())
            again = Files(files.provider.snapshot())
            await append(files, b"low", b"er")
            assert bytes(await reader.read(0, 10)) == b"lower"
            await handle.write(0, b"ONE")
        seen = [await each.get(b"f") for each in (first, second, again, files)]
        assert seen == [b"one", b"one two", b"one two", b"ONE two"]
        assert len({await number(each, b"f") for each in (first, second, files)}) == 1
        assert sorted(os.listdir(tmp_path / "upper/layers")) == ["1", "2", "3"]
        fork = Files(second.provider.fork())
        await fork.put(b"f", b"forked")
        assert await second.get(b"f") == b"one two"
        for each in (first, second, again, fork):
            await each.provider.aclose()
        assert await files.get(b"f") == b"ONE two"


async def test_reopened_after_seals(tmp_path):
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower/a").write_bytes(b"linked")
    os.link(tmp_path / "lower/a", tmp_path / "lower/b")
    async with over_directories(tmp_path) as files:
        await files.put(b"kept", b"1")
        await append(files, b"a", b"!")
        await files.provider.snapshot().aclose()
        await files.put(b"kept", b"2")
        await files.mkdir(b"d")
        await files.rename(b"kept", b"d/kept")
        numbers = {path: await number(files, path) for path in (b"a", b"b", b"d", b"d/kept")}
        shown = await describe_provider(files.provider)
    async with over_directories(tmp_path) as files:
        assert unlike(await describe_provider(files.provider), shown) == {}
        for path, wanted in numbers.items():
            assert await number(files, path) == wanted, path
        await append(files, b"b", b"?")
        assert await files.get(b"a") == b"linked!?"


async def test_numbers_of_what_takes_no_attributes(tmp_path):
    (tmp_path / "lower").mkdir()
    os.symlink("to", tmp_path / "lower/l")
    os.mkfifo(tmp_path / "lower/p")
    async with over_directories(tmp_path) as files:
        numbers = {await number(files, b"l"), await number(files, b"p")}
        await files.rename(b"l", b"m")
        await files.rename(b"p", b"q")
        assert {await number(files, b"m"), await number(files, b"q")} == numbers
        await files.provider.snapshot().aclose()
        assert {await number(files, b"m"), await number(files, b"q")} == numbers
        for name in (b"m", b"q"):
            await files.unlink(name)
        for place in range(20):
            await files.put(b"f%d" % place)
        made = [await number(files, b"f%d" % place) for place in range(20)]
        assert len({*made, *numbers}) == 22


WRITERS = 6


async def test_writers_go_on_while_snapshots_are_taken(tmp_path):
    async with over_directories(tmp_path, threads="always") as files:
        names = [b"f%d" % number for number in range(WRITERS)]
        for name in names:
            await files.put(name)
        snapshots, refusals = [], set()
        written = dict.fromkeys(names, 0)
        over = False

        async def write(name):
            # Together they leave no gap: one of their writes is always in its thread.
            async with files.opened(name, os.O_WRONLY | os.O_APPEND) as handle:
                while not over:
                    await handle.write(0, b"%04d" % written[name])
                    written[name] += 1
                    await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(write, name)
            while len(snapshots) < 20 or min(written.values()) < 20:
                await trio.lowlevel.checkpoint()
                try:
                    files.provider.snapshot()
                except OSError as error:
                    refusals.add(error.errno)
                async with files.provider.pause():
                    snapshots.append(files.provider.snapshot())
            over = True
        assert refusals == {errno.EBUSY}
        for each in snapshots:
            for name in names:
                data = await Files(each).get(name)
                assert data == b"".join(b"%04d" % place for place in range(len(data) // 4))
            await each.aclose()
        for name in names:
            assert len(await files.get(name)) == 4 * written[name]


async def test_a_pause_waits_for_the_write_under_way_and_holds_back_the_next(tmp_path, monkeypatch):
    begun, goes_on = trio.Event(), trio.Event()
    told = []
    write = PassthroughHandle.write

    async def slowly(handle, offset, data):
        begun.set()
        await goes_on.wait()
        return await write(handle, offset, data)

    async def put(handle, data):
        await handle.write(0, data)
        told.append(data)

    async def pause(provider):
        async with provider.pause():
            await trio.testing.wait_all_tasks_blocked()
            told.append(b"pause")
            provider.snapshot()

    async with over_directories(tmp_path) as files:
        await files.put(b"f", b"none")
        monkeypatch.setattr(PassthroughHandle, "write", slowly)
        async with (
            files.opened(b"f", os.O_WRONLY) as one,
            files.opened(b"f", os.O_WRONLY) as other,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(put, one, b"one")
            await begun.wait()
            nursery.start_soon(pause, files.provider)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(put, other, b"two")
            await trio.testing.wait_all_tasks_blocked()
            assert told == []
            goes_on.set()
        assert told == [b"one", b"pause", b"two"]
        assert await files.get(b"f") == b"twoe"


# -- lowers that change ----------------------------------------------------------------------


async def test_a_lower_that_changes_is_seen_and_told():
    base = MemoryProvider()
    lower = Files(base)
    await lower.put(b"f", b"1")
    await lower.mkdir(b"d")
    await lower.put(b"d/g", b"g")
    async with overlay(base) as files:
        told = []
        files.provider.subscribe(told.append)
        assert await files.names(b"d") == [b"g"]
        await files.put(b"d/mine")
        directory, node = await files.node(b"d"), await files.node(b"f")
        await lower.put(b"d/new", b"n")
        base.report(Change((await lower.node(b"d")), b"new"))
        assert await files.names(b"d") == [b"g", b"mine", b"new"]
        await lower.put(b"f", b"22")
        base.report(Change(await lower.node(b"f")))
        assert await files.get(b"f") == b"22"
        base.report(Change())
        assert told == [Change(directory, b"new"), Change(node), Change()]
        await append(files, b"f", b"!")
        await lower.put(b"f", b"hidden")
        base.report(Change(await lower.node(b"f")))
        assert (len(told), await files.get(b"f")) == (3, b"22!")


async def test_what_vanishes_below_is_an_error_and_no_crash():
    base = MemoryProvider()
    lower = Files(base)
    await lower.mkdir(b"d")
    await lower.put(b"d/f", b"1")
    await lower.put(b"g", b"2")
    async with overlay(base) as files:
        node, directory = await files.node(b"g"), await files.node(b"d")
        await files.put(b"d/mine", b"3")
        await lower.unlink(b"g")
        await remove_all(lower, b"d")
        with pytest.raises(OSError) as caught:
            await files.provider.getattr(node)
        assert caught.value.errno == errno.ESTALE
        with pytest.raises(OSError) as caught:
            await files.provider.open(node, os.O_WRONLY, ROOT)
        assert caught.value.errno == errno.ESTALE
        assert await files.provider.readdir(directory) == [b"mine"]
        await lower.put(b"d", b"a file")
        assert await files.names(b"d") == [b"mine"]
        await files.unlink(b"d/mine")
        await files.rmdir(b"d")
        assert await files.names() == []
        await lower.unlink(b"d")
        await lower.mkdir(b"d")
        await lower.put(b"d/back")
        assert await files.names() == [], "a deletion outlives what was deleted"


async def test_two_files_never_have_one_number(tmp_path):
    """The host gives the number of a removed file to the next one."""
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower/old").write_bytes(b"old")
    async with over_directories(tmp_path) as files:
        await append(files, b"old", b"!")
        for place in range(20):
            (tmp_path / "lower/old").unlink(missing_ok=True)
            (tmp_path / f"lower/new{place}").write_bytes(b"new")
            os.link(tmp_path / f"lower/new{place}", tmp_path / "lower/old")
            (tmp_path / "lower/old").unlink()
        old = await files.entry(b"old")
        entries = [await files.entry(b"new%d" % place) for place in range(20)]
        assert len({each.node.number for each in (old, *entries)}) == 21
        assert await files.get(b"old") == b"old!"


# -- races -----------------------------------------------------------------------------------


async def test_racing_copies_make_one_file(tmp_path):
    """Storage that suspends at each call: eight writers of one lower file, by three names."""
    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/f").write_bytes(b"")
    os.link(tmp_path / "lower/f", tmp_path / "lower/g")
    slow = {**KEEP, "threads": "always"}
    upper = await PassthroughProvider.from_options(str(tmp_path / "upper"), slow)
    base = await PassthroughProvider.from_options(str(tmp_path / "lower"), slow)
    provider = await OverlayProvider.over(upper, [base])
    files = Files(provider)

    async def write(place):
        await append(files, b"fg"[place % 2 :][:1], b"%03d\n" % place)

    async with trio.open_nursery() as nursery:
        for place in range(8):
            nursery.start_soon(write, place)
    lines = (await files.get(b"f")).splitlines()
    assert sorted(lines) == [b"%03d" % place for place in range(8)]
    assert await number(files, b"f") == await number(files, b"g")
    assert os.listdir(tmp_path / "upper/work") == []
    await provider.aclose()
    layer = tmp_path / "upper/layers/1"
    one, two = os.stat(layer / "f"), os.stat(layer / "g")
    assert (one.st_ino, one.st_nlink) == (two.st_ino, 2)


async def test_looking_never_shows_half_a_rename(tmp_path):
    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / "lower" / name).write_bytes(name.encode())
    slow = {**KEEP, "threads": "always"}
    upper = await PassthroughProvider.from_options(str(tmp_path / "upper"), slow)
    base = await PassthroughProvider.from_options(str(tmp_path / "lower"), slow)
    provider = await OverlayProvider.over(upper, [base])
    files = Files(provider)
    seen = set()

    async def look(scope):
        while not scope.cancel_called:
            names = tuple(await files.names())
            seen.add(names)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, nursery.cancel_scope)
        await files.rename(b"a", b"b")
        nursery.cancel_scope.cancel()
    assert seen <= {(b"a", b"b"), (b"b",)}
    assert await files.get(b"b") == b"a"
    await provider.aclose()


async def test_contents_of_an_upper_are_checked(tmp_path):
    (tmp_path / "something").write_bytes(b"")
    upper = await PassthroughProvider.from_options(str(tmp_path), KEEP)
    with pytest.raises(UserError, match="'something'"):
        await OverlayProvider.over(upper, [await sealed({b"d": Directory()})])


async def test_damaged_notes_do_no_harm(tmp_path):
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower/f").write_bytes(b"f")
    os.link(tmp_path / "lower/f", tmp_path / "lower/g")
    async with over_directories(tmp_path) as files:
        await append(files, b"f", b"!")
        await files.provider.snapshot().aclose()
        await append(files, b"f", b"!")
    for layer in ("1", "2"):
        os.setxattr(tmp_path / "upper/layers" / layer / "f", "user.overlay.vfsd", b"number=\xff")
        (tmp_path / "upper/index" / layer).mkdir(exist_ok=True)
        (tmp_path / "upper/index" / layer / "zz").write_bytes(b"")
    (tmp_path / "upper/layers/not a layer").mkdir()
    async with over_directories(tmp_path) as files:
        assert await files.get(b"f") == b"f!!"
        await append(files, b"f", b"?")
        assert await files.get(b"f") == b"f!!?"


async def test_the_lowers_are_watched_for_whoever_is_left(tmp_path):
    (tmp_path / "lower").mkdir()
    base = await PassthroughProvider.from_options(str(tmp_path / "lower"), KEEP)
    provider = await OverlayProvider.over(MemoryProvider(), [base])
    fork = provider.fork()
    (tmp_path / "lower/f").write_bytes(b"1")
    told = trio.Event()
    fork.subscribe(lambda change: told.set())
    assert await Files(fork).get(b"f") == b"1"
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            first.start_soon(provider.watch)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(fork.watch)
            await trio.testing.wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        await provider.aclose()
        (tmp_path / "lower/f").write_bytes(b"22")
        with trio.fail_after(30):
            await told.wait()
        nursery.cancel_scope.cancel()
    await fork.aclose()
