"""A third party's provider against the suite: the whole test file that its author writes."""

from contextlib import asynccontextmanager

from tests.conformance.dict_provider import DictProvider
from vfsd.conformance import conformance_tests, fill


@asynccontextmanager
async def factory(contents):
    provider = DictProvider()
    await fill(provider, contents)
    yield provider
    await provider.aclose()


DICT_SKIPS = {
    "unlinked_node_works_while_open": "PathProvider finds files by path; this one has none",
    "number_survives_rename_when_nobody_holds_the_node": "PathProvider numbers are of paths",
}

test_conformance = conformance_tests(factory, DICT_SKIPS)
