"""A directory is swapped for a symlink again and again while readers and writers work below it.

A child process exchanges ``swap`` (a directory) with ``trap`` (a symlink to a directory outside,
of the same shape) as fast as it can, at least a hundred thousand times, while tasks read, write,
create, rename and remove below ``swap`` through the provider. By content: nothing outside was
read, and the outside is byte for byte what it was.
"""

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from providers.passthrough import held
from tests.unit.passthrough.serving import GUARDS, served, until
from vfsd.conformance.files import read_all

SWAPS = 100_000
ENOUGH = 200
"""The intruders get this much done, and lose as many races, however quick the swaps are."""

SECRET = b"outside: nobody may read this"
INSIDE = b"inside"

SWAPPER = """
import ctypes, os, sys
renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
root, count = sys.argv[1].encode(), int(sys.argv[2])
one, two = root + b"/swap", root + b"/trap"
print("ready", flush=True)
while True:
    count -= 1
    if not count:
        print("done", flush=True)
    if renameat2(-100, one, -100, two, 2):
        sys.exit(f"renameat2: {ctypes.get_errno()}")
    os.sched_yield()
"""

EXPECTED = {
    *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EACCES, errno.EEXIST),
    *(errno.EINVAL, errno.ENOTEMPTY, errno.EXDEV, errno.EISDIR),
}
"""What those who lose a race are told."""


def fill(directory, content):
    (directory / "sub").mkdir(parents=True)
    for name in ("file", "sub/file"):
        (directory / name).write_bytes(content)


def picture(directory):
    """Everything below a directory: names, types, modes, owners, sizes, times, content."""
    items = {}
    for place, names, files in os.walk(directory):
        for name in (".", *names, *files):
            path = os.path.join(place, name)
            stat = os.lstat(path)
            content = Path(path).read_bytes() if name in files else None
            items[path] = (*stat[:4], *stat[4:7], stat.st_mtime_ns, stat.st_ctime_ns, content)
    return items


class Intruder:
    """Works below ``swap`` until told to stop, and counts what it got done."""

    def __init__(self, files):
        self.files = files
        self.done = 0
        self.lost = 0
        self.running = True

    async def keep_at(self, act):
        while self.running:
            try:
                await act()
                self.done += 1
            except OSError as error:
                if error.errno not in EXPECTED:
                    raise
                self.lost += 1
            await trio.lowlevel.checkpoint()

    async def node(self, *names):
        node = self.files.root
        for name in names:
            node = (await self.files.provider.lookup(node, name)).node
        return node

    async def read(self):
        for names in ((b"swap", b"file"), (b"swap", b"sub", b"file")):
            node = await self.node(*names)
            handle = await self.files.provider.open(node, os.O_RDONLY, self.files.caller)
            try:
                assert await read_all(handle) != SECRET
            finally:
                await handle.release()

    async def overwrite(self):
        node = await self.node(b"swap", b"sub", b"file")
        flags = os.O_WRONLY | os.O_TRUNC
        handle = await self.files.provider.open(node, flags, self.files.caller)
        try:
            await handle.write(0, INSIDE)
        finally:
            await handle.release()

    async def make_and_remove(self):
        provider, caller = self.files.provider, self.files.caller
        parent = await self.node(b"swap", b"sub")
        _, handle = await provider.create(parent, b"new", 0o644, os.O_RDWR | os.O_CREAT, caller)
        await handle.write(0, INSIDE)
        await handle.release()
        await provider.mkdir(parent, b"newdir", 0o755, caller)
        await provider.symlink(parent, b"newlink", b"file", caller)
        await provider.rename(parent, b"new", parent, b"renamed", 0)
        for name in (b"renamed", b"newlink"):
            await provider.unlink(parent, name)
        await provider.rmdir(parent, b"newdir")

    async def tidy(self):
        """Remove what a lost race left, so that making goes on."""
        provider = self.files.provider
        parent = await self.node(b"swap", b"sub")
        for name in await provider.readdir(parent):
            if name != b"file":
                remove = provider.rmdir if name == b"newdir" else provider.unlink
                await remove(parent, name)

    async def list_and_stat(self):
        provider = self.files.provider
        parent = await self.node(b"swap")
        for entry in await provider.lookup_many(parent, await provider.readdir(parent)):
            if entry is not None:
                assert entry.stat.size != len(SECRET)
                await provider.getattr(entry.node)


def swapper(root):
    command = [sys.executable, "-c", SWAPPER, str(root), str(SWAPS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.parametrize(
    ("guard", "threads", "native"),
    [
        *((guard, threads, "auto") for guard in GUARDS for threads in ("never", "always")),
        ("openat2", "never", "off"),
    ],
)
async def test_nothing_outside_is_touched(tmp_path, monkeypatch, guard, threads, native):
    monkeypatch.setattr(held, "FRESH_S", -1)  # walk from the root for every single call
    outside, root = tmp_path / "outside", tmp_path / "root"
    fill(outside, SECRET)
    fill(root / "swap", INSIDE)
    (root / "trap").symlink_to(outside)
    before = picture(outside)
    async with served(root, guard=guard, threads=threads, native=native) as files:
        child = swapper(root)
        intruder = Intruder(files)
        try:
            assert child.stdout.readline() == b"ready\n"
            async with trio.open_nursery() as nursery:
                nursery.cancel_scope.deadline = trio.current_time() + 100
                for act in (
                    *(intruder.read, intruder.overwrite, intruder.make_and_remove),
                    *(intruder.tidy, intruder.list_and_stat),
                ):
                    nursery.start_soon(intruder.keep_at, act)
                assert await trio.to_thread.run_sync(child.stdout.readline) == b"done\n"
                await until(
                    lambda: intruder.done >= ENOUGH and intruder.lost >= ENOUGH,
                    "enough done and lost",
                    60,
                )
                intruder.running = False
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
    assert picture(outside) == before


@pytest.mark.parametrize("guard", GUARDS)
async def test_what_is_held_open_stays_what_it_was(tmp_path, guard):
    """A directory that was looked up as one is not followed once it is a symlink."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    fill(outside, SECRET)
    fill(root / "swap", INSIDE)
    async with served(root, guard=guard) as files:
        directory = await files.node(b"swap")
        file = await files.node(b"swap/file")
        os.rename(root / "swap", root / "away")
        (root / "swap").symlink_to(outside)
        with contextlib.suppress(OSError):
            found = await files.provider.lookup(directory, b"sub")
            assert found.node.ino == os.stat(root / "away/sub").st_ino
        handle = None
        with contextlib.suppress(OSError):
            handle = await files.provider.open(file, os.O_RDONLY, files.caller)
        if handle is not None:
            assert await read_all(handle) == INSIDE
            await handle.release()
