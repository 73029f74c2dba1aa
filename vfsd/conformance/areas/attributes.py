"""Checks of `setattr`: what it changes, what it must leave, and setuid bits."""

from __future__ import annotations

import errno
import os

from vfsd.conformance.check import check
from vfsd.conformance.contents import Contents, Directory, File
from vfsd.conformance.expect import equal, raises
from vfsd.conformance.files import ROOT, USER, Files
from vfsd.provider import SetAttr, Stat

ONE: Contents = {b"f": File(b"0123456789", mode=0o644), b"d": Directory()}
_SECONDS = 1_000_000_000


@check(needs="writable", contents=ONE)
async def chmod_changes_permission_bits_only(files: Files) -> None:
    for path, kind in ((b"f", 0o100000), (b"d", 0o040000)):
        for mode in (0, 0o777, 0o4711, 0o2755, 0o1777, 0o7777, 0o600):
            before = await files.stat(path)
            after = await files.setattr(path, SetAttr(mode=mode))
            equal(after.mode, kind | mode, f"mode of {path!r}")
            equal(_but(after, "mode", "ctime_ns"), _but(before, "mode", "ctime_ns"), "the rest")
            equal(await files.stat(path), after, "what getattr gives then")
            equal((await files.entry(path)).stat, after, "what lookup gives then")


@check(needs="writable", contents=ONE)
async def chown_changes_what_is_given(files: Files) -> None:
    for path in (b"f", b"d"):
        stat = await files.setattr(path, SetAttr(uid=5))
        equal((stat.uid, stat.gid), (5, 0), f"owner of {path!r} after setting the uid")
        stat = await files.setattr(path, SetAttr(gid=6))
        equal((stat.uid, stat.gid), (5, 6), f"owner of {path!r} after setting the gid")
        stat = await files.setattr(path, SetAttr(uid=(1 << 32) - 2, gid=65534))
        equal((stat.uid, stat.gid), ((1 << 32) - 2, 65534), f"owner of {path!r} at the limits")


@check(needs="writable", contents=ONE)
async def times_are_kept_to_the_nanosecond(files: Files) -> None:
    for path in (b"f", b"d"):
        for atime, mtime in (
            (1, 2),
            (0, 0),
            (123_456_789 * _SECONDS + 987_654_321, 1_700_000_000 * _SECONDS + 1),
            (4_102_444_800 * _SECONDS + 999_999_999, 3),
        ):
            stat = await files.setattr(path, SetAttr(atime_ns=atime, mtime_ns=mtime))
            equal((stat.atime_ns, stat.mtime_ns), (atime, mtime), f"times of {path!r}")
        stat = await files.setattr(path, SetAttr(mtime_ns=77))
        equal(stat.mtime_ns, 77, "mtime set alone")
        equal(stat.atime_ns, 4_102_444_800 * _SECONDS + 999_999_999, "atime when mtime is set")
        stat = await files.setattr(path, SetAttr(atime_ns=78))
        equal((stat.atime_ns, stat.mtime_ns), (78, 77), "times when atime is set")


@check(needs="writable", contents=ONE)
async def several_changes_at_once(files: Files) -> None:
    changes = SetAttr(mode=0o751, uid=1, gid=2, size=3, atime_ns=4, mtime_ns=5)
    stat = await files.setattr(b"f", changes)
    equal((stat.mode, stat.uid, stat.gid, stat.size), (0o100751, 1, 2, 3), "mode, owner, size")
    equal((stat.atime_ns, stat.mtime_ns), (4, 5), "times")
    equal(await files.get(b"f"), b"012", "data")


@check(needs="writable", contents=ONE)
async def empty_setattr_changes_nothing(files: Files) -> None:
    before = await files.stat(b"f")
    after = await files.setattr(b"f", SetAttr())
    equal(_but(after, "ctime_ns"), _but(before, "ctime_ns"), "attributes")


@check(needs="writable", contents=ONE)
async def refused_setattr_changes_nothing(files: Files) -> None:
    before = await files.stat(b"d")
    with raises(errno.EISDIR, errno.EINVAL, what="size of a directory"):
        await files.setattr(b"d", SetAttr(mode=0o700, uid=9, size=0, mtime_ns=1))
    equal(await files.stat(b"d"), before, "attributes after the refusal")


@check(needs="writable", contents=ONE)
async def chown_clears_setuid_and_setgid(files: Files) -> None:
    for caller in (ROOT, USER):
        for changes in (SetAttr(uid=5), SetAttr(gid=6), SetAttr(uid=7, gid=8)):
            await files.setattr(b"f", SetAttr(mode=0o6755))
            stat = await files.setattr(b"f", changes, caller)
            equal(stat.mode, 0o100755, f"mode after {changes} by uid {caller.uid}")
    await files.setattr(b"f", SetAttr(mode=0o6755))
    stat = await files.setattr(b"f", SetAttr(uid=9, mode=0o6711))
    equal(stat.mode, 0o106711, "mode set together with the owner")


@check(needs="writable", contents=ONE)
async def chown_keeps_bits_of_directories(files: Files) -> None:
    await files.setattr(b"d", SetAttr(mode=0o3775))
    stat = await files.setattr(b"d", SetAttr(uid=5, gid=6))
    equal(stat.mode, 0o043775, "mode of a setgid, sticky directory")


@check(needs="writable", contents=ONE)
async def truncation_clears_setuid_unless_by_root(files: Files) -> None:
    await files.setattr(b"f", SetAttr(mode=0o6755))
    equal((await files.setattr(b"f", SetAttr(size=5), ROOT)).mode, 0o106755, "mode, by root")
    equal((await files.setattr(b"f", SetAttr(size=4), USER)).mode, 0o100755, "mode, by a user")


@check(needs="writable", contents=ONE)
async def write_clears_setuid_unless_by_root(files: Files) -> None:
    await files.setattr(b"f", SetAttr(mode=0o6755))
    async with files.opened(b"f", os.O_WRONLY, ROOT) as handle:
        await handle.write(0, b"x")
    equal((await files.stat(b"f")).mode, 0o106755, "mode after a write by root")
    async with files.opened(b"f", os.O_WRONLY, USER) as handle:
        await handle.write(0, b"x")
    equal((await files.stat(b"f")).mode, 0o100755, "mode after a write by a user")


@check(needs="writable", contents=ONE)
async def attributes_survive_rename(files: Files) -> None:
    before = await files.setattr(b"f", SetAttr(mode=0o751, uid=1, gid=2, atime_ns=3, mtime_ns=4))
    await files.rename(b"f", b"d/g")
    equal(_but(await files.stat(b"d/g"), "ctime_ns"), _but(before, "ctime_ns"), "attributes")


@check(needs="writable", contents=ONE)
async def root_has_attributes_too(files: Files) -> None:
    stat = await files.setattr(b"", SetAttr(mode=0o1777, uid=3, gid=4, mtime_ns=5))
    equal((stat.mode, stat.uid, stat.gid, stat.mtime_ns), (0o041777, 3, 4, 5), "of the root")
    equal(await files.provider.getattr(files.root), stat, "what getattr gives then")


def _but(stat: Stat, *names: str) -> dict[str, object]:
    return {key: value for key, value in stat._asdict().items() if key not in names}
