"""Checks of hard links."""

from __future__ import annotations

import errno
import os

from vfsd.conformance.check import check
from vfsd.conformance.contents import Directory, File, HardLink
from vfsd.conformance.expect import equal, raises, true
from vfsd.conformance.files import Files, read_all


@check(
    needs="hard_links",
    contents={b"a": File(b"data"), b"d": Directory(), b"d/b": HardLink(b"a"), b"c": File(b"data")},
)
async def links_of_contents_are_one_file(files: Files) -> None:
    one, two, other = [await files.entry(path) for path in (b"a", b"d/b", b"c")]
    equal(one.node.number, two.node.number, "number of both names")
    equal((one.stat.nlink, two.stat.nlink, other.stat.nlink), (2, 2, 1), "links")
    true(one.node.number != other.node.number, "equal data does not make one file")


@check(needs="writable hard_links")
async def link_gives_a_file_another_name(files: Files) -> None:
    before = await files.put(b"a", b"data")
    await files.mkdir(b"d")
    entry = await files.link(b"a", b"d/b")
    equal(entry.node.number, before.node.number, "number")
    equal(entry.stat.nlink, 2, "links")
    async with files.opened(b"a", os.O_WRONLY) as handle:
        await handle.write(0, b"DATA")
    equal(await files.get(b"d/b"), b"DATA", "data written through the other name")
    await files.unlink(b"a")
    equal((await files.stat(b"d/b")).nlink, 1, "links after unlink of the first name")
    equal(await files.get(b"d/b"), b"DATA", "data after unlink of the first name")


@check(needs="writable hard_links")
async def link_refuses_what_exists(files: Files) -> None:
    await files.put(b"a", b"a")
    await files.put(b"b", b"b")
    await files.mkdir(b"d")
    for target in (b"b", b"d", b"a"):
        with raises(errno.EEXIST, what=f"link to {target!r}"):
            await files.link(b"a", target)
    equal((await files.stat(b"a")).nlink, 1, "links after refusals")
    equal(await files.get(b"b"), b"b", "data of the other file")


@check(needs="writable hard_links")
async def link_of_directory_is_eperm(files: Files) -> None:
    await files.mkdir(b"d")
    with raises(errno.EPERM, what="link of a directory"):
        await files.link(b"d", b"e")


@check(needs="writable hard_links")
async def link_of_removed_file_is_enoent(files: Files) -> None:
    await files.put(b"a", b"data")
    node = await files.node(b"a")
    async with files.opened(b"a") as handle:
        await files.unlink(b"a")
        with raises(errno.ENOENT, what="link of a file without a name"):
            await files.provider.link(node, files.root, b"b")
        equal(await read_all(handle), b"data", "data through the handle")
    equal(await files.names(), [], "names")


@check(needs="writable hard_links")
async def link_into_removed_directory_is_enoent(files: Files) -> None:
    node = (await files.put(b"a")).node
    parent = (await files.mkdir(b"d")).node
    await files.rmdir(b"d")
    with raises(errno.ENOENT, errno.ESTALE, what="link into a removed directory"):
        await files.provider.link(node, parent, b"b")
    equal((await files.stat(b"a")).nlink, 1, "links after the refusal")


@check(needs="writable hard_links")
async def rename_between_links_does_nothing(files: Files) -> None:
    await files.put(b"a", b"data")
    await files.mkdir(b"d")
    await files.link(b"a", b"d/b")
    await files.rename(b"a", b"d/b")
    equal((await files.names(), await files.names(b"d")), ([b"a", b"d"], [b"b"]), "names")
    equal((await files.stat(b"a")).nlink, 2, "links")


@check(needs="writable hard_links")
async def rename_over_a_link_drops_only_that_name(files: Files) -> None:
    await files.put(b"a", b"old")
    await files.link(b"a", b"b")
    await files.put(b"new", b"new")
    await files.rename(b"new", b"a")
    equal(await files.get(b"a"), b"new", "data of the replaced name")
    equal(await files.get(b"b"), b"old", "data of the other name")
    equal((await files.stat(b"b")).nlink, 1, "links of the other name")


@check(needs="writable hard_links")
async def symlink_can_be_linked(files: Files) -> None:
    await files.symlink(b"l", b"target")
    await files.link(b"l", b"m")
    await files.unlink(b"l")
    equal(await files.readlink(b"m"), b"target", "target through the second name")


@check(needs="writable", lacks="hard_links")
async def link_without_the_trait_is_eperm(files: Files) -> None:
    await files.put(b"a", b"data")
    with raises(errno.EPERM, what="link without the trait hard_links"):
        await files.link(b"a", b"b")
    equal(await files.names(), [b"a"], "names")
