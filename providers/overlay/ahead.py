"""Copying large files before the turn is taken, so that others can change the tree meanwhile.

Copying a gigabyte to a disk takes seconds. It goes on in the work directory, where nobody looks;
only what follows, attributes and the name, is done in the overlay's turn (copyup.py). If the file
is not the same by then (it was changed behind the overlay's back, or somebody was quicker) what was
copied is thrown away.

Where the upper is in memory there is nothing to do: large files are not copied there (partial.py).

Who opens a file to write to it may go on with the handle by which it was copied.

Concurrency: entered and left outside of the turn. One task copies a file, others wait for it; a
cancellation is let through at any time, and leaves nothing.
"""

from __future__ import annotations

import stat as stat_module
from types import TracebackType
from typing import Self

import trio

from providers.overlay.copydata import Staged, make_file, open_source
from providers.overlay.layers import Below
from providers.overlay.nodes import OverlayNode
from providers.overlay.onestep import put_at_once
from providers.overlay.union import Union
from providers.overlay.upper import Upper
from vfsd.provider import Caller, Handle, Stat

AHEAD_MIN_BYTES = 1 << 20
"""Smaller files are copied in the turn: they hold up nobody for long."""


class LargeBelow(Exception):
    """A change met large files that stand in a lower: they are copied first (largefirst.py)."""

    def __init__(self, *nodes: OverlayNode) -> None:
        super().__init__(*nodes)
        self.nodes = nodes


def check_small(upper: Upper, node: OverlayNode, stat: Stat) -> None:
    """Raise `LargeBelow` unless the file may be copied while others wait."""
    if stat.size >= AHEAD_MIN_BYTES and node.kind == stat_module.S_IFREG and not upper.partial:
        raise LargeBelow(node)


class Ahead:
    """An async context manager, in which the turn is then taken; see the module."""

    __slots__ = (
        *("_copied", "_limit_bytes", "_node", "_origin", "_reopened", "_source", "_staged"),
        *("_stat", "_union"),
    )

    def __init__(
        self,
        union: Union,
        node: OverlayNode,
        limit_bytes: int | None = None,
        reopened: tuple[int, Caller] | None = None,
    ) -> None:
        """Of the file's data only the first `limit_bytes` are wanted.

        It is then to be open with these flags by this caller.
        """
        self._union = union
        self._node = node
        self._limit_bytes = limit_bytes
        self._source: Below | None = None
        self._origin: Handle | None = None
        self._staged: Staged | None = None
        self._stat: Stat | None = None
        self._reopened = reopened
        self._copied: Handle | None = None

    async def __aenter__(self) -> Self:
        upper = self._union.upper
        if upper is not None and upper.writable and not upper.partial:
            try:
                await self._prepare()
            except BaseException:
                await self._let_go()
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._origin is not None or self._staged is not None or self._copied is not None:
            await self._let_go()

    async def _prepare(self) -> None:
        union, node = self._union, self._node
        while (copying := union.copying.get(node.number)) is not None:
            await copying.wait()
        union.refresh(node)
        if node.upper is not None or not node.below or self._limit_bytes == 0:
            return
        source = node.below[0]
        origin = await open_source(node, source)
        if origin is None:
            return
        self._source, self._origin = source, origin
        stat = await origin.getattr()
        if self._limit_bytes is None and not union.turn.held:
            await self._at_once(source, origin, stat)
        size = stat.size if self._limit_bytes is None else min(stat.size, self._limit_bytes)
        if self._origin is None or size < AHEAD_MIN_BYTES:
            return
        if node.number not in union.copying:
            await self._copy(source, origin, stat)

    async def _at_once(self, source: Below, origin: Handle, stat: Stat) -> None:
        """Copy a small file in a turn of one step, which needs no shield."""
        union, node = self._union, self._node
        async with union.turn.brief:
            union.refresh(node)
            if node.upper is None and node.below and node.below[0] == source:
                handle = await put_at_once(union, node, source, origin, union.shown(node, stat))
                if handle is None:
                    return
                if not self.hand_on(handle):
                    await handle.release()
                self._origin = None
                await origin.release()

    async def _copy(self, source: Below, origin: Handle, stat: Stat) -> None:
        union, number = self._union, self._node.number
        upper = union.need_upper()
        stage = upper.stage()
        done = union.copying[number] = trio.Event()
        try:
            self._staged = await make_file(
                *(union, upper, stage, source, origin, stat, self._limit_bytes),
                lambda _: None,
            )
            self._stat = stat
        except BaseException:
            with trio.CancelScope(shield=True):
                await upper.discard(stage)
            raise
        finally:
            del union.copying[number]
            done.set()

    def take_origin(self, source: Below) -> Handle | None:
        """Hand the open file over, if that is what is to be copied; the caller releases it."""
        if self._source != source:
            return None
        origin, self._origin = self._origin, None
        return origin

    def take_staged(self, stat: Stat) -> Staged | None:
        """Hand the copy over, if the file has `stat` and did not change; the caller places it."""
        staged, before = self._staged, self._stat
        if staged is None or before is None:
            return None
        # Other names and readings of the file do not matter.
        if (before.size, before.mtime_ns, before.ctime_ns) != (
            *(stat.size, stat.mtime_ns, stat.ctime_ns),
        ):
            return None
        self._staged = None
        return staged

    def hand_on(self, copied: Handle) -> bool:
        """Take the handle by which the file was copied, if it will do for who wants it open."""
        if self._reopened is not None and copied.reopen(*self._reopened):
            self._copied = copied
        return self._copied is copied

    def take_copied(self) -> Handle | None:
        """Hand that handle over; the caller releases it."""
        copied, self._copied = self._copied, None
        return copied

    async def _let_go(self) -> None:
        """Release what nobody took, and throw away what was copied in vain."""
        origin, self._origin = self._origin, None
        staged, self._staged = self._staged, None
        copied = self.take_copied()
        with trio.CancelScope(shield=True):
            if origin is not None:
                await origin.release()
            if copied is not None:
                await copied.release()
            if staged is not None:
                await staged.handle.release()
                upper = self._union.upper
                assert upper is not None
                await upper.discard(staged.stage)
