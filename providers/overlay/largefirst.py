"""Changes that may meet large files of a lower which have to be copied up.

Such a change stops there; the files are copied while others go on (ahead.py), and the change
begins anew. What it did before shows to nobody, and stays: files that are in the upper by now.

Concurrency: called outside of the turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from providers.overlay.ahead import Ahead, LargeBelow
from providers.overlay.copyup import bring_up
from providers.overlay.nodes import OverlayNode
from providers.overlay.union import Union

T = TypeVar("T")


async def in_turn(union: Union, change: Callable[[], Awaitable[T]]) -> T:
    """Make a change in the overlay's turn, and return what it returns."""
    while True:
        try:
            async with union.turn:
                return await change()
        except LargeBelow as met:
            large = met.nodes
        for node in large:
            await _bring_up(union, node)


async def _bring_up(union: Union, node: OverlayNode) -> None:
    async with Ahead(union, node) as ahead, union.turn:
        union.refresh(node)
        if node.upper is None and not node.removed:
            await bring_up(union, node, ahead=ahead)
