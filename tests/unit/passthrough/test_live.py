"""Changes made on the host are reported, and the provider's own are not."""

import mmap
import os
import subprocess
import sys

import pytest
import trio

from tests.unit.passthrough.serving import served, until
from vfsd.conformance.files import releasing
from vfsd.provider import Change, SetAttr


class Heard:
    """What was reported, as (directory or file number, name, data)."""

    def __init__(self, provider):
        self.changes = []
        provider.subscribe(self.changes.append)

    def has(self, node, name=None):
        return any(
            each.node is not None and each.node.number == node.number and each.name == name
            for each in self.changes
        )

    def has_data(self, node):
        return any(each.node is node and each.name is None and each.data for each in self.changes)

    async def come(self, node, name=None):
        await until(lambda: self.has(node, name), f"a report about {name!r}")
        self.changes.clear()

    async def settle(self):
        """Wait until nothing came for a while; what is asserted then is that it never came."""
        count = -1
        while count != len(self.changes):
            count = len(self.changes)
            await trio.sleep(0.1)


async def test_host_edits_are_reported(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "f").write_bytes(b"old")
    async with served(tmp_path) as files:
        heard = Heard(files.provider)
        assert files.traits.watch
        root, d, f = files.root, await files.node(b"d"), await files.node(b"f")
        await files.names(b"d")
        (tmp_path / "f").write_bytes(b"new")
        await until(lambda: heard.has_data(f), "a report about data")
        os.chmod(tmp_path / "f", 0o600)
        heard.changes.clear()
        await heard.come(f)
        (tmp_path / "new").write_bytes(b"")
        await heard.come(root, b"new")
        os.mkdir(tmp_path / "d/sub")
        await heard.come(d, b"sub")
        os.rename(tmp_path / "f", tmp_path / "d/g")
        await until(lambda: heard.has(root, b"f") and heard.has(d, b"g"), "both names")
        assert await files.node(b"d/g") is f
        heard.changes.clear()
        os.unlink(tmp_path / "d/g")
        await heard.come(d, b"g")
        os.rmdir(tmp_path / "d/sub")
        await heard.come(d)


async def test_what_the_host_changes_through_a_map_is_noticed_on_opening(tmp_path):
    """No event tells of it, but mtime does, once; from then on each opening starts afresh."""
    path = tmp_path / "f"
    path.write_bytes(b"a" * 4096)
    os.utime(path, ns=(1, 1))
    async with served(tmp_path) as files:
        heard = Heard(files.provider)
        node = await files.node(b"f")

        async def keeps():
            async with files.opened(b"f") as handle:
                return handle.keep_cache

        assert await keeps()
        fd = os.open(path, os.O_RDWR)
        area = mmap.mmap(fd, 4096)
        os.close(fd)
        assert await keeps()
        area[0:1] = b"b"
        assert not await keeps()
        assert heard.has(node)
        area[0:1] = b"c"
        assert not await keeps(), "mtime stands still, but the map may still be there"
        heard.changes.clear()
        area.close()
        await until(lambda: heard.has_data(node), "a report about data")
        await heard.settle()
        assert await keeps()


async def test_the_host_is_not_followed_where_that_is_not_wanted(tmp_path):
    (tmp_path / "f").write_bytes(b"old")
    async with served(tmp_path, watch="off") as files:
        assert not files.traits.watch
        assert files.provider.statistics()["watch"] == "off: not wanted (watch=off)"
        assert await files.names() == [b"f"]
        (tmp_path / "f").write_bytes(b"new")
        assert await files.get(b"f") == b"new"


async def test_own_changes_leave_the_cache_alone(tmp_path):
    async with served(tmp_path) as files:
        for data in (b"one", b"two"):
            await files.put(b"f", data)
            async with files.opened(b"f", os.O_RDWR) as handle:
                assert handle.keep_cache
                await handle.write(0, b"x")
                await handle.write_back(1, b"y")
            await files.setattr(b"f", SetAttr(mtime_ns=5))
            await files.rename(b"f", b"g")
            async with files.opened(b"g", os.O_WRONLY | os.O_TRUNC) as handle:
                assert handle.keep_cache
            async with files.opened(b"g") as handle:
                assert handle.keep_cache
            await files.unlink(b"g")


async def test_a_name_that_was_missing_is_reported_when_it_comes(tmp_path):
    async with served(tmp_path) as files:
        heard = Heard(files.provider)
        assert not await files.exists(b"f")
        (tmp_path / "f").write_bytes(b"")
        await heard.come(files.root, b"f")


async def test_a_renamed_file_keeps_its_number_though_its_old_name_is_asked_for_first(tmp_path):
    (tmp_path / "old").write_bytes(b"data")
    async with served(tmp_path) as files:
        node = await files.node(b"old")
        os.rename(tmp_path / "old", tmp_path / "new")
        assert not await files.exists(b"old")
        assert await files.node(b"new") is node


async def test_watches_follow_renamed_directories(tmp_path):
    (tmp_path / "a/sub").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    async with served(tmp_path) as files:
        heard = Heard(files.provider)
        sub = await files.node(b"a/sub")
        await files.names(b"a/sub")
        b = await files.node(b"b")
        await files.names(b"b")
        os.rename(tmp_path / "a/sub", tmp_path / "b/moved")
        await until(lambda: heard.has(b, b"moved"), "the new name")
        assert await files.node(b"b/moved") is sub
        heard.changes.clear()
        (tmp_path / "b/moved/f").write_bytes(b"")
        await heard.come(sub, b"f")
        await files.rename(b"b/moved", b"again")
        (tmp_path / "again/g").write_bytes(b"")
        await heard.come(sub, b"g")


async def test_a_write_by_another_name_is_reported(tmp_path):
    """The other name stands in a directory that nobody looked into, or outside of the root."""
    root = tmp_path / "root"
    (root / "unseen").mkdir(parents=True)
    (root / "f").write_bytes(b"old")
    os.link(root / "f", root / "unseen/f")
    os.link(root / "f", tmp_path / "outside")
    async with served(root) as files:
        heard = Heard(files.provider)
        node = await files.node(b"f")
        for path in (root / "unseen/f", tmp_path / "outside"):
            path.write_bytes(b"new")
            await until(lambda: heard.has_data(node), f"a report about {path}")
            heard.changes.clear()


async def test_own_changes_are_not_reported(tmp_path):
    (tmp_path / "f").write_bytes(b"data")
    async with served(tmp_path) as files:
        provider = files.provider
        if not provider._live._reconciler._fine_ctime:
            pytest.skip("this kernel's ctime cannot tell own changes from the host's")
        heard = Heard(provider)
        known = await files.node(b"f")
        await files.names()
        entry, handle = await files.create(b"new", os.O_RDWR | os.O_CREAT)
        async with releasing(handle):
            for number in range(50):
                await handle.write(number * 10, b"0123456789")
                await trio.lowlevel.checkpoint()
        made = await files.mkdir(b"d")
        await files.put(b"d/f", b"data")
        await files.rename(b"new", b"d/renamed")
        await files.setattr(b"f", SetAttr(mode=0o600, size=2))
        await files.unlink(b"d/f")
        await heard.settle()
        told = [each for each in heard.changes if each.name is not None]
        assert told == [], "no name is told about"
        for node in (known, entry.node):
            assert not heard.has_data(node)
        assert not heard.has_data(made.node)
        (tmp_path / "d/renamed").write_bytes(b"by the host")
        await until(lambda: heard.has_data(entry.node), "the host's write after own ones")


async def test_a_host_writer_among_own_writes_is_reported(tmp_path):
    (tmp_path / "f").write_bytes(b"")
    async with served(tmp_path) as files:
        node = await files.node(b"f")
        heard = Heard(files.provider)
        async with files.opened(b"f", os.O_RDWR) as handle:
            for _ in range(20):
                await handle.write(0, b"own")
                fd = os.open(tmp_path / "f", os.O_WRONLY)
                os.write(fd, b"HOST")
                os.close(fd)
                await until(lambda: heard.has_data(node), "the host's write")
                heard.changes.clear()


async def test_an_overflow_means_everything(tmp_path):
    (tmp_path / "d").mkdir()
    limit = int(open_text("/proc/sys/fs/inotify/max_queued_events"))
    async with served(tmp_path) as files:
        heard = Heard(files.provider)
        d = await files.node(b"d")
        await files.provider.readdir(d)
        # Nobody reads meanwhile: this does not let other tasks run.
        for number in range(limit // 2 + 10):
            fd = os.open(tmp_path / "d" / str(number % 2), os.O_CREAT | os.O_WRONLY)
            os.close(fd)
            os.unlink(tmp_path / "d" / str(number % 2))
        await until(lambda: Change() in heard.changes, "everything changed")
        assert files.provider.statistics()["overflows"] == 1


def open_text(path):
    with open(path) as file:
        return file.read()


LIMITED = """
import os, sys, trio
sys.path[:0] = sys.argv[2:]
from providers.passthrough import PassthroughProvider
from vfsd.provider import Change
with open("/proc/sys/user/max_inotify_watches", "w") as limit:
    limit.write("3")

async def main():
    provider = await PassthroughProvider.from_options(sys.argv[1], {})
    heard, kept = [], []
    provider.subscribe(heard.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.watch)
        for number in range(3):
            entry = await provider.lookup(provider.root, b"d%d" % number)
            await provider.readdir(entry.node)
            kept.append(entry.node)
            print(provider.traits.watch, flush=True)
            await trio.lowlevel.checkpoint()
        print(heard == [Change()])
        print(provider.statistics()["watch"])
        print((await provider.lookup(entry.node, b"f")).stat.size)
        nursery.cancel_scope.cancel()
    await provider.aclose()

trio.run(main)
"""


def test_where_watches_run_out_it_says_so_and_works_on(tmp_path):
    for number in range(3):
        (tmp_path / f"d{number}").mkdir()
        (tmp_path / f"d{number}/f").write_bytes(b"data")
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", LIMITED]
    paths = [os.getcwd(), *(each for each in sys.path if each)]
    done = subprocess.run(
        [*command, str(tmp_path), *paths], capture_output=True, text=True, check=False, timeout=60
    )
    if "unshare" in done.stderr and done.returncode:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    lines = done.stdout.splitlines()
    assert lines[:3] == ["True", "True", "False"], done.stderr
    assert lines[3] == "True"
    assert "max_user_watches" in lines[4]
    assert lines[5] == "4"


async def test_storage_that_may_change_elsewhere_is_not_watched(tmp_path):
    async with served(tmp_path, threads="always") as files:
        assert not files.traits.watch
        assert str(files.provider.statistics()["watch"]).startswith("off: ")


UNWATCHED = """
import sys, trio
sys.path[:0] = sys.argv[2:]
from providers.passthrough import PassthroughProvider
with open("/proc/sys/user/max_inotify_instances", "w") as limit:
    limit.write("0")

async def main():
    provider = await PassthroughProvider.from_options(sys.argv[1], {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(provider.watch)
        print(provider.traits.watch, provider.statistics()["watch"])
        print((await provider.lookup(provider.root, b"f")).stat.size)
        nursery.cancel_scope.cancel()
    await provider.aclose()

trio.run(main)
"""


def test_without_an_inotify_instance_it_says_so_and_works(tmp_path):
    (tmp_path / "f").write_bytes(b"data")
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", UNWATCHED]
    paths = [os.getcwd(), *(each for each in sys.path if each)]
    done = subprocess.run(
        [*command, str(tmp_path), *paths], capture_output=True, text=True, check=False, timeout=60
    )
    if "unshare" in done.stderr and done.returncode:
        pytest.skip(f"no user namespaces here: {done.stderr}")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("False off: no inotify instance"), done.stderr
    assert lines[1] == "4"
