"""Storage of other kinds: mounts inside the root, storage that hangs, calls that are cancelled."""

import errno
import os
import signal
import subprocess
from contextlib import ExitStack

import pytest
import trio

from providers.passthrough.backing import is_local
from providers.passthrough.threads import GRACE_S, THREADS_MAX, Threads
from tests.fuse.loopserver import serving
from tests.unit.passthrough.serving import served, until


@pytest.fixture
def tmpfs_inside(tmp_path):
    """A root with a tmpfs mounted on ``inner``."""
    inner = tmp_path / "inner"
    inner.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", inner], check=True)
    (inner / "d").mkdir()
    (inner / "d/f").write_bytes(b"inner")
    (tmp_path / "f").write_bytes(b"outer")
    yield tmp_path
    subprocess.run(["umount", "-l", inner], check=True)


@pytest.mark.root
async def test_files_on_a_mount_inside_have_numbers_of_their_own(tmpfs_inside):
    async with served(tmpfs_inside) as files:
        paths = (b"f", b"inner", b"inner/d", b"inner/d/f")
        numbers = {path: (await files.node(path)).number for path in paths}
        assert len(set(numbers.values())) == len(paths)
        assert numbers[b"f"] == os.stat(tmpfs_inside / "f").st_ino
        assert min(numbers[path] for path in paths[1:]) >= 1 << 47
        assert max(numbers.values()) < 1 << 48
        for path, number in reversed(numbers.items()):
            assert (await files.node(path)).number == number
        assert await files.get(b"inner/d/f") == b"inner"
        with pytest.raises(OSError, match=os.strerror(errno.EXDEV)):
            await files.rename(b"f", b"inner/f")
        with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
            await files.rmdir(b"inner")


class Storage:
    """A file system served by another process at ``mount``, which can be made to stand still."""

    def __init__(self, root):
        self.root = root
        self.start()

    def start(self):
        self._ended = ExitStack()
        server = self._ended.enter_context(serving(self.root, "stock"))
        self._process = server.process
        (self.root / "mount/d").mkdir()
        (self.root / "mount/d/f").write_bytes(b"data")

    def stop(self):
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self._process.send_signal(signal.SIGCONT)

    def close(self):
        self.go_on()
        self._ended.close()
        (self.root / "mount").rmdir()
        (self.root / "control").unlink()


@pytest.fixture
def bound(tmp_path):
    """A root with a FUSE file system mounted on ``mount``."""
    (tmp_path / "source/d").mkdir(parents=True)
    (tmp_path / "source/d/f").write_bytes(b"data")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/f").write_bytes(b"outer")
    storage = Storage(tmp_path / "root")
    yield tmp_path / "root", storage
    storage.close()


def local(path):
    fd = os.open(path, os.O_PATH)
    try:
        return is_local(fd)
    finally:
        os.close(fd)


@pytest.mark.fuse
def test_what_is_local(bound):
    root, _ = bound
    assert local(root)
    assert not local(root / "mount")


@pytest.mark.fuse
@pytest.mark.parametrize("place", ["root", "inside", "mounted later"])
async def test_storage_that_hangs_holds_up_nobody_else(bound, tmp_path, place):
    root, storage = bound
    start = root / "mount" if place == "root" else root
    prefix = b"" if place == "root" else b"mount/"
    if place == "mounted later":
        storage.close()
    async with served(start) as files:
        if place == "mounted later":
            storage.start()
        provider = files.provider
        assert await files.get(prefix + b"d/f") == b"data"
        parent = await files.node(prefix + b"d")
        entry = await files.entry(prefix + b"d/f")
        handle = await provider.open(entry.node, os.O_RDWR, files.caller)
        finished = []
        storage.stop()
        try:
            async with trio.open_nursery() as nursery:

                async def ask(number):
                    found = await provider.lookup_many(parent, [b"missing%d" % number])
                    finished.append(found)

                async def close():
                    await handle.release()
                    finished.append("closed")

                nursery.start_soon(close)
                for number in range(2 * THREADS_MAX):
                    nursery.start_soon(ask, number)
                async with served(tmp_path / "source") as others:
                    for _ in range(20):
                        await trio.sleep(0.002)
                        assert await others.get(b"d/f") == b"data"
                if place != "root":
                    assert await files.get(b"f") == b"outer", "the root's own storage goes on"
                assert finished == []
                storage.go_on()
                await until(lambda: len(finished) == 2 * THREADS_MAX + 1, "all answers")
        finally:
            storage.go_on()
        assert finished.count([None]) == 2 * THREADS_MAX


@pytest.mark.fuse
async def test_what_waits_for_storage_can_be_cancelled(bound):
    root, storage = bound
    async with served(root / "mount") as files:
        parent = await files.node(b"d")
        storage.stop()
        try:
            with trio.move_on_after(0.1) as looking:
                await files.provider.lookup(parent, b"missing")
            assert looking.cancelled_caught
            start = trio.current_time()
            with trio.move_on_after(0.1) as changing:
                await files.provider.mkdir(parent, b"new", 0o755, files.caller)
            assert changing.cancelled_caught
            assert trio.current_time() - start >= GRACE_S
        finally:
            storage.go_on()
        await until(lambda: (root / "mount/d/new").exists(), "what was sent on its way")
        assert await files.names(b"d") == [b"f", b"new"]


async def test_a_cancelled_change_is_seen_through():
    threads = Threads()
    with trio.CancelScope() as scope:
        done = []

        def change():
            trio.from_thread.run_sync(scope.cancel)
            done.append(True)
            return 5

        await threads.change(change)
    assert done == [True]
    with pytest.raises(ValueError, match="odd"):
        await threads.change(lambda: int("odd"))
    with pytest.raises(FileNotFoundError):
        await threads.look(lambda: os.stat("/nonexistent"))
