"""The overlay against the suite: over empty lowers, and over lowers that hold what is looked at."""

import os
import shutil
import tempfile
from contextlib import asynccontextmanager

import trio

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider
from tests.conformance.test_passthrough import Unjudged
from vfsd.conformance import conformance_tests, fill


@asynccontextmanager
async def memory_over_memory(contents):
    """All content in a sealed lower, and an empty upper."""
    base = MemoryProvider()
    await fill(base, contents)
    overlay = await OverlayProvider.over(MemoryProvider(), [base.snapshot()])
    yield overlay
    await overlay.aclose()


test_memory_over_memory = conformance_tests(memory_over_memory)
