"""Checks of `unlink` and `rmdir`, and of files that are open without a name."""

from __future__ import annotations

import errno
import os

from vfsd.conformance.check import check
from vfsd.conformance.contents import Directory, File, Symlink
from vfsd.conformance.expect import equal, raises, true
from vfsd.conformance.files import Files, read_all, releasing
from vfsd.provider import SetAttr


@check(needs="writable", contents={b"f": File(b"data"), b"g": File(b"other")})
async def unlink_removes_one_name(files: Files) -> None:
    await files.unlink(b"f")
    equal(await files.names(), [b"g"], "names")
    with raises(errno.ENOENT, what="lookup after unlink"):
        await files.entry(b"f")
    with raises(errno.ENOENT, what="unlink for the second time"):
        await files.unlink(b"f")


@check(needs="writable", contents={b"d": Directory(), b"d/x": File(), b"e": Directory()})
async def unlink_of_directory_is_eisdir(files: Files) -> None:
    for path in (b"d", b"e"):
        with raises(errno.EISDIR, what=f"unlink of the directory {path!r}"):
            await files.unlink(path)
    equal(await files.names(b"d"), [b"x"], "names in the directory")


@check(needs="writable", contents={b"d": Directory(), b"f": File(b"data")})
async def rmdir_removes_empty_directories_only(files: Files) -> None:
    await files.rmdir(b"d")
    with raises(errno.ENOENT, what="rmdir for the second time"):
        await files.rmdir(b"d")
    with raises(errno.ENOTDIR, what="rmdir of a file"):
        await files.rmdir(b"f")
    equal(await files.get(b"f"), b"data", "data of the file")


@check(needs="writable", contents={b"a/f": File(b"data"), b"b/sub": Directory()})
async def rmdir_of_full_directory_is_enotempty(files: Files) -> None:
    for path in (b"a", b"b"):
        with raises(errno.ENOTEMPTY, what=f"rmdir of {path!r}"):
            await files.rmdir(path)
    equal(await files.get(b"a/f"), b"data", "data of the file in it")
    await files.unlink(b"a/f")
    await files.rmdir(b"a")
    equal(await files.names(), [b"b"], "names")


@check(needs="writable", contents={b"f": File()})
async def nothing_is_removed_below_a_file(files: Files) -> None:
    node = await files.node(b"f")
    with raises(errno.ENOTDIR, errno.ENOENT, what="unlink below a file"):
        await files.provider.unlink(node, b"x")
    with raises(errno.ENOTDIR, errno.ENOENT, what="rmdir below a file"):
        await files.provider.rmdir(node, b"x")


@check(
    needs="writable",
    contents={
        **{b"d/%d" % number: File(b"data") for number in range(300)},
        **{b"d/full/deep/f": File(), b"d/empty": Directory(), b"d/\xff \n": File()},
        **{b"beside/f": File(b"kept"), b"beside/empty": Directory()},
    },
)
async def clear_leaves_a_directory_that_is_empty(files: Files) -> None:
    held = await files.entry(b"d/7")
    async with files.opened(b"d/8") as handle:
        await files.provider.clear(await files.node(b"d"))
        equal(await files.names(b"d"), [], "names in what was cleared")
        equal(await read_all(handle), b"data", "data of what is open")
        equal((await handle.getattr()).nlink, 0, "links of what is open")
    with raises(errno.ESTALE, what="getattr of what was cleared away"):
        await files.provider.getattr(held.node)
    await files.provider.clear(await files.node(b"d"))
    await files.rmdir(b"d")
    equal(await files.names(b"beside"), [b"empty", b"f"], "names in the directory beside it")
    with raises(errno.ENOTDIR, what="clearing a file"):
        await files.provider.clear(await files.node(b"beside/f"))
    equal(await files.get(b"beside/f"), b"kept", "data of the file")


@check(
    needs="writable",
    contents={b"d/to": Symlink(b"../beside"), b"beside/f": File(b"kept")},
)
async def clear_follows_no_symlink(files: Files) -> None:
    await files.provider.clear(await files.node(b"d"))
    equal(await files.names(), [b"beside", b"d"], "names")
    equal(await files.names(b"d"), [], "names in what was cleared")
    equal(await files.get(b"beside/f"), b"kept", "data of what the link led to")


@check(needs="writable")
async def unlinked_file_lives_in_its_handle(files: Files) -> None:
    await files.put(b"f", b"data")
    async with files.opened(b"f", os.O_RDWR) as handle:
        await files.unlink(b"f")
        equal((await handle.getattr()).nlink, 0, "links through the handle")
        equal(await read_all(handle), b"data", "data after unlink")
        equal(await handle.write(4, b" and more"), 9, "bytes written after unlink")
        equal(await read_all(handle), b"data and more", "data written after unlink")
        equal(await files.names(), [], "names")


@check(needs="writable")
async def unlinked_node_works_while_open(files: Files) -> None:
    node = (await files.put(b"f", b"data")).node
    async with files.opened(b"f", os.O_RDWR) as handle:
        await files.unlink(b"f")
        stat = await files.provider.getattr(node)
        equal((stat.nlink, stat.size), (0, 4), "links and size through the node")
        stat = await files.provider.setattr(node, SetAttr(size=2, mode=0o600), files.caller)
        equal((stat.size, stat.mode), (2, 0o100600), "what setattr returns after unlink")
        equal(await handle.getattr(), stat, "attributes through the handle")
        second = await files.provider.open(node, os.O_RDONLY, files.caller)
        async with releasing(second):
            equal(await read_all(second), b"da", "data through a later handle")


@check(needs="writable")
async def unlinked_file_survives_until_the_last_handle(files: Files) -> None:
    await files.put(b"f", b"data")
    async with files.opened(b"f") as first:
        async with files.opened(b"f") as second:
            await files.unlink(b"f")
            equal(await read_all(second), b"data", "data through the second handle")
        equal(await read_all(first), b"data", "data after the second handle went")


@check(needs="writable")
async def removed_file_is_estale(files: Files) -> None:
    node = (await files.put(b"f", b"data")).node
    parent = (await files.mkdir(b"d")).node
    await files.unlink(b"f")
    await files.rmdir(b"d")
    with raises(errno.ESTALE, what="getattr of a file that is gone"):
        await files.provider.getattr(node)
    with raises(errno.ESTALE, what="open of a file that is gone"):
        await files.provider.open(node, os.O_RDONLY, files.caller)
    with raises(errno.ESTALE, errno.ENOENT, what="lookup in a directory that is gone"):
        await files.provider.lookup(parent, b"x")


@check(needs="writable")
async def new_file_of_the_same_name_is_another(files: Files) -> None:
    old = await files.put(b"f", b"old")
    async with files.opened(b"f") as handle:
        await files.unlink(b"f")
        new = await files.put(b"f", b"new")
        true(new.node.number != old.node.number, "the number is not used again while held")
        equal(await read_all(handle), b"old", "data through the old handle")
        equal(await files.get(b"f"), b"new", "data of the new file")
        equal((await handle.getattr()).nlink, 0, "links through the old handle")


@check(needs="writable")
async def numbers_held_are_not_used_again(files: Files) -> None:
    held = []
    for _ in range(50):
        held.append((await files.put(b"f")).node)
        await files.unlink(b"f")
        held.append((await files.mkdir(b"f")).node)
        await files.rmdir(b"f")
    numbers = {node.number for node in held}
    equal(len(numbers), len(held), "different files' different numbers")


@check(needs="writable")
async def tree_can_be_removed_while_listed(files: Files) -> None:
    for number in range(300):
        await files.put(b"%03d" % number)
    for name in await files.provider.readdir(files.root):
        await files.unlink(name)
    equal(await files.names(), [], "names at the end")
