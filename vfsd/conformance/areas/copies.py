"""Checks of `put_copy`, where a provider has it: a whole file at once, or nothing changed."""

from __future__ import annotations

from vfsd.conformance.check import check
from vfsd.conformance.contents import Contents, Directory, File
from vfsd.conformance.expect import NotApplicable, equal
from vfsd.conformance.files import Files
from vfsd.provider import FileCopy, Stat

PLACES: Contents = {b"work": Directory(), b"d": Directory(), b"d/taken": File(b"taken")}
_STAT = Stat(0o104751, 1, 0, 0, 0, 9, 8, 1_234_567_891, 987_654_321_012_345_678, 5)


async def _put(files: Files, name: bytes, copy: FileCopy) -> bool:
    """Put the copy into ``d``; say whether that was done. What is open can be written."""
    spare = (await files.node(b"work"), b"spare")
    made = await files.provider.put_copy(await files.node(b"d"), name, copy, spare, sync=False)
    equal(await files.names(b"work"), [], "what is left where the file may be made first")
    if made is None:
        return False
    entry, handle = made
    equal(entry.node.number, (await files.node(b"d/" + name)).number, "number of what was put")
    equal(await handle.write(2, b"!"), 1, "bytes written to what was put")
    await handle.release()
    return True


@check(needs="writable", contents=PLACES)
async def a_copy_is_the_whole_file_it_was_made_from(files: Files) -> None:
    owner = await files.stat(b"d/taken")
    kept = ((b"user.one", b"1"), (b"user.two", b"\0\xff")) if files.traits.xattrs else ()
    stat = _STAT._replace(uid=owner.uid, gid=owner.gid)
    before = await files.stat(b"d")
    spare = (await files.node(b"work"), b"spare")
    made = await files.provider.put_copy(
        await files.node(b"d"), b"new", FileCopy(stat, b"some data", kept), spare, sync=False
    )
    if made is None:
        raise NotApplicable("the provider makes copies step by step")
    found = await files.stat(b"d/new")
    await made[1].release()
    equal(found[:7], (*stat[:6], found.blocks), "mode, links, owner and size")
    equal((found.atime_ns, found.mtime_ns), (stat.atime_ns, stat.mtime_ns), "times")
    equal(await files.get(b"d/new"), b"some data", "data")
    after = await files.stat(b"d")
    equal(after.mtime_ns, before.mtime_ns, "mtime of the directory")
    node = await files.node(b"d/new")
    for name, value in kept:
        equal(await files.provider.getxattr(node, name), value, f"value of {name!r}")
    equal(await files.names(b"d"), [b"new", b"taken"], "names")
    equal(await files.names(b"work"), [], "what is left where the file may be made first")


@check(needs="writable", contents=PLACES)
async def a_copy_can_be_written_by_who_put_it(files: Files) -> None:
    owner = await files.stat(b"d/taken")
    stat = _STAT._replace(mode=0o100400, uid=owner.uid, gid=owner.gid)
    if not await _put(files, b"new", FileCopy(stat, b"some data", ())):
        raise NotApplicable("the provider makes copies step by step")
    equal(await files.get(b"d/new"), b"so!e data", "data")


@check(needs="writable", contents=PLACES)
async def a_copy_takes_no_other_files_name(files: Files) -> None:
    before = await files.stat(b"d")
    equal(await _put(files, b"taken", FileCopy(_STAT, b"some data", ())), False, "put at a name")
    equal(await files.get(b"d/taken"), b"taken", "data of what stands there")
    equal((await files.stat(b"d")).mtime_ns, before.mtime_ns, "mtime of the directory")


@check(needs="writable xattrs", contents=PLACES)
async def a_copy_that_cannot_be_whole_is_not_made(files: Files) -> None:
    before = await files.stat(b"d")
    odd = FileCopy(_STAT, b"some data", ((b"user.one", b"1"), (b"nonsense", b"2")))
    equal(await _put(files, b"new", odd), False, "put with an attribute that cannot be had")
    equal(await files.names(b"d"), [b"taken"], "names")
    equal((await files.stat(b"d")).mtime_ns, before.mtime_ns, "mtime of the directory")
