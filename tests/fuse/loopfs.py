"""A small file system in memory, served by either loop; run as a program by the loop's tests.

`loopfs.py MOUNTPOINT CONTROL JSON` mounts, answers one JSON line per JSON line on the Unix
socket CONTROL, and when serving ends prints how it ended, with the final counts. The JSON
argument says how to serve:

    loop       "stock", "ours", "unfit" (trio's version is wrong) or "guarded" (its clock is)
    poll_us, budget, min_tasks, max_tasks    as for `install` and `pyfuse3.main`
    suspend    a seed: handlers suspend at random in threads, sleeps and locks
    lie        every so many polls say that a request waits, though none does
    tick       run a timer task

What it is *not*: the daemon; nothing of vfsd but the serving loop is in use here.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import stat
import sys
import threading
import time
from collections import Counter

import pyfuse3
import trio
import trio.testing

from vfsd.fuse import servingloop


class File:
    """A file or, with `names`, a directory."""

    def __init__(self, mode: int) -> None:
        self.mode = mode
        self.data = bytearray()
        self.names: dict[bytes, int] | None = {} if stat.S_ISDIR(mode) else None


class Memory(pyfuse3.Operations):
    """Files in dicts; nothing is cached by the kernel, so every call becomes a request."""

    enable_writeback_cache = False

    def __init__(self, settings: dict) -> None:
        super().__init__()
        self.settings = settings
        self.files = {pyfuse3.ROOT_INODE: File(stat.S_IFDIR | 0o777)}
        self.next_inode = pyfuse3.ROOT_INODE + 1
        self.requests = 0
        self.suspensions: Counter[str] = Counter()
        self.ticks = 0
        self.gated = 0
        self.gate = trio.Event()
        self.asked = trio.Event()
        self.lock = trio.Lock()
        self.random = random.Random(settings.get("suspend"))
        self.suspends = "suspend" in settings
        self.installed: servingloop.Installed | None = None

    async def enter(self) -> None:
        """Count a request and, where asked for, suspend in one of the ways a handler can."""
        self.requests += 1
        self.asked.set()
        if not self.suspends:
            return
        way = self.random.choice(["", "", "thread", "sleep", "yield", "lock"])
        self.suspensions[way] += 1
        if way == "thread":
            await trio.to_thread.run_sync(os.getppid)
        elif way == "sleep":
            await trio.sleep(self.random.choice([0.0001, 0.002]))
        elif way == "yield":
            await trio.lowlevel.checkpoint()
        elif way == "lock":
            async with self.lock:
                await trio.lowlevel.checkpoint()

    def entry(self, inode: int) -> pyfuse3.EntryAttributes:
        file = self.files[inode]
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = inode
        entry.st_mode = file.mode
        entry.st_size = len(file.data)
        entry.st_nlink = 1
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

    def names(self, inode: int) -> dict[bytes, int]:
        names = self.files[inode].names
        if names is None:
            raise pyfuse3.FUSEError(errno.ENOTDIR)
        return names

    async def lookup(self, parent_inode, name, ctx=None):
        if name == b"end":
            pyfuse3.terminate()
        elif name == b"divide":
            _ = 1 // 0
        await self.enter()
        try:
            return self.entry(self.names(parent_inode)[name])
        except KeyError:
            raise pyfuse3.FUSEError(errno.ENOENT) from None

    async def getattr(self, inode, ctx=None):
        await self.enter()
        return self.entry(inode)

    async def setattr(self, inode, attr, fields, fh, ctx):
        await self.enter()
        if fields.update_size:
            data = self.files[inode].data
            del data[attr.st_size :]
            data.extend(bytes(attr.st_size - len(data)))
        return self.entry(inode)

    def make(self, parent_inode: int, name: bytes, mode: int) -> int:
        inode = self.next_inode
        self.next_inode += 1
        self.files[inode] = File(mode)
        self.names(parent_inode)[name] = inode
        return inode

    async def create(self, parent_inode, name, mode, flags, ctx):
        await self.enter()
        inode = self.make(parent_inode, name, mode)
        return pyfuse3.FileInfo(fh=inode), self.entry(inode)

    async def mkdir(self, parent_inode, name, mode, ctx):
        await self.enter()
        return self.entry(self.make(parent_inode, name, mode | stat.S_IFDIR))

    async def mknod(self, parent_inode, name, mode, rdev, ctx):
        await self.enter()
        return self.entry(self.make(parent_inode, name, mode))

    async def unlink(self, parent_inode, name, ctx):
        await self.enter()
        del self.names(parent_inode)[name]

    rmdir = unlink

    async def open(self, inode, flags, ctx):
        if self.files[inode].mode & stat.S_ISVTX:  # what the test made waits at the gate
            self.gated += 1
            await self.gate.wait()
        await self.enter()
        return pyfuse3.FileInfo(fh=inode)

    async def read(self, fh, off, size):
        await self.enter()
        return bytes(self.files[fh].data[off : off + size])

    async def write(self, fh, off, buf):
        await self.enter()
        self.files[fh].data[off : off + len(buf)] = buf
        return len(buf)

    async def release(self, fh):
        await self.enter()

    async def opendir(self, inode, ctx):
        await self.enter()
        return inode

    async def readdir(self, fh, start_id, token):
        await self.enter()
        for number, (name, inode) in enumerate(list(self.names(fh).items())):
            if number >= start_id and not pyfuse3.readdir_reply(
                token, name, self.entry(inode), number + 1
            ):
                break

    async def forget(self, inode_list):
        pass

    def report(self) -> dict:
        return {
            "requests": self.requests,
            "suspensions": sum(self.suspensions.values()) - self.suspensions[""],
            "ticks": self.ticks,
            "gated": self.gated,
            "threads": threading.active_count(),
            "loop": "stock" if self.installed is None else dict(self.installed.statistics()),
        }


def terminate_from_thread(token: trio.lowlevel.TrioToken) -> None:
    trio.from_thread.run_sync(pyfuse3.terminate, trio_token=token)


async def answer(memory: Memory, nursery: trio.Nursery, stream: trio.SocketStream) -> None:
    """Serve one control connection."""
    rest = b""
    async for part in stream:
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            word = json.loads(line)
            if word == "gate":
                memory.gate.set()
            elif word == "idle":
                await trio.testing.wait_all_tasks_blocked(0.001)
            elif word == "raise":
                raise LookupError
            elif word == "cancel":
                nursery.cancel_scope.cancel()
            elif word == "terminate":
                pyfuse3.terminate()
            elif word == "terminate from thread":
                await trio.to_thread.run_sync(terminate_from_thread, pyfuse3.trio_token)
            await stream.send_all(json.dumps(memory.report()).encode() + b"\n")


async def lie(memory: Memory, every: int) -> None:
    """Make the loop's poll report a request that is not there, every so often."""
    await memory.asked.wait()
    waiting = memory.installed._waiting
    honest, polls = waiting.poll, 0

    def lying(timeout: float) -> list[tuple[int, int]]:
        nonlocal polls
        polls += 1
        return [(0, 0)] if polls % every == 0 else honest(timeout)

    waiting.poll = lying


async def serve(memory: Memory, control: str) -> None:
    settings = memory.settings
    listener_socket = trio.socket.socket(trio.socket.AF_UNIX)
    await listener_socket.bind(control)
    listener_socket.listen()
    listeners = [trio.SocketListener(listener_socket)]

    async def tick() -> None:
        while True:
            await trio.sleep(0.001)
            memory.ticks += 1

    async def terminate_on_sigterm() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                pyfuse3.terminate()

    async with trio.open_nursery() as nursery:

        async def answer_here(stream: trio.SocketStream) -> None:
            await answer(memory, nursery, stream)

        nursery.start_soon(terminate_on_sigterm)
        nursery.start_soon(trio.serve_listeners, answer_here, listeners)
        if settings.get("tick"):
            nursery.start_soon(tick)
        if settings.get("lie"):
            nursery.start_soon(lie, memory, settings["lie"])
        await pyfuse3.main(settings.get("min_tasks", 1), settings.get("max_tasks", 99))
        nursery.cancel_scope.cancel()


class NotTheSystemClock(trio.abc.Clock):
    """A sound clock that the serving loop must refuse, since it does not know it."""

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()


def main() -> None:
    mountpoint, control, settings_json = sys.argv[1:]
    settings = json.loads(settings_json)
    memory = Memory(settings)
    loop = settings["loop"]
    if loop == "unfit":
        trio.__version__ = "0.0.1"
    pyfuse3.init(memory, mountpoint, {"fsname=loopfs", "default_permissions"})
    try:
        if loop != "stock":
            options = {key: settings[key] for key in ("poll_us", "budget") if key in settings}
            memory.installed = servingloop.install(pyfuse3, **options)
        outcome = "returned"
        try:
            clock = NotTheSystemClock() if loop == "guarded" else None
            trio.run(serve, memory, control, clock=clock)
        except BaseException as error:
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            outcome = type(error).__name__
        if memory.installed is not None:
            memory.installed.uninstall()
        restored = pyfuse3.trio is trio
        print(json.dumps({"outcome": outcome, "restored": restored, **memory.report()}))
    finally:
        pyfuse3.close(unmount=True)


main()
