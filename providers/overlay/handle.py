"""An open file of the merged tree, which follows its file when that is copied up.

Opened before a copy-up, it reads what is written after it: unlike with the kernel's overlayfs,
a reader never goes on seeing the lower's old content. Opened before a seal, it goes on in the
live tree: the first write after the seal copies the file up into the new layer.

Concurrency: as many calls at a time as callers make. Reads and writes of large files that are
copied up range by range take the overlay's turn.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module

from providers.overlay.ahead import Ahead
from providers.overlay.copydata import check_not_metacopy
from providers.overlay.copyup import bring_up
from providers.overlay.nodes import OverlayNode
from providers.overlay.partial import Partial, read_fully, read_mixed
from providers.overlay.union import Union
from providers.overlay.upper import ROOT
from vfsd.errors import fail
from vfsd.provider import Caller, Handle, Identity, Stat

WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_TRUNC | os.O_APPEND
KEPT_FLAGS = os.O_ACCMODE | os.O_APPEND | os.O_SYNC | os.O_DSYNC


class OverlayHandle(Handle):
    """See the module; `release` ends it."""

    __slots__ = (
        *("_base", "_caller", "_copied", "_flags", "_inner", "_union"),
        *("direct_io", "keep_cache", "node", "past_cache"),
    )

    def __init__(
        self, union: Union, node: OverlayNode, inner: Handle, flags: int, caller: Caller
    ) -> None:
        self._union = union
        self.node = node
        self._inner: Handle | None = inner
        self._flags = flags & KEPT_FLAGS
        self._caller = Identity(caller.uid, caller.gid, caller.pid)
        self._copied = node.copied
        self._base: Handle | None = None
        """The lower's file, where parts of it still count."""
        self.direct_io = inner.direct_io
        self.keep_cache = inner.keep_cache
        self.past_cache = inner.past_cache
        node.opens += 1

    def _now(self) -> Handle:
        if self._inner is None:
            raise fail(errno.EBADF)
        return self._inner

    async def _follow(self) -> Handle:
        """Return a handle on where the file is now."""
        node, union = self.node, self._union
        union.refresh(node)
        inner = self._now()
        while self._copied != node.copied:
            seen = node.copied
            provider, place = union.reading(node)
            flags = self._flags
            if node.upper is None:
                flags = os.O_RDONLY  # sealed since: to be copied up before it is written
            elif node.upper.number in union.partial:
                flags = _unappended(flags)
            new = await provider.open(place, flags, self._caller)
            if self._inner is None:
                await new.release()
                raise fail(errno.EBADF)
            old, self._inner, self._copied = self._inner, new, seen
            await old.release()
            inner = new
        return inner

    def _partial(self) -> Partial | None:
        union, node = self._union, self.node
        if not union.partial or node.upper is None:
            return None
        return union.partial.get(node.upper.number)

    async def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        node = self.node
        if self._flags & os.O_ACCMODE == os.O_WRONLY:
            raise fail(errno.EBADF)
        if self._copied != node.copied or node.epoch != self._union.epoch:
            await self._follow()
        inner = self._now()
        partial = self._partial() if self._union.partial else None
        if partial is None or not partial.missing(offset, offset + size):
            return await inner.read(offset, size)
        async with self._union.turn:
            inner = await self._follow()
            partial = self._partial()
            if partial is None:
                return await inner.read(offset, size)
            file_size = (await inner.getattr()).size
            base = await self._lower(partial)
            return await read_mixed(partial, inner, base, offset, size, file_size)

    def at_once(self, limit_bytes: int) -> bytes | bytearray | memoryview | None:
        node, union = self.node, self._union
        moved = self._copied != node.copied or node.epoch != union.epoch
        if self._inner is None or moved or self._partial() is not None:
            return None
        return self._inner.at_once(limit_bytes)

    async def write(self, offset: int, data: bytes) -> int:
        return await self._write(offset, data, back=False)

    async def write_back(self, offset: int, data: bytes) -> int:
        return await self._write(offset, data, back=True)

    async def _write(self, offset: int, data: bytes, *, back: bool) -> int:
        union, node = self._union, self.node
        inner = self._now()
        if self._flags & os.O_ACCMODE == os.O_RDONLY:
            raise fail(errno.EBADF)
        if not union.writable:
            raise fail(errno.EROFS)
        upper = union.need_upper()
        if (
            node.epoch != union.epoch
            or node.upper is None
            or self._copied != node.copied
            or upper.paused is not None
        ):
            # Both in one turn, and no step between that and the write: no seal comes in between.
            async with Ahead(union, node) as ahead, union.turn:
                await bring_up(union, node, ahead=ahead)
                inner = await self._follow()
        if union.partial and self._partial() is not None:
            return await self._write_partial(offset, data, back)
        upper.writing += 1
        try:
            if back:
                return await inner.write_back(offset, data)
            return await inner.write(offset, data)
        finally:
            upper.ended()

    async def _write_partial(self, offset: int, data: bytes, back: bool) -> int:
        """Write after filling the chunks that are only written in part; an append is atomic."""
        if not data:
            return 0
        union, node = self._union, self.node
        async with union.turn:
            inner = await self._follow()
            partial = self._partial()
            if partial is None or node.upper is None:
                return await inner.write(offset, data)
            if self._flags & os.O_APPEND and not back:
                offset = (await inner.getattr()).size
            end = offset + len(data)
            chunk = 1 << partial.chunk_bits
            first, last = offset & -chunk, (end - 1) & -chunk
            for start in {first, last}:
                covered = offset <= start and end >= min(start + chunk, partial.base_size)
                if not covered and partial.missing(start, start + chunk):
                    stop = min(start + chunk, partial.base_size)
                    piece = await read_fully(await self._lower(partial), start, stop - start)
                    filler = await union.upper_provider.open(node.upper, os.O_WRONLY, ROOT)
                    try:
                        await filler.write(start, piece)
                    finally:
                        await filler.release()
            written = await (inner.write_back if back else inner.write)(offset, data)
            union.partial[node.upper.number] = partial.with_range(offset, offset + written)
            return written

    async def _lower(self, partial: Partial) -> Handle:
        if self._base is None:
            base = partial.base
            self._base = await base.layer.provider.open(base.node, os.O_RDONLY, ROOT)
        return self._base

    async def getattr(self) -> Stat:
        inner = await self._follow()
        return self._union.shown(self.node, await inner.getattr())

    async def fsync(self, *, datasync: bool) -> None:
        await (await self._follow()).fsync(datasync=datasync)

    async def release(self) -> None:
        inner, self._inner = self._inner, None
        if inner is None:
            return
        self.node.opens -= 1
        base, self._base = self._base, None
        try:
            await inner.release()
        finally:
            if base is not None:
                await base.release()


def _unappended(flags: int) -> int:
    """Return the flags to open a file that is there in part: it is also filled elsewhere."""
    return flags & ~os.O_APPEND


async def open_node(union: Union, node: OverlayNode, flags: int, caller: Caller) -> Handle:
    """Open a file; for writing, it is copied up first."""
    upper = union.upper
    if upper is not None and upper.paused is not None:
        await upper.resumed()
    if node.removed:
        union.check_there(node)
    union.refresh(node)
    if flags & WRITING_FLAGS:
        union.need_upper()
        if node.upper is None:
            provider, inner = union.reading(node)
            if node.kind != stat_module.S_IFREG:
                return await provider.open(inner, os.O_RDONLY, caller)  # which refuses
            limit = 0 if flags & os.O_TRUNC else None
            async with Ahead(union, node, limit, (flags, caller)) as ahead:
                union.refresh(node)
                if node.upper is None:
                    async with union.turn:
                        await bring_up(union, node, limit_bytes=limit, ahead=ahead)
                copied = ahead.take_copied()
                if copied is not None:
                    return OverlayHandle(union, node, copied, flags, caller)
    if node.upper is None and not node.below:
        raise fail(errno.ESTALE)
    return await _open_there(union, node, flags, caller)


async def _open_there(union: Union, node: OverlayNode, flags: int, caller: Caller) -> Handle:
    """Open a regular file; for writing, it is in the upper by then."""
    if node.upper is None:
        source = node.below[0]
        await check_not_metacopy(source)
        inner = await source.layer.provider.open(source.node, flags, caller)
        return OverlayHandle(union, node, inner, flags, caller)
    number = node.upper.number
    if union.partial and number in union.partial:
        if flags & os.O_TRUNC:
            del union.partial[number]
        else:
            inner = await union.upper_provider.open(node.upper, _unappended(flags), caller)
            return OverlayHandle(union, node, inner, flags, caller)
    upper = union.upper
    assert upper is not None
    upper.writing += 1  # it may be emptied, and no seal may come in between
    try:
        inner = await upper.provider.open(node.upper, flags, caller)
    finally:
        upper.ended()
    if not upper.seals and not node.removed and number == node.number:
        return inner  # it was made here and never moves: nothing to follow
    return OverlayHandle(union, node, inner, flags, caller)
