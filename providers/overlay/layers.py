"""Layers: which provider and directory each is, and which numbers its files get.

A node number is the layer's tag above 40 bits of the number that the layer's own provider
gives. Tags count from the bottom, so that what is put on top changes none. The writable layer
and all layers that were sealed from it lie in one provider and share tag 0. What does not fit
gets a number of its own that is remembered (`Minted`), and is the same in snapshots and forks.

Concurrency: memory only, changed between awaits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import trio

from vfsd.provider import Node, Provider

TAG_BITS = 40
INNER_LIMIT = 1 << TAG_BITS
TAGS_MAX = 250
MINTED_FIRST = 254 << TAG_BITS


class Layer:
    """One delta: the tree below `root` of a provider."""

    __slots__ = ("bottom", "provider", "root", "sealed", "tag", "tells")

    def __init__(
        self, provider: Provider, root: Node, tag: int, *, sealed: bool, bottom: bool
    ) -> None:
        self.provider = provider
        self.root = root
        self.tag = tag
        self.sealed = sealed
        """Nothing in it changes any more."""
        self.bottom = bottom
        """Nothing is below it, so that its marks hide nothing."""


class Below(NamedTuple):
    """A file or directory in a lower layer."""

    layer: Layer
    node: Node
    xattr_whiteouts: bool = False


class Minted:
    """Numbers that could not be computed; shared by an overlay, its snapshots and its forks."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[int, int], int] = {}
        self._next = MINTED_FIRST

    def fresh(self) -> int:
        """Return a number that nothing else has."""
        self._next += 1
        return self._next

    def number(self, tag: int, inner: int) -> int:
        """Return the number of a file by its layer's tag and its number there."""
        if inner < INNER_LIMIT and tag <= TAGS_MAX:
            return tag << TAG_BITS | inner
        number = self._by_place.get((tag, inner))
        if number is None:
            number = self._by_place[tag, inner] = self.fresh()
        return number


class Lowers:
    """The lower layers, top first; shared by an overlay, its snapshots and its forks.

    They are closed with the last of those.
    """

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.minted = Minted()
        self.holders = 0
        self._watched = trio.Lock()
        self.further: list[Provider] = []
        """Other providers to close with the lowers: an upper whose layers get sealed."""
        count = len(providers)
        self.layers = tuple(
            Layer(
                provider,
                provider.root,
                count - position,
                sealed=provider.traits.immutable,
                bottom=position == count - 1,
            )
            for position, provider in enumerate(providers)
        )

    @property
    def providers(self) -> list[Provider]:
        """Each of the providers once, although it may serve several layers."""
        return list({id(layer.provider): layer.provider for layer in self.layers}.values())

    def changing(self) -> list[Provider]:
        """Return those of the providers that are not sealed."""
        live = (layer.provider for layer in self.layers if not layer.sealed)
        return list({id(provider): provider for provider in live}.values())

    async def watch(self) -> None:
        """Run the watching of each, for one holder at a time: after its end, the next one's.

        An upper is not watched for changes; it lets directories go that nobody uses any more.
        """
        async with self._watched, trio.open_nursery() as nursery:
            for provider in (*self.changing(), *self.further):
                nursery.start_soon(provider.watch)

    async def release(self) -> None:
        """Let go for one holder; the last one closes the providers."""
        self.holders -= 1
        if not self.holders:
            for provider in (*self.providers, *self.further):
                await provider.aclose()
