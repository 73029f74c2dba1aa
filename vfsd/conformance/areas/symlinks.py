"""Checks of symlinks: stored as given, never followed."""

from __future__ import annotations

import errno
import stat as stat_module

from vfsd.conformance.check import check
from vfsd.conformance.contents import Directory, File, Symlink
from vfsd.conformance.expect import equal, raises, true
from vfsd.conformance.files import USER, Files
from vfsd.provider import PATH_MAX, SetAttr

TARGETS = (
    b"f",
    b"../up",
    b"/absolute/path",
    b"./a//b/../c/",
    b"not \xff UTF-8\n",
    b"missing",
    b".",
    b"/",
    b"t" * (PATH_MAX - 1),
)

_LINKS: dict[bytes, Symlink] = {
    b"l%d" % index: Symlink(target) for index, target in enumerate(TARGETS)
}


@check(contents={b"f": File(b"data"), b"d": Directory(), **_LINKS})
async def targets_are_kept_as_given(files: Files) -> None:
    for path, item in _LINKS.items():
        entry = await files.entry(path)
        true(stat_module.S_ISLNK(entry.stat.mode), f"{path!r} is a symlink")
        equal(entry.stat.size, len(item.target), f"size of {path!r}")
        equal(await files.readlink(path), item.target, f"target of {path!r}")


@check(contents={b"f": File(), b"d": Directory()})
async def readlink_of_others_is_einval(files: Files) -> None:
    for path in (b"f", b"d", b""):
        with raises(errno.EINVAL, what=f"readlink of {path!r}"):
            await files.readlink(path)


@check(contents={b"d/f": File(b"data"), b"l": Symlink(b"d")})
async def lookup_does_not_follow(files: Files) -> None:
    node = await files.node(b"l")
    with raises(errno.ENOTDIR, what="lookup below a symlink to a directory"):
        await files.provider.lookup(node, b"f")
    with raises(errno.ENOTDIR, what="readdir of a symlink to a directory"):
        await files.provider.readdir(node)


@check(needs="writable")
async def symlink_belongs_to_its_maker(files: Files) -> None:
    entry = await Files(files.provider, USER).symlink(b"l", b"target")
    equal(entry.stat.mode, 0o120777, "mode")
    equal((entry.stat.uid, entry.stat.gid), (USER.uid, USER.gid), "owner")
    equal((entry.stat.size, entry.stat.nlink), (6, 1), "size and links")
    found = await files.entry(b"l")
    equal((found.node.number, found.stat), (entry.node.number, entry.stat), "what lookup gives")


@check(needs="writable")
async def symlink_refuses_what_exists(files: Files) -> None:
    await files.put(b"f", b"data")
    await files.mkdir(b"d")
    await files.symlink(b"l", b"old")
    for path in (b"f", b"d", b"l"):
        with raises(errno.EEXIST, what=f"symlink at {path!r}"):
            await files.symlink(path, b"new")
    equal(await files.readlink(b"l"), b"old", "target of the existing symlink")


@check(needs="writable")
async def unlink_of_symlink_keeps_its_target(files: Files) -> None:
    await files.put(b"f", b"data")
    await files.mkdir(b"d")
    await files.symlink(b"lf", b"f")
    await files.symlink(b"ld", b"d")
    with raises(errno.ENOTDIR, what="rmdir of a symlink to a directory"):
        await files.rmdir(b"ld")
    await files.unlink(b"lf")
    await files.unlink(b"ld")
    equal(await files.names(), [b"d", b"f"], "names")
    equal(await files.get(b"f"), b"data", "data of the target")


@check(needs="writable")
async def rename_moves_the_symlink_itself(files: Files) -> None:
    await files.put(b"f", b"data")
    await files.symlink(b"l", b"f")
    await files.rename(b"l", b"m")
    equal(await files.readlink(b"m"), b"f", "target after a rename")
    await files.put(b"g", b"other")
    await files.rename(b"g", b"m")
    equal(await files.get(b"m"), b"other", "a file replaces the symlink")
    equal(await files.get(b"f"), b"data", "not its target")


@check(needs="writable")
async def symlink_has_its_own_owner_and_times(files: Files) -> None:
    await files.put(b"f", b"data")
    before = await files.stat(b"f")
    await files.symlink(b"l", b"f")
    stat = await files.setattr(b"l", SetAttr(uid=5, gid=6, atime_ns=7, mtime_ns=8))
    equal((stat.uid, stat.gid, stat.atime_ns, stat.mtime_ns), (5, 6, 7, 8), "of the symlink")
    equal(await files.stat(b"f"), before, "attributes of the target")
    with raises(errno.EINVAL, what="size of a symlink"):
        await files.setattr(b"l", SetAttr(size=0))
    equal(await files.readlink(b"l"), b"f", "target after that")
