"""Copy-up: bringing a file of the lowers into the upper before it is changed.

A copy has the file's mode, owner, times, attributes and data (holes stay holes), and notes the
file's number (origin.py). It is made in the work directory and renamed into place, so that a
crash or a cancellation leaves the old file. The directories on the way are brought up first,
each in the same manner; a directory's times do not change by what is brought up into it.

Who is not root cannot give files away: the copy then belongs to the user who runs the daemon.

Concurrency: the overlay's turn is held. While data is copied a cancellation is let through; a large
file's is copied before the turn is taken, where that can be (ahead.py).

Source: fs/overlayfs/copy_up.c.
"""

from __future__ import annotations

import errno
import logging
import stat as stat_module
from collections.abc import Sequence

import trio

from providers.overlay import hardlinks, marks
from providers.overlay.ahead import Ahead, check_small
from providers.overlay.copydata import Staged, make_file, open_source, xattrs_of
from providers.overlay.layers import Below
from providers.overlay.nodes import OverlayNode
from providers.overlay.onestep import put_at_once
from providers.overlay.origin import origin_note
from providers.overlay.union import Union
from providers.overlay.upper import ROOT, Upper
from vfsd.errors import fail
from vfsd.provider import Entry, Handle, Identity, Node, Provider, SetAttr, Stat

log = logging.getLogger(__name__)

NOREPLACE = 1
SETID = stat_module.S_ISUID | stat_module.S_ISGID
UNKEPT = (errno.EOPNOTSUPP, errno.EPERM)


async def upper_directory(union: Union, node: OverlayNode, name: bytes) -> Node:
    """Return the directory's place in the upper, to do something at `name`, and at no other.

    It and those above it are brought up.
    """
    if node.epoch != union.epoch:
        union.refresh(node)
    if node.upper is None:
        await _bring_up_directory(union, node)
    upper: Node | None = node.upper
    assert upper is not None
    node.touched(name)
    return upper


async def _bring_up_directory(union: Union, node: OverlayNode) -> None:
    missing: list[OverlayNode] = []
    current: OverlayNode | None = node
    while current is not None and current.upper is None:
        missing.append(current)
        current = current.parent
        if current is not None:
            union.refresh(current)
    for each in reversed(missing):
        await bring_up(union, each)


async def bring_up(
    union: Union, node: OverlayNode, *, limit_bytes: int | None = None, ahead: Ahead | None = None
) -> Node:
    """Return the file's place in the upper; it is copied there unless it is there already.

    Of its data only the first `limit_bytes` are wanted; `ahead` may have them, and without one
    a large file is not copied (`LargeBelow`). ESTALE, ENOSPC, EIO.
    """
    upper = union.need_upper()
    union.refresh(node)
    if node.upper is not None:
        return node.upper
    if not node.below:
        raise fail(errno.ESTALE)
    source = node.below[0]
    # A file that is open is reached without its name, for its attributes and all the rest.
    origin = None if ahead is None else ahead.take_origin(source)
    if origin is None and limit_bytes != 0:
        origin = await open_source(node, source)
    try:
        if origin is None:
            stat = await source.layer.provider.getattr(source.node)
        else:
            stat = await origin.getattr()
        stat = union.shown(node, stat)
        if ahead is None:
            check_small(upper, node, stat)
        if stat.nlink == 0:
            node.removed = True
        in_lower = node is not union.root and node.parent is not None and not node.removed
        if in_lower:
            assert node.parent is not None
            await upper_directory(union, node.parent, node.name)
            if origin is not None and limit_bytes is None:
                handle = await put_at_once(union, node, source, origin, stat)
                if handle is not None:
                    read, origin = origin, None
                    await read.release()
                    if ahead is None or not ahead.hand_on(handle):
                        await handle.release()
                    assert node.upper is not None
                    return node.upper
        staged = None if ahead is None else ahead.take_staged(stat)
        stage = upper.stage() if staged is None else staged.stage
        try:
            copy = await _staged(
                union, upper, stage, node, source, origin, stat, limit_bytes, staged, ahead
            )
            if origin is not None:
                read, origin = origin, None
                await read.release()
            await _publish(union, upper, stage, node, copy, stat)
        except BaseException:
            with trio.CancelScope(shield=True):
                await upper.discard(stage)
            raise
    except BaseException:
        if origin is not None:
            with trio.CancelScope(shield=True):
                await origin.release()
        raise
    union.brought_up(node, copy)
    return copy


async def _publish(
    union: Union, upper: Upper, stage: bytes, node: OverlayNode, copy: Node, stat: Stat
) -> None:
    """Put the finished copy where it belongs."""
    provider = upper.provider
    if node is union.root:
        await provider.rename(upper.work, stage, upper.layers, b"%d" % upper.number, NOREPLACE)
        upper.root = copy
        return
    # The last name of a file that lost the one it was known by is found by the index, too.
    elsewhere = stat.nlink > 1 or (node.parent is None and not node.removed)
    if not node.is_directory and elsewhere:
        if await hardlinks.index_copy(union, upper, stage, node, copy, stat.nlink):
            return
    elif node.removed:
        # Nameless from here on; it lives while it is open or kept (provider.py, `_keeps`).
        union.nodes.brought_up(node, copy)
        await provider.unlink(upper.work, stage)
        return
    if node.parent is None:
        raise fail(errno.ESTALE)
    name = node.name  # who looks may find it under another one meanwhile
    parent = await upper_directory(union, node.parent, name)
    before = await provider.getattr(parent)
    try:
        await provider.rename(upper.work, stage, parent, name, NOREPLACE)
    except FileExistsError:
        raise fail(errno.ESTALE, name) from None
    await keep_times(provider, parent, before)


async def keep_times(provider: Provider, directory: Node, before: Stat) -> None:
    """Set a directory's times back to what they were."""
    times = SetAttr(atime_ns=before.atime_ns, mtime_ns=before.mtime_ns)
    await provider.setattr(directory, times, ROOT)


async def _staged(
    union: Union,
    upper: Upper,
    stage: bytes,
    node: OverlayNode,
    source: Below,
    origin: Handle | None,
    stat: Stat,
    limit_bytes: int | None,
    staged: Staged | None,
    ahead: Ahead | None,
) -> Node:
    """Make the whole copy in the work directory; `staged` has its data already."""
    provider, work = upper.provider, upper.work
    owner = Identity(stat.uid, stat.gid)
    kind = node.kind
    entry: Entry
    if kind == stat_module.S_IFREG:
        if staged is None:
            cancellable = union.turn.cancellable
            staged = await make_file(
                union, upper, stage, source, origin, stat, limit_bytes, cancellable
            )
        try:
            # While both are open: files of the host are then reached without their names.
            kept = await xattrs_of(source)
            await _copy_attributes(union, provider, node, kept, stat, staged.entry)
        except BaseException:
            await staged.handle.release()  # where it may suspend, the turn shields it
            raise
        if ahead is None or not ahead.hand_on(staged.handle):
            await staged.handle.release()
        return staged.entry.node
    if kind == stat_module.S_IFDIR:
        entry = await provider.mkdir(work, stage, stat.mode & 0o7777, owner)
    elif kind == stat_module.S_IFLNK:
        target = await source.layer.provider.readlink(source.node)
        entry = await provider.symlink(work, stage, target, owner)
    else:
        entry = await provider.mknod(work, stage, stat.mode, stat.rdev, owner)
    await _copy_attributes(union, provider, node, await xattrs_of(source), stat, entry)
    return entry.node


async def _copy_attributes(
    union: Union,
    provider: Provider,
    node: OverlayNode,
    kept: Sequence[tuple[bytes, bytes]],
    stat: Stat,
    made: Entry,
) -> None:
    copy = made.node
    if (made.stat.uid, made.stat.gid) != (stat.uid, stat.gid):
        try:
            await provider.setattr(copy, SetAttr(uid=stat.uid, gid=stat.gid), ROOT)
        except PermissionError:
            log.debug("a copy belongs to this user: only root may give files away")
    for name, value in kept:
        await _copy_xattr(provider, copy, name, value)
    if node is not union.root:
        note = origin_note(node.number)
        try:
            await provider.setxattr(copy, union.flavour.named(marks.OWN), note)
        except OSError as error:
            # A symlink or a FIFO takes no user attributes: its number changes after a restart.
            if error.errno not in UNKEPT:
                raise
    changes = SetAttr(atime_ns=stat.atime_ns, mtime_ns=stat.mtime_ns)
    # Writing took setuid and setgid away, whatever the mode was when the file was made.
    lost = node.kind == stat_module.S_IFREG and stat.mode & SETID
    if node.kind != stat_module.S_IFLNK and (lost or stat.mode != made.stat.mode):
        changes = changes._replace(mode=stat.mode & 0o7777)
    await provider.setattr(copy, changes, ROOT)


async def _copy_xattr(provider: Provider, copy: Node, name: bytes, value: bytes) -> None:
    try:
        await provider.setxattr(copy, name, value)
    except OSError as error:
        # What the upper has no place for, or only root may set; a user's own must not get lost.
        if name.startswith(b"user.") or error.errno not in UNKEPT:
            raise
