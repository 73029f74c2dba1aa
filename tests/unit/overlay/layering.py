"""Overlays for tests, mostly in memory, and what is asked of them by path."""

import os
from contextlib import asynccontextmanager

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider
from providers.passthrough import PassthroughProvider
from vfsd.conformance import Files, fill


async def sealed(contents):
    """Return a sealed layer with these contents."""
    base = MemoryProvider()
    await fill(base, contents)
    return base.snapshot()


async def upper_of(kind, place):
    """Return an empty upper: in memory, or in a directory."""
    if kind == "memory":
        return MemoryProvider()
    return await PassthroughProvider.from_options(str(place), {"links": "keep", "watch": "off"})


@asynccontextmanager
async def overlay(*layers, upper=None, **options):
    """Give the files of an overlay over sealed layers with these contents, topmost first."""
    lowers = [await sealed(each) if isinstance(each, dict) else each for each in layers]
    provider = await OverlayProvider.over(upper or MemoryProvider(), lowers, **options)
    yield Files(provider)
    await provider.aclose()


async def append(files, path, data):
    async with files.opened(path, os.O_WRONLY | os.O_APPEND) as handle:
        await handle.write(0, data)


async def number(files, path):
    return (await files.node(path)).number


class Counting:
    """Counts the calls of one method of a provider."""

    def __init__(self, provider, name):
        self.count = 0
        method = getattr(provider, name)

        async def call(*args, **kwargs):
            self.count += 1
            return await method(*args, **kwargs)

        setattr(provider, name, call)
