"""The memory provider against the suite: writable, through a read-only view, and sealed."""

from contextlib import asynccontextmanager

from providers.memory import MemoryProvider
from vfsd.conformance import conformance_tests, fill
from vfsd.readonly import ReadOnlyView


@asynccontextmanager
async def writable(contents):
    provider = MemoryProvider()
    await fill(provider, contents)
    yield provider
    await provider.aclose()


@asynccontextmanager
async def with_quotas(contents):
    provider = MemoryProvider(size_bytes=64 << 20, inodes=5000)
    await fill(provider, contents)
    yield provider
    await provider.aclose()


@asynccontextmanager
async def read_only_view(contents):
    async with writable(contents) as provider:
        yield ReadOnlyView(provider)


@asynccontextmanager
async def set_read_only(contents):
    async with writable(contents) as provider:
        provider.set_read_only(True)
        yield provider


@asynccontextmanager
async def snapshot(contents):
    async with writable(contents) as provider:
        yield provider.snapshot()


@asynccontextmanager
async def fork(contents):
    async with writable(contents) as provider:
        yield provider.fork()


test_writable = conformance_tests(writable)
test_with_quotas = conformance_tests(with_quotas)
test_read_only_view = conformance_tests(read_only_view)
test_set_read_only = conformance_tests(set_read_only)
test_snapshot = conformance_tests(snapshot)
test_fork = conformance_tests(fork)
