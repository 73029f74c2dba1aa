"""Verbs that change one file or name by path: mkdir, link, rename, setattr, xattrs, ...

Each keeps the rules of the tree that a door must keep (attach points are busy, links and
renames do not cross attachments), and tells what changed.

What it is *not*: many files at once or whole contents (placing.py, removing.py).

Concurrency: what a provider promises; a change is told before the next await.
"""

from __future__ import annotations

import errno
import stat as stat_module

from vfsd import provenance
from vfsd.attributes import PATH_MAX, SetAttr
from vfsd.control.pathverbs import (
    Link,
    MakeDirectory,
    MakeNode,
    MakeSymlink,
    RemoveDirectory,
    RemoveXattr,
    Rename,
    SetAttributes,
    SetXattr,
    Truncate,
    Unlink,
)
from vfsd.control.work import Work, record
from vfsd.errors import fail
from vfsd.tree import Place, check_same, split_path

XATTR_NAME_MAX = 255
"""Longest name of an extended attribute. Source: xattr(7)."""


async def mkdir(work: Work, verb: MakeDirectory) -> object:
    if not verb.parents:
        await _mkdir(work, verb.path, verb.mode & 0o7777)
        return None
    names = split_path(verb.path, keep_dots=True)
    for length in range(1, len(names) + 1):
        path = b"/".join(names[:length])
        try:
            _, entry = await work.tree.resolve(path)
        except FileNotFoundError:
            is_last = length == len(names)
            # One must be able to go on inside: mkdir -p does the same.
            await _mkdir(work, path, verb.mode & 0o7777 if is_last else verb.mode & 0o777 | 0o300)
            continue
        if not stat_module.S_ISDIR(entry.stat.mode):
            raise fail(errno.EEXIST if length == len(names) else errno.ENOTDIR, path)
    return None


async def _mkdir(work: Work, path: bytes, mode: int) -> None:
    parent, name = await work.tree.resolve_parent(path)
    await parent.attachment.provider.mkdir(parent.node, name, mode, work.caller)
    work.edits.entry(parent, name)


async def mknod(work: Work, verb: MakeNode) -> object:
    mode = verb.mode if stat_module.S_IFMT(verb.mode) else verb.mode | stat_module.S_IFREG
    if stat_module.S_ISDIR(mode) or stat_module.S_ISLNK(mode):
        raise fail(errno.EINVAL, verb.path)
    parent, name = await work.tree.resolve_parent(verb.path)
    await parent.attachment.provider.mknod(parent.node, name, mode, verb.rdev, work.caller)
    work.edits.entry(parent, name)
    return None


async def symlink(work: Work, verb: MakeSymlink) -> object:
    check_target(verb.target)
    parent, name = await work.tree.resolve_parent(verb.path)
    await parent.attachment.provider.symlink(parent.node, name, verb.target, work.caller)
    work.edits.entry(parent, name)
    return None


def check_target(target: bytes) -> None:
    """Raise what `symlink(2)` does for a target that cannot be one."""
    if not target:
        raise fail(errno.ENOENT)
    if b"\0" in target:
        raise fail(errno.EINVAL)
    if len(target) >= PATH_MAX:
        raise fail(errno.ENAMETOOLONG)


async def link(work: Work, verb: Link) -> object:
    source, entry = await work.tree.resolve(verb.source, follow=False)
    parent, name = await work.tree.resolve_parent(verb.target)
    check_same(source.attachment, parent.attachment)
    if stat_module.S_ISDIR(entry.stat.mode):
        raise fail(errno.EPERM, verb.source)
    await parent.attachment.provider.link(source.node, parent.node, name)
    work.edits.entry(parent, name)
    work.edits.attributes(source)
    return None


async def unlink(work: Work, verb: Unlink) -> object:
    parent, name = await work.tree.resolve_parent(verb.path)
    parent.attachment.check_unpinned(parent.node, name)
    entry = await parent.attachment.provider.lookup(parent.node, name)
    await parent.attachment.provider.unlink(parent.node, name)
    work.edits.entry(parent, name)
    work.edits.attributes(Place(parent.attachment, entry.node))
    return None


async def rmdir(work: Work, verb: RemoveDirectory) -> object:
    parent, name = await work.tree.resolve_parent(verb.path)
    with parent.attachment.leaving((parent.node, name)):
        entry = await parent.attachment.provider.lookup(parent.node, name)
        await parent.attachment.provider.rmdir(parent.node, name)
    work.edits.entry(parent, name)
    work.edits.attributes(Place(parent.attachment, entry.node))
    return None


async def rename(work: Work, verb: Rename) -> object:
    source, name = await work.tree.resolve_parent(verb.source)
    target, new_name = await work.tree.resolve_parent(verb.target)
    check_same(source.attachment, target.attachment)
    provider = source.attachment.provider
    with source.attachment.leaving((source.node, name), (target.node, new_name)):
        moved = await provider.lookup(source.node, name)
        try:
            replaced = await provider.lookup(target.node, new_name)
        except FileNotFoundError:
            replaced = None
        await provider.rename(source.node, name, target.node, new_name, verb.flags)
    work.edits.entry(source, name)
    work.edits.entry(target, new_name)
    for entry in (moved, replaced):
        if entry is not None:
            work.edits.attributes(Place(source.attachment, entry.node))
    return None


async def setattr_(work: Work, verb: SetAttributes) -> object:
    place, _ = await work.tree.resolve(verb.path, follow=verb.follow)
    mode = None if verb.mode is None else verb.mode & 0o7777
    changes = SetAttr(mode, verb.uid, verb.gid, verb.size, verb.atime_ns, verb.mtime_ns)
    attributes = await place.attachment.provider.setattr(place.node, changes, work.caller)
    if verb.size is None:
        work.edits.attributes(place)
    else:
        work.edits.data(place)
    return record(place, place.node, attributes)


async def truncate(work: Work, verb: Truncate) -> object:
    return await setattr_(work, SetAttributes(verb.path, size=verb.size))


async def setxattr(work: Work, verb: SetXattr) -> object:
    if not 0 < len(verb.name) <= XATTR_NAME_MAX:
        raise fail(errno.ERANGE, verb.path)
    if b"\0" in verb.name:
        raise fail(errno.EINVAL, verb.path)
    place, _ = await work.tree.resolve(verb.path, follow=verb.follow)
    await provenance.setxattr(place.attachment, place.node, verb.name, verb.value)
    work.edits.attributes(place)
    return None


async def removexattr(work: Work, verb: RemoveXattr) -> object:
    place, _ = await work.tree.resolve(verb.path, follow=verb.follow)
    await provenance.removexattr(place.attachment, place.node, verb.name)
    work.edits.attributes(place)
    return None
