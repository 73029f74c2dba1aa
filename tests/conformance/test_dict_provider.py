"""A third party's provider against the suite: the whole test file that its author writes."""

from contextlib import asynccontextmanager

from tests.conformance.dict_provider import DictProvider, ReopeningDictProvider
from vfsd.conformance import conformance_tests, fill


@asynccontextmanager
async def factory(contents):
    provider = DictProvider()
    await fill(provider, contents)
    yield provider
    await provider.aclose()


@asynccontextmanager
async def reopening_factory(contents):
    provider = ReopeningDictProvider()
    await fill(provider, contents)
    yield provider


@asynccontextmanager
async def sealed_factory(contents):
    async with factory(contents) as provider:
        provider.writable = False
        yield provider


DICT_SKIPS = {
    "unlinked_node_works_while_open": "left out by DictProvider; ReopeningDictProvider has it",
}

test_conformance = conformance_tests(factory, DICT_SKIPS)
test_conformance_reopening = conformance_tests(reopening_factory)
test_conformance_read_only = conformance_tests(sealed_factory)
