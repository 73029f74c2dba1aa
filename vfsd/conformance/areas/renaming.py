"""Checks of `rename`: replacing, NOREPLACE, EXCHANGE, and every refusal."""

from __future__ import annotations

import errno
import gc
import os

from vfsd.conformance.check import check
from vfsd.conformance.contents import Contents, Directory, File
from vfsd.conformance.expect import equal, raises, true
from vfsd.conformance.files import Files, listing, read_all

NOREPLACE, EXCHANGE, WHITEOUT = 1, 2, 4

TREE: Contents = {
    b"f": File(b"f data"),
    b"g": File(b"g data"),
    b"empty": Directory(),
    b"full/x": File(b"x data"),
    b"a/b/c": Directory(),
    b"a/file": File(b"a/file data"),
}


@check(needs="writable", contents=TREE)
async def rename_moves_a_file(files: Files) -> None:
    node = await files.node(b"f")
    await files.rename(b"f", b"a/b/moved")
    equal(await files.get(b"a/b/moved"), b"f data", "data at the new name")
    equal((await files.node(b"a/b/moved")).number, node.number, "number at the new name")
    equal((await files.provider.getattr(node)).size, 6, "size through the node kept")
    true(not await files.exists(b"f"), "the old name is gone")


@check(needs="writable", contents=TREE)
async def number_survives_rename_when_nobody_holds_the_node(files: Files) -> None:
    number = (await files.node(b"f")).number
    gc.collect()
    await files.rename(b"f", b"a/moved")
    gc.collect()
    equal((await files.node(b"a/moved")).number, number, "number at the new name")


@check(needs="writable", contents=TREE)
async def rename_moves_a_directory_with_all_in_it(files: Files) -> None:
    node = await files.node(b"a")
    inner = await files.node(b"a/file")
    await files.rename(b"a", b"empty/moved")
    equal((await files.node(b"empty/moved")).number, node.number, "number of the directory")
    equal((await files.node(b"empty/moved/file")).number, inner.number, "number of a file in it")
    equal(await files.get(b"empty/moved/file"), b"a/file data", "data of a file in it")
    equal((await files.provider.getattr(inner)).size, 11, "size through a node kept")
    equal(sorted(await files.provider.readdir(node)), [b"b", b"file"], "names through a node kept")
    equal((await files.provider.lookup(node, b"file")).node.number, inner.number, "lookup in it")
    true(not await files.exists(b"a"), "the old name is gone")


@check(needs="writable", contents=TREE)
async def rename_replaces_a_file(files: Files) -> None:
    node = await files.node(b"f")
    async with files.opened(b"g", os.O_RDWR) as handle:
        await files.rename(b"f", b"g")
        equal(await files.get(b"g"), b"f data", "data at the name")
        equal((await files.node(b"g")).number, node.number, "number at the name")
        equal(await read_all(handle), b"g data", "data of the replaced file, still open")
        equal((await handle.getattr()).nlink, 0, "links of the replaced file")
        await handle.write(0, b"G")
        equal(await files.get(b"g"), b"f data", "data after a write to the replaced file")
    true(not await files.exists(b"f"), "the old name is gone")


@check(needs="writable", contents=TREE)
async def handle_follows_its_file(files: Files) -> None:
    async with files.opened(b"a/file", os.O_RDWR) as handle:
        await files.rename(b"a/file", b"f")
        await files.rename(b"a", b"z")
        await handle.write(0, b"A")
        equal(await read_all(handle), b"A/file data", "data through the handle")
        equal(await files.get(b"f"), b"A/file data", "data at the new name")


@check(needs="writable", contents=TREE)
async def rename_replaces_an_empty_directory(files: Files) -> None:
    await files.rename(b"full", b"empty")
    equal(await files.get(b"empty/x"), b"x data", "data in the directory")
    true(not await files.exists(b"full"), "the old name is gone")


@check(needs="writable", contents=TREE)
async def refused_renames_change_nothing(files: Files) -> None:
    before = await listing(files)
    for path, new_path, flags, codes in (
        (b"missing", b"new", 0, (errno.ENOENT,)),
        (b"missing", b"f", 0, (errno.ENOENT,)),
        (b"empty", b"full", 0, (errno.ENOTEMPTY, errno.EEXIST)),
        (b"f", b"empty", 0, (errno.EISDIR,)),
        (b"f", b"full", 0, (errno.EISDIR, errno.ENOTEMPTY)),
        (b"empty", b"f", 0, (errno.ENOTDIR,)),
        (b"a", b"a/into", 0, (errno.EINVAL,)),
        (b"a", b"a/b/c/into", 0, (errno.EINVAL,)),
        (b"a", b"a/b", 0, (errno.EINVAL,)),
        (b"a/b/c", b"a", 0, (errno.ENOTEMPTY, errno.EEXIST)),
        (b"f", b"g", NOREPLACE, (errno.EEXIST,)),
        (b"f", b"empty", NOREPLACE, (errno.EEXIST,)),
        (b"f", b"f", NOREPLACE, (errno.EEXIST,)),
        (b"missing", b"f", NOREPLACE, (errno.ENOENT, errno.EEXIST)),
        (b"f", b"missing", EXCHANGE, (errno.ENOENT,)),
        (b"missing", b"f", EXCHANGE, (errno.ENOENT,)),
        (b"a", b"a/b", EXCHANGE, (errno.EINVAL,)),
        (b"a/b/c", b"a", EXCHANGE, (errno.EINVAL,)),
        (b"f", b"new", NOREPLACE | EXCHANGE, (errno.EINVAL,)),
        (b"f", b"new", WHITEOUT, (errno.EINVAL,)),
        (b"f", b"new", 1 << 10, (errno.EINVAL,)),
    ):
        what = f"rename of {path!r} to {new_path!r} with flags {flags}"
        with raises(*codes, what=what):
            await files.rename(path, new_path, flags)
        equal(await listing(files), before, f"the tree after the refused {what}")


@check(needs="writable", contents=TREE)
async def rename_to_itself_does_nothing(files: Files) -> None:
    before = await listing(files)
    for path in (b"f", b"empty", b"full", b"a/b"):
        await files.rename(path, path)
        equal(await listing(files), before, f"the tree after renaming {path!r} to itself")


@check(needs="writable", contents=TREE)
async def rename_below_a_file_is_enotdir(files: Files) -> None:
    provider, node = files.provider, await files.node(b"g")
    with raises(errno.ENOTDIR, what="rename to a name below a file"):
        await provider.rename(files.root, b"f", node, b"x", 0)
    with raises(errno.ENOTDIR, errno.ENOENT, what="rename of a name below a file"):
        await provider.rename(node, b"x", files.root, b"new", 0)
    equal(await files.get(b"f"), b"f data", "data after the refusals")


@check(needs="writable", contents=TREE)
async def rename_into_removed_directory_is_enoent(files: Files) -> None:
    node = await files.node(b"empty")
    await files.rmdir(b"empty")
    with raises(errno.ENOENT, errno.ESTALE, what="rename into a removed directory"):
        await files.provider.rename(files.root, b"f", node, b"x", 0)
    equal(await files.get(b"f"), b"f data", "data after the refusal")


@check(needs="writable", contents=TREE)
async def noreplace_moves_where_nothing_is(files: Files) -> None:
    await files.rename(b"f", b"new", NOREPLACE)
    await files.rename(b"a", b"empty/a", NOREPLACE)
    equal(await files.get(b"new"), b"f data", "data of the file")
    equal(await files.get(b"empty/a/file"), b"a/file data", "data in the directory")


@check(needs="writable", contents=TREE)
async def exchange_swaps_any_two(files: Files) -> None:
    for path, new_path in (
        (b"f", b"g"),
        (b"f", b"a/file"),
        (b"f", b"full"),
        (b"a/b", b"f"),
        (b"full", b"a"),
        (b"empty", b"full"),
        (b"g", b"g"),
    ):
        one, two = await files.node(path), await files.node(new_path)
        await files.rename(path, new_path, EXCHANGE)
        what = f"after exchanging {path!r} and {new_path!r}"
        equal((await files.node(path)).number, two.number, f"first name's number {what}")
        equal((await files.node(new_path)).number, one.number, f"second name's number {what}")
        await files.rename(path, new_path, EXCHANGE)
        equal(await files.get(b"f"), b"f data", f"data of f {what} and back")
        equal(await files.get(b"a/file"), b"a/file data", f"data of a/file {what} and back")
        equal(await files.get(b"full/x"), b"x data", f"data of full/x {what} and back")


@check(needs="writable", contents=TREE)
async def directory_links_follow_renames(files: Files) -> None:
    if (await files.stat(b"")).nlink == 1:
        return

    async def counts() -> tuple[int, ...]:
        return tuple([(await files.stat(path)).nlink for path in (b"", b"a", b"full")])

    equal(await counts(), (5, 3, 2), "links of the root, a and full")
    await files.rename(b"a/b", b"full/b")
    equal(await counts(), (5, 2, 3), "links after moving a directory")
    await files.rename(b"full/b", b"f", EXCHANGE)
    equal(await counts(), (6, 2, 2), "links after exchanging a directory and a file")
    await files.rename(b"f", b"empty")
    equal(await counts(), (5, 2, 2), "links after replacing a directory by a directory")
