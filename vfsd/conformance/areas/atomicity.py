"""Checks that what the contract calls atomic is all or nothing: cancelled, or in a race."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio

from vfsd.conformance.check import check
from vfsd.conformance.contents import Contents, Directory, File
from vfsd.conformance.expect import equal, true
from vfsd.conformance.files import Files, listing, releasing
from vfsd.provider import SetAttr

CHECKPOINTS = 12
"""Each operation is cancelled before it starts and after 1 to this many scheduler passes."""

_OLD: Contents = {
    b"f": File(b"old data"),
    b"g": File(b"other"),
    b"d": Directory(),
    b"e/x": File(b"x"),
}


async def _cancelled(passes: int, act: Callable[[], Awaitable[object]]) -> None:
    """Run `act`, cancelled after `passes` passes of the scheduler."""
    scope = trio.CancelScope()

    async def canceller() -> None:
        for _ in range(passes):
            await trio.lowlevel.cancel_shielded_checkpoint()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        if passes:
            nursery.start_soon(canceller)
        else:
            scope.cancel()
        with scope:
            await act()


async def _all_or_nothing(
    files: Files,
    act: Callable[[], Awaitable[object]],
    undo: Callable[[], Awaitable[object]],
    what: str,
) -> None:
    nothing = await listing(files)
    await act()
    everything = _unnumbered(await listing(files))
    await undo()
    for passes in range(CHECKPOINTS + 1):
        nothing = await listing(files)
        await _cancelled(passes, act)
        after = await listing(files)
        if after == nothing:
            continue
        equal(_unnumbered(after), everything, f"the tree after {what}, cancelled at {passes}")
        await undo()


def _unnumbered(tree: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    return {path: item[1:] for path, item in tree.items()}


@check(needs="writable", contents=_OLD)
async def cancelled_making_is_all_or_nothing(files: Files) -> None:
    async def create() -> None:
        _, handle = await files.create(b"d/new", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        with trio.CancelScope(shield=True):
            await handle.release()

    await _all_or_nothing(files, create, lambda: files.unlink(b"d/new"), "create")
    await _all_or_nothing(
        files, lambda: files.mkdir(b"d/new"), lambda: files.rmdir(b"d/new"), "mkdir"
    )


@check(needs="writable", contents=_OLD)
async def cancelled_removal_is_all_or_nothing(files: Files) -> None:
    await _all_or_nothing(
        files, lambda: files.unlink(b"f"), lambda: files.put(b"f", b"old data"), "unlink"
    )
    await _all_or_nothing(files, lambda: files.rmdir(b"d"), lambda: files.mkdir(b"d"), "rmdir")


@check(needs="writable", contents=_OLD)
async def cancelled_rename_is_all_or_nothing(files: Files) -> None:
    async def undo() -> None:
        await files.rename(b"g", b"f")
        await files.put(b"g", b"other")

    await _all_or_nothing(files, lambda: files.rename(b"f", b"g"), undo, "rename over a file")
    await _all_or_nothing(
        files, lambda: files.rename(b"e", b"d/e"), lambda: files.rename(b"d/e", b"e"), "rename"
    )
    exchange = 2
    await _all_or_nothing(
        files,
        lambda: files.rename(b"f", b"e", exchange),
        lambda: files.rename(b"f", b"e", exchange),
        "exchange",
    )


@check(needs="writable", contents=_OLD)
async def cancelled_change_is_all_or_nothing(files: Files) -> None:
    await _all_or_nothing(
        files,
        lambda: files.setattr(b"f", SetAttr(mode=0o700, uid=5, size=3)),
        lambda: files.setattr(b"f", SetAttr(mode=0o644, uid=0, size=8)),
        "setattr",
    )
    before, new = b"\0" * 300_000, b"\1" * 300_000
    await files.put(b"f", before)
    async with files.opened(b"f", os.O_RDWR) as handle:
        for passes in range(CHECKPOINTS + 1):
            await handle.write(0, before)
            await _cancelled(passes, lambda: handle.write(0, new))
            true(await files.get(b"f") in (before, new), f"a write cancelled at {passes} is whole")


@check(needs="writable")
async def one_of_many_exclusive_creators_wins(files: Files) -> None:
    winners: list[int] = []

    async def compete(number: int) -> None:
        try:
            _, handle = await files.create(b"f", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return
        async with releasing(handle):
            winners.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(compete, number)
    equal(len(winners), 1, "exclusive creators that won")


@check(needs="writable")
async def concurrent_appends_lose_nothing(files: Files) -> None:
    await files.put(b"f")

    async def append(number: int) -> None:
        async with files.opened(b"f", os.O_WRONLY | os.O_APPEND) as handle:
            for _ in range(20):
                await handle.write(0, b"%09d\n" % number)
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(append, number)
    lines = (await files.get(b"f")).splitlines()
    equal(len(lines), 200, "lines appended")
    for number in range(10):
        equal(lines.count(b"%09d" % number), 20, f"lines of writer {number}")


@check(needs="writable", contents=_OLD)
async def racing_renames_keep_the_tree_a_tree(files: Files) -> None:
    """Two renames that together would make a loop: at most one of them may happen."""
    await files.mkdir(b"a")
    await files.mkdir(b"b")
    outcomes: list[bool] = []

    async def move(path: bytes, new_path: bytes) -> None:
        try:
            await files.rename(path, new_path)
        except OSError:
            outcomes.append(False)
        else:
            outcomes.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move, b"a", b"b/a")
        nursery.start_soon(move, b"b", b"a/b")
    equal(sorted(outcomes), [False, True], "outcomes of two renames that exclude each other")
    tree = set(await listing(files))
    true({b"a", b"a/b"} <= tree or {b"b", b"b/a"} <= tree, "both directories are still there")
