"""Checks of which call changes which time, as POSIX has it.

mtime is first set far into the past, so that any change shows. ctime cannot be set: these
checks let a clock tick pass (`TICK_SECONDS`) and compare; a slow machine only waits longer.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from vfsd.conformance.check import check
from vfsd.conformance.contents import Contents, Directory, File, Symlink
from vfsd.conformance.expect import equal, true
from vfsd.conformance.files import ROOT, Files
from vfsd.provider import SetAttr

TICK_SECONDS = 0.02
"""Longer than one tick of the kernel's coarse clock at 100 Hz."""

ONE: Contents = {b"f": File(b"data"), b"d": Directory(), b"e": Directory()}


@asynccontextmanager
async def _touched(files: Files, path: bytes, *, mtime: bool, ctime: bool) -> AsyncIterator[None]:
    """Fail unless the block moves exactly the given times of the file at `path`."""
    node = await files.node(path)
    await files.provider.setattr(node, SetAttr(mtime_ns=1), ROOT)
    before = await files.provider.getattr(node)
    await trio.sleep(TICK_SECONDS)
    yield
    after = await files.provider.getattr(node)
    if mtime:
        true(after.mtime_ns >= before.ctime_ns, f"mtime of {path!r} is set to now")
    else:
        equal(after.mtime_ns, 1, f"mtime of {path!r}")
    if ctime:
        true(after.ctime_ns > before.ctime_ns, f"ctime of {path!r} moves forward")
    else:
        equal(after.ctime_ns, before.ctime_ns, f"ctime of {path!r}")


@check(needs="writable", contents=ONE)
async def looking_moves_neither_mtime_nor_ctime(files: Files) -> None:
    for path in (b"f", b"d"):
        async with _touched(files, path, mtime=False, ctime=False):
            await files.entry(path)
            await files.names(b"d")
            await files.get(b"f")
            async with files.opened(b"f", os.O_RDWR):
                pass


@check(needs="writable", contents=ONE)
async def write_moves_mtime_and_ctime(files: Files) -> None:
    async with (
        files.opened(b"f", os.O_RDWR) as handle,
        _touched(files, b"f", mtime=True, ctime=True),
    ):
        await handle.write(0, b"x")


@check(needs="writable", contents=ONE)
async def truncation_moves_mtime_and_ctime(files: Files) -> None:
    for size in (1, 1000):
        async with _touched(files, b"f", mtime=True, ctime=True):
            await files.setattr(b"f", SetAttr(size=size))


@check(needs="writable", contents=ONE)
async def chmod_chown_utimes_move_ctime(files: Files) -> None:
    for path in (b"f", b"d"):
        for changes in (SetAttr(mode=0o700), SetAttr(uid=4), SetAttr(atime_ns=5)):
            async with _touched(files, path, mtime=False, ctime=True):
                await files.setattr(path, changes)


@check(needs="writable", contents=ONE)
async def making_moves_the_parents_times(files: Files) -> None:
    async with _touched(files, b"d", mtime=True, ctime=True):
        await files.put(b"d/file")
    async with _touched(files, b"d", mtime=True, ctime=True):
        await files.mkdir(b"d/sub")
    async with _touched(files, b"d", mtime=True, ctime=True):
        await files.unlink(b"d/file")
    async with _touched(files, b"d", mtime=True, ctime=True):
        await files.rmdir(b"d/sub")


@check(needs="writable", contents=ONE)
async def symlink_moves_the_parents_times(files: Files) -> None:
    async with _touched(files, b"d", mtime=True, ctime=True):
        await files.symlink(b"d/link", b"target")


@check(needs="writable hard_links", contents=ONE)
async def link_moves_the_parents_times_and_ctime(files: Files) -> None:
    async with (
        _touched(files, b"d", mtime=True, ctime=True),
        _touched(files, b"f", mtime=False, ctime=True),
    ):
        await files.link(b"f", b"d/link")
    async with _touched(files, b"f", mtime=False, ctime=True):
        await files.unlink(b"d/link")


@check(needs="writable", contents=ONE)
async def rename_moves_both_parents_times(files: Files) -> None:
    await files.put(b"d/file")
    async with (
        _touched(files, b"d", mtime=True, ctime=True),
        _touched(files, b"e", mtime=True, ctime=True),
    ):
        await files.rename(b"d/file", b"e/file")
    async with _touched(files, b"e", mtime=True, ctime=True):
        await files.rename(b"e/file", b"e/other")
    equal((await files.stat(b"e/other")).size, 0, "size of the moved file")


@check(needs="writable", contents={**ONE, b"l": Symlink(b"f")})
async def changes_inside_leave_grandparents(files: Files) -> None:
    await files.mkdir(b"d/sub")
    async with (
        _touched(files, b"d", mtime=False, ctime=False),
        _touched(files, b"l", mtime=False, ctime=False),
    ):
        await files.put(b"d/sub/file", b"data")
        await files.setattr(b"d/sub", SetAttr(mode=0o700))


@check(needs="writable", contents=ONE)
async def failed_calls_move_no_times(files: Files) -> None:
    await files.put(b"d/file")
    async with _touched(files, b"d", mtime=False, ctime=False):
        attempts: list[tuple[Callable[..., Awaitable[object]], tuple[bytes, ...]]] = [
            (files.mkdir, (b"d/file",)),
            (files.unlink, (b"d/missing",)),
            (files.rmdir, (b"d/file",)),
            (files.rename, (b"d/missing", b"d/other")),
        ]
        for method, arguments in attempts:
            try:
                await method(*arguments)
            except OSError:
                continue
            true(False, "the call fails")
