"""The data of a file that is copied up: what is read, and made in the work directory.

What this is *not*: the other attributes and the place of the copy (copyup.py).

Concurrency: each stage has one task that works on it; after an error or a cancellation that task
removes it.
"""

from __future__ import annotations

import errno
import logging
import os
import stat as stat_module
from collections.abc import Callable
from typing import NamedTuple

import trio

from providers.overlay import marks
from providers.overlay.layers import Below
from providers.overlay.nodes import OverlayNode
from providers.overlay.partial import PARTIAL_MIN_BYTES, partial_for, read_fully
from providers.overlay.union import Union
from providers.overlay.upper import ROOT, Upper
from vfsd.errors import fail
from vfsd.provider import Entry, Handle, Identity, Node, SetAttr, Stat

log = logging.getLogger(__name__)

CHUNK = 128 << 10
ZEROS = bytes(CHUNK)


class Staged(NamedTuple):
    """A regular file in the work directory that has its data; `handle` is open on it."""

    stage: bytes
    entry: Entry
    handle: Handle


async def open_source(node: OverlayNode, source: Below) -> Handle | None:
    """Open a regular file of a lower, to be copied; None for others, and what cannot be opened."""
    if node.kind != stat_module.S_IFREG:
        return None
    await check_not_metacopy(source)
    try:
        return await source.layer.provider.open(source.node, os.O_RDONLY, ROOT)
    except PermissionError:
        return None  # its attributes may be had all the same, and an empty file has nothing else


async def make_file(
    union: Union,
    upper: Upper,
    stage: bytes,
    source: Below,
    origin: Handle | None,
    stat: Stat,
    limit_bytes: int | None,
    cancellable: Callable[[bool], None],
) -> Staged:
    """Make the copy of a regular file with all data that is wanted, durable if need be.

    `cancellable` is told when data begins and ends to be copied. EACCES without `origin`, ENOSPC.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    owner = Identity(stat.uid, stat.gid)
    provider = upper.provider
    entry, handle = await provider.create(upper.work, stage, stat.mode & 0o777, flags, owner)
    size = stat.size if limit_bytes is None else min(stat.size, limit_bytes)
    try:
        if size:
            await _copy_data(union, upper, source, origin, size, entry.node, handle, cancellable)
        if upper.syncs and stat.size:
            # Or a power failure might leave the name, and not the data.
            await handle.fsync(datasync=True)
    except BaseException:
        with trio.CancelScope(shield=True):
            await handle.release()
        raise
    return Staged(stage, entry, handle)


async def _copy_data(
    union: Union,
    upper: Upper,
    source: Below,
    origin: Handle | None,
    size: int,
    copy: Node,
    target: Handle,
    cancellable: Callable[[bool], None],
) -> None:
    """Copy what there is of data, in chunks; all zeros are left out."""
    if upper.partial and size >= PARTIAL_MIN_BYTES:
        await upper.provider.setattr(copy, SetAttr(size=size), ROOT)
        union.partial[copy.number] = partial_for(source, size)
        return
    if origin is None:
        raise fail(errno.EACCES)
    cancellable(True)
    try:
        end = await copy_range(origin, target, 0, size)
    finally:
        cancellable(False)
    union.copied_bytes += size
    if end < size:
        await upper.provider.setattr(copy, SetAttr(size=size), ROOT)


async def copy_range(source: Handle, target: Handle, start: int, end: int) -> int:
    """Copy a range, without what is all zeros where the target has a hole.

    Return where the last that was written ends.
    """
    reached = start
    while start < end:
        piece = await read_fully(source, start, min(CHUNK, end - start))
        if not piece:
            break  # it shrank meanwhile; the rest reads as zeros
        if piece != ZEROS[: len(piece)]:
            done = 0
            while done < len(piece):
                done += await target.write(start + done, piece[done:])
            reached = start + done
        start += len(piece)
    return reached


async def xattrs_of(source: Below) -> list[tuple[bytes, bytes]]:
    """Return the attributes that go with a copy."""
    origin = source.layer.provider
    return [
        (name, await origin.getxattr(source.node, name))
        for name in await origin.listxattr(source.node)
        if not marks.is_mark(name)
    ]


async def check_not_metacopy(source: Below) -> None:
    """Raise EOPNOTSUPP for a file of which the layer has the attributes only."""
    layer = source.layer
    if layer.bottom or not layer.tag or not layer.provider.traits.xattrs:
        return
    if await marks.has(layer.provider, source.node, marks.METACOPY):
        log.error(
            "a lower layer of %s holds a file without its data (metacopy=on), which is not "
            "supported; copy the layer's files up with 'touch' before it is used",
            layer.provider.describe(),
        )
        raise fail(errno.EOPNOTSUPP)
