"""Checks of `create`, `open`, `mknod` and `mkdir`: what is made, for whom, and the refusals."""

from __future__ import annotations

import errno
import os
import stat as stat_module

from vfsd.conformance.check import check
from vfsd.conformance.contents import Directory, File
from vfsd.conformance.expect import equal, optional, raises, true
from vfsd.conformance.files import USER, Files, releasing
from vfsd.provider import SetAttr

_NEW = os.O_RDWR | os.O_CREAT
_EXCLUSIVE = _NEW | os.O_EXCL


@check(needs="writable")
async def create_makes_an_empty_file_of_the_caller(files: Files) -> None:
    theirs = Files(files.provider, USER)
    entry, handle = await theirs.create(b"f", _EXCLUSIVE, 0o640)
    async with releasing(handle):
        stat = entry.stat
        equal(stat.mode, 0o100640, "mode")
        equal((stat.uid, stat.gid), (USER.uid, USER.gid), "owner")
        equal((stat.size, stat.nlink), (0, 1), "size and links")
        found = await files.entry(b"f")
        equal(found.node.number, entry.node.number, "number that lookup gives")
        equal(found.stat, stat, "attributes that lookup gives")
        equal(await handle.write(0, b"x"), 1, "the handle writes")
        equal(bytes(await handle.read(0, 9)), b"x", "the handle reads")


@check(needs="writable")
async def create_opens_what_exists(files: Files) -> None:
    before = await files.put(b"f", b"data", 0o600)
    entry, handle = await files.create(b"f", _NEW, 0o777)
    async with releasing(handle):
        equal(entry.node.number, before.node.number, "number")
        equal(entry.stat.mode, 0o100600, "mode of the existing file")
        equal(bytes(await handle.read(0, 9)), b"data", "data")
    entry, handle = await files.create(b"f", _NEW | os.O_TRUNC)
    async with releasing(handle):
        equal((await handle.getattr()).size, 0, "size after create with O_TRUNC")


@check(needs="writable")
async def create_exclusive_refuses_what_exists(files: Files) -> None:
    await files.put(b"f", b"data")
    await files.mkdir(b"d")
    for name in (b"f", b"d"):
        with raises(errno.EEXIST, what=f"exclusive create of {name!r}"):
            _, handle = await files.create(name, _EXCLUSIVE | os.O_TRUNC)
            await handle.release()
    equal(await files.get(b"f"), b"data", "data after the refusal")


@check(needs="writable")
async def create_exclusive_refuses_a_symlink(files: Files) -> None:
    await files.symlink(b"l", b"nowhere")
    with raises(errno.EEXIST, what="exclusive create over a dangling symlink"):
        _, handle = await files.create(b"l", _EXCLUSIVE)
        await handle.release()
    equal(await files.names(), [b"l"], "names")


@check(needs="writable")
async def create_over_directory_is_eisdir(files: Files) -> None:
    await files.mkdir(b"d")
    with raises(errno.EISDIR, what="create of an existing directory's name"):
        _, handle = await files.create(b"d", _NEW)
        await handle.release()


@check(needs="writable")
async def nothing_is_made_below_a_file(files: Files) -> None:
    node = (await files.put(b"f")).node
    provider, caller = files.provider, files.caller
    with raises(errno.ENOTDIR, what="create below a file"):
        await provider.create(node, b"x", 0o644, _NEW, caller)
    with raises(errno.ENOTDIR, what="mkdir below a file"):
        await provider.mkdir(node, b"x", 0o755, caller)


@check(needs="writable")
async def nothing_is_made_in_a_removed_directory(files: Files) -> None:
    node = (await files.mkdir(b"d")).node
    await files.rmdir(b"d")
    provider, caller = files.provider, files.caller
    gone = (errno.ENOENT, errno.ESTALE)
    with raises(*gone, what="create in a removed directory"):
        await provider.create(node, b"x", 0o644, _NEW, caller)
    with raises(*gone, what="mkdir in a removed directory"):
        await provider.mkdir(node, b"x", 0o755, caller)
    with raises(*gone, what="lookup in a removed directory"):
        await provider.lookup(node, b"x")


@check(contents={b"d": Directory()})
async def open_of_directory_is_eisdir(files: Files) -> None:
    with raises(errno.EISDIR, what="open of a directory"):
        await files.provider.open(await files.node(b"d"), os.O_RDONLY, files.caller)


@check(contents={b"f": File(b"data")})
async def many_handles_at_a_time(files: Files) -> None:
    node = await files.node(b"f")
    handles = [await files.provider.open(node, os.O_RDONLY, files.caller) for _ in range(20)]
    for handle in handles[::2]:
        await handle.release()
    for handle in handles[1::2]:
        equal(bytes(await handle.read(0, 9)), b"data", "data through a handle that stays")
        await handle.release()


@check(needs="writable")
async def mknod_makes_a_regular_file(files: Files) -> None:
    entry = await files.mknod(b"f", stat_module.S_IFREG | 0o604)
    equal((entry.stat.mode, entry.stat.size), (0o100604, 0), "mode and size")
    equal(await files.get(b"f"), b"", "data")
    with raises(errno.EEXIST, what="mknod of an existing name"):
        await files.mknod(b"f", stat_module.S_IFREG | 0o644)


@check(needs="writable")
async def mknod_makes_special_files(files: Files) -> None:
    device = os.makedev(1, 3)
    for name, mode, rdev in (
        (b"fifo", stat_module.S_IFIFO | 0o600, 0),
        (b"socket", stat_module.S_IFSOCK | 0o755, 0),
        (b"char", stat_module.S_IFCHR | 0o666, device),
        (b"block", stat_module.S_IFBLK | 0o660, os.makedev(259, 70_000)),
        (b"whiteout", stat_module.S_IFCHR, 0),
    ):
        with optional(errno.EPERM, what=f"a special file ({name.decode()})"):
            entry = await files.mknod(name, mode, rdev)
        equal(entry.stat.mode, mode, f"mode of {name!r}")
        equal(entry.stat.rdev, rdev, f"device number of {name!r}")
        equal((await files.entry(name)).stat, entry.stat, f"attributes of {name!r}")
        with raises(errno.EINVAL, errno.ENXIO, what=f"size of {name!r}"):
            await files.setattr(name, SetAttr(size=1))
        with raises(errno.ENXIO, what=f"open of {name!r}"):
            await files.provider.open(entry.node, os.O_RDONLY, files.caller)
        await files.unlink(name)
    equal(await files.names(), [], "names at the end")


@check(needs="writable", contents={b"d": Directory(), b"f": File(b"data")})
async def put_whiteout_puts_it_at_a_free_name_only(files: Files) -> None:
    directory = await files.node(b"d")
    with optional(errno.EPERM, what="a special file (whiteout)"):
        await files.provider.put_whiteout(directory, b"gone")
    stat = await files.stat(b"d/gone")
    equal((stat.mode, stat.rdev, stat.nlink), (stat_module.S_IFCHR, 0, 1), "mode, device, links")
    equal(await files.names(b"d"), [b"gone"], "names")
    for name in (b"f", b"d"):
        with raises(errno.EEXIST, what=f"whiteout at {name!r}, which is taken"):
            await files.provider.put_whiteout(files.root, name)
    equal(await files.get(b"f"), b"data", "data of what is there")
    with raises(errno.ENOTDIR, errno.ENOENT, what="whiteout below a file"):
        await files.provider.put_whiteout(await files.node(b"f"), b"x")
    await files.unlink(b"d/gone")
    await files.rmdir(b"d")


@check(needs="writable")
async def mkdir_makes_a_directory_of_the_caller(files: Files) -> None:
    theirs = Files(files.provider, USER)
    links = (await files.stat(b"")).nlink
    entry = await theirs.mkdir(b"d", 0o1710)
    equal(entry.stat.mode, 0o041710, "mode")
    equal((entry.stat.uid, entry.stat.gid), (USER.uid, USER.gid), "owner")
    equal(await files.names(b"d"), [], "names in it")
    equal((await files.entry(b"d")).stat, entry.stat, "attributes that lookup gives")
    if links > 1:
        equal((await files.stat(b"")).nlink, links + 1, "links of the parent")
        await files.rmdir(b"d")
        equal((await files.stat(b"")).nlink, links, "links of the parent after rmdir")


@check(needs="writable", contents={b"f": File(b"data"), b"d/x": File()})
async def mkdir_refuses_what_exists(files: Files) -> None:
    for name in (b"f", b"d"):
        with raises(errno.EEXIST, what=f"mkdir of {name!r}"):
            await files.mkdir(name)
    equal(await files.get(b"f"), b"data", "data of the file")
    equal(await files.names(b"d"), [b"x"], "names in the directory")


@check(needs="writable")
async def setgid_directory_hands_down_its_group(files: Files) -> None:
    await files.mkdir(b"d")
    await files.setattr(b"d", SetAttr(gid=77))
    await files.setattr(b"d", SetAttr(mode=0o2775))
    theirs = Files(files.provider, USER)
    entry, handle = await theirs.create(b"d/f", _NEW, 0o644)
    await handle.release()
    equal((entry.stat.uid, entry.stat.gid), (USER.uid, 77), "owner of a file in it")
    equal(entry.stat.mode, 0o100644, "mode of a file in it")
    entry = await theirs.mkdir(b"d/sub", 0o755)
    equal((entry.stat.uid, entry.stat.gid), (USER.uid, 77), "owner of a directory in it")
    true(entry.stat.mode & stat_module.S_ISGID, "a directory in it is setgid")
