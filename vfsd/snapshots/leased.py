"""A stored layer as it is served: sealed, and held in the store as long as anybody uses it.

What it is *not*: what reads the layer; any provider does.

Concurrency: as the provider's. Taking and giving back a lease is done by whoever makes this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vfsd.attributes import Traits
from vfsd.contract import Provider
from vfsd.readonly import ReadOnlyView


class LeasedLayer(ReadOnlyView):
    """`inner`, which is this view's from then on; `release` is called once it is closed."""

    def __init__(self, inner: Provider, release: Callable[[], None]) -> None:
        super().__init__(inner)
        self._release = release

    @property
    def traits(self) -> Traits:
        return replace(self.inner.traits, writable=False, immutable=True)

    async def aclose(self) -> None:
        try:
            await self.inner.aclose()
        finally:
            self._release()
