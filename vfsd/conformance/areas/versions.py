"""Checks of `snapshot` and `fork`, where a provider has them."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable

from vfsd.conformance.check import check
from vfsd.conformance.contents import Contents, Directory, File, HardLink, Symlink
from vfsd.conformance.expect import equal, optional, raises, true
from vfsd.conformance.files import Files, listing, read_all, releasing
from vfsd.provider import SetAttr

TREE: Contents = {
    b"f": File(b"f data", mode=0o640),
    b"g": File(b"g data"),
    b"d/x": File(b"x data"),
    b"d/sub": Directory(mode=0o700),
    b"l": Symlink(b"f"),
}


def _snapshot(files: Files) -> Files:
    with optional(errno.EOPNOTSUPP, what="snapshot"):
        return Files(files.provider.snapshot())


def _fork(files: Files) -> Files:
    with optional(errno.EOPNOTSUPP, what="fork"):
        return Files(files.provider.fork())


async def _change_all(files: Files) -> None:
    """Change every kind of thing there is in `TREE`."""
    async with files.opened(b"f", os.O_RDWR) as handle:
        await handle.write(1, b"CHANGED")
    await files.setattr(b"g", SetAttr(size=1, mode=0o777, uid=9))
    await files.rename(b"d/x", b"moved")
    await files.unlink(b"l")
    await files.rmdir(b"d/sub")
    await files.put(b"d/new", b"new data")
    await files.symlink(b"l", b"elsewhere")
    await files.mkdir(b"newdir")


@check(contents=TREE)
async def snapshot_shows_the_same(files: Files) -> None:
    sealed = _snapshot(files)
    equal(await listing(sealed), await listing(files), "the tree in the snapshot")
    for path in TREE:
        equal(await sealed.stat(path), await files.stat(path), f"attributes of {path!r}")


@check(needs="writable", contents=TREE)
async def snapshot_is_not_changed_by_later_writes(files: Files) -> None:
    sealed = _snapshot(files)
    before = await listing(files)
    await _change_all(files)
    equal(await listing(sealed), before, "the tree in the snapshot")
    true(await listing(files) != before, "the original changed")


@check(contents=TREE)
async def snapshot_is_read_only(files: Files) -> None:
    sealed = _snapshot(files)
    true(not sealed.traits.writable, "a snapshot's traits say that it is not writable")
    before = await listing(sealed)
    attempts: list[tuple[str, Callable[..., Awaitable[object]], tuple[object, ...]]] = [
        ("create", sealed.put, (b"new",)),
        ("mkdir", sealed.mkdir, (b"new",)),
        ("unlink", sealed.unlink, (b"f",)),
        ("rename", sealed.rename, (b"f", b"h")),
        ("chmod", sealed.setattr, (b"f", SetAttr(mode=0o777))),
        ("truncate", sealed.setattr, (b"f", SetAttr(size=0))),
    ]
    for what, method, arguments in attempts:
        with raises(errno.EROFS, what=f"{what} in a snapshot"):
            await method(*arguments)
    for flags in (os.O_WRONLY, os.O_RDONLY | os.O_TRUNC):
        with raises(errno.EROFS, what="open for writing in a snapshot"):
            async with sealed.opened(b"f", flags):
                pass
    equal(await listing(sealed), before, "the snapshot after refusals")


@check(needs="writable", contents=TREE)
async def open_handles_write_past_a_snapshot(files: Files) -> None:
    async with files.opened(b"f", os.O_RDWR) as handle:
        sealed = _snapshot(files)
        await handle.write(0, b"LATER!")
        equal(await sealed.get(b"f"), b"f data", "data in the snapshot")
        equal(await files.get(b"f"), b"LATER!", "data in the original")
        await files.setattr(b"f", SetAttr(size=2))
        equal(await sealed.get(b"f"), b"f data", "data in the snapshot after truncation")
        equal(await read_all(handle), b"LA", "data through the handle")
    async with sealed.opened(b"f") as reader:
        await files.put(b"f", b"again")
        equal(await read_all(reader), b"f data", "data through a handle of the snapshot")


@check(needs="writable", contents=TREE)
async def snapshots_of_each_moment(files: Files) -> None:
    sealed = [_snapshot(files)]
    for number in range(5):
        await files.put(b"f", b"version %d" % number)
        await files.put(b"new%d" % number)
        sealed.append(_snapshot(files))
    equal(await sealed[0].get(b"f"), b"f data", "data in the first snapshot")
    for number in range(5):
        equal(await sealed[number + 1].get(b"f"), b"version %d" % number, "data in a snapshot")
        true(await sealed[number + 1].exists(b"new%d" % number), "a file made before it is there")
        true(not await sealed[number].exists(b"new%d" % number), "one made after it is not")


@check(needs="writable", contents=TREE)
async def fork_and_original_do_not_see_each_other(files: Files) -> None:
    forked = _fork(files)
    true(forked.traits.writable, "a fork is writable")
    before = await listing(files)
    equal(await listing(forked), before, "the tree in the fork")
    await _change_all(forked)
    equal(await listing(files), before, "the original after changes in the fork")
    changed = await listing(forked)
    await files.put(b"f", b"changed here")
    await files.unlink(b"g")
    await files.put(b"d/new", b"another new file")
    equal(await listing(forked), changed, "the fork after changes in the original")


@check(contents=TREE)
async def fork_of_a_snapshot_is_writable(files: Files) -> None:
    sealed = _snapshot(files)
    before = await listing(sealed)
    one, two = _fork(sealed), _fork(sealed)
    await _change_all(one)
    equal(await listing(sealed), before, "the snapshot after changes in a fork")
    equal(await listing(two), before, "another fork of it")
    three = _fork(one)
    equal(await listing(three), await listing(one), "a fork of the fork")
    await three.put(b"f", b"third")
    equal(await one.get(b"f"), b"fCHANGED", "the fork after changes in its fork")


@check(needs="writable", contents=TREE)
async def numbers_stay_unique_in_forks(files: Files) -> None:
    forked = _fork(files)
    for each in (files, forked):
        for number in range(20):
            await each.put(b"new%d" % number)
        numbers = [item[0] for item in (await listing(each)).values()]
        equal(len(set(numbers)), len(numbers), "different files' different numbers")


@check(needs="writable hard_links", contents={b"a": File(b"data"), b"b": HardLink(b"a")})
async def hard_links_survive_forks(files: Files) -> None:
    forked = _fork(files)
    one, two = await forked.entry(b"a"), await forked.entry(b"b")
    equal(one.node.number, two.node.number, "number of both names")
    async with forked.opened(b"a", os.O_WRONLY) as handle:
        await handle.write(0, b"FORK")
    equal(await forked.get(b"b"), b"FORK", "data through the other name in the fork")
    equal(await files.get(b"b"), b"data", "data in the original")
    await forked.unlink(b"a")
    equal((await forked.stat(b"b")).nlink, 1, "links in the fork")
    equal((await files.stat(b"b")).nlink, 2, "links in the original")


@check(needs="writable xattrs", contents={b"f": File(b"", xattrs={b"user.a": b"1"})})
async def xattrs_survive_forks(files: Files) -> None:
    sealed, forked = _snapshot(files), _fork(files)
    await forked.provider.setxattr(await forked.node(b"f"), b"user.a", b"2")
    await files.provider.removexattr(await files.node(b"f"), b"user.a")
    for each, expected in ((sealed, b"1"), (forked, b"2")):
        node = await each.node(b"f")
        equal(await each.provider.getxattr(node, b"user.a"), expected, "value")


@check(needs="writable")
async def unnamed_files_stay_out_of_versions(files: Files) -> None:
    entry, handle = await files.create(b"f")
    async with releasing(handle):
        await handle.write(0, b"data")
        await files.unlink(b"f")
        sealed, forked = _snapshot(files), _fork(files)
        await handle.write(4, b" more")
        equal(await read_all(handle), b"data more", "data through the handle")
    equal((await sealed.names(), await forked.names()), ([], []), "names in the versions")
    await forked.put(b"f", b"new")
    true(not await files.exists(b"f"), "the original has no such file")
    true((await forked.node(b"f")).number > 1, f"numbers go on after {entry.node.number}")


async def _unchanged(files: Files, other: Files, path: bytes) -> bool:
    here, there = await files.entry(path), await other.entry(path)
    return files.provider.unchanged(here.node, other.provider, there.node)


@check(needs="writable", contents=TREE)
async def what_changed_is_never_called_unchanged(files: Files) -> None:
    """Saying that all has changed is allowed; saying that it has not must be true."""
    sealed = _snapshot(files)
    changes: list[tuple[bytes, Callable[[], Awaitable[object]]]] = [
        (b"f", lambda: files.setattr(b"f", SetAttr(mode=0o600))),
        (b"g", lambda: files.put(b"g", b"other")),
        (b"d", lambda: files.put(b"d/new")),
        (b"l", lambda: files.rename(b"f", b"l")),
        (b"d/sub", lambda: files.setattr(b"d/sub", SetAttr(mtime_ns=1))),
    ]
    for path, change in changes:
        await change()
        true(not await _unchanged(files, sealed, path), f"{path!r} is known to have changed")
        true(not await _unchanged(sealed, files, path), f"{path!r} has changed seen from there")
    node = (await files.entry(b"d/x")).node
    elsewhere = (await sealed.entry(b"g")).node
    true(not files.provider.unchanged(node, sealed.provider, elsewhere), "two files differ")


@check(needs="writable", contents=TREE)
async def changes_go_on_after_a_pause(files: Files) -> None:
    async with files.provider.pause():
        sealed = _snapshot(files)
    before = await listing(sealed)
    await files.put(b"g", b"after the pause")
    await files.mkdir(b"after")
    true(await files.exists(b"after"), "a directory is made after the pause")
    equal(await listing(sealed), before, "the tree in the snapshot")
