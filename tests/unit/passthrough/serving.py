"""A passthrough provider on a directory of the test's, watched as the daemon would."""

from contextlib import asynccontextmanager

import trio

from providers.passthrough import PassthroughProvider
from vfsd.conformance import Files

GUARDS = ("openat2", "walk")

ODD = [b"\n", b"\xff\xfe", b" ", b"..a", b"-", b"a" * 255]
"""Names."""


@asynccontextmanager
async def served(directory, **options):
    """Give `Files` over a provider of `directory`, whose `watch` runs meanwhile."""
    provider = await PassthroughProvider.from_options(str(directory), options)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(provider.watch)
            yield Files(provider)
            nursery.cancel_scope.cancel()
    finally:
        await provider.aclose()


async def until(condition, what, seconds=10):
    """Wait until `condition()` holds; `what` says what did not come."""
    deadline = trio.current_time() + seconds
    while not condition():
        assert trio.current_time() < deadline, f"{what}: not within {seconds} s"
        await trio.sleep(0.002)
