"""The passthrough provider against the suite: by guard, in the event loop and in threads."""

import os
import shutil
import tempfile
from contextlib import asynccontextmanager

import trio

from providers.passthrough import PassthroughProvider
from providers.passthrough.linkview import LinkView
from vfsd.conformance import conformance_tests, fill
from vfsd.conformance.model import SEEDS
from vfsd.readonly import ReadOnlyView


class ShowAll(LinkView):
    """Shows every target as stored: the suite's links lead anywhere, and nobody follows them."""

    async def shown(self, parent, target, slow):
        return target


class Unjudged(PassthroughProvider):
    def __init__(self, source, root, options):
        super().__init__(source, root, options)
        self._links = ShowAll(self._access, options.links, source)


def factory(kind=Unjudged, **options):
    @asynccontextmanager
    async def make(contents):
        directory = tempfile.mkdtemp(prefix="vfsd-passthrough-")
        try:
            provider = await kind.from_options(directory, options)
            os.chmod(directory, 0o755)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(provider.watch)
                await fill(provider, contents)
                yield provider
                nursery.cancel_scope.cancel()
            await provider.aclose()
        finally:
            shutil.rmtree(directory)

    return make


read_write = factory(guard="openat2")


@asynccontextmanager
async def read_only_view(contents):
    async with read_write(contents) as provider:
        yield ReadOnlyView(provider)


SKIPS = {
    "mkdir_makes_a_directory_of_the_caller": "listing a host directory moves its atime",
}
LINKS_LEAD_OUT = "its symlinks lead out of the root, so their targets are not shown"
JUDGED_SKIPS = {
    **SKIPS,
    "targets_are_kept_as_given": LINKS_LEAD_OUT,
    **{f"model_seed_{seed}": LINKS_LEAD_OUT for seed in SEEDS},
}

test_by_openat2 = conformance_tests(read_write, skips=SKIPS)
test_by_walk = conformance_tests(factory(guard="walk"), skips=SKIPS)
test_in_threads = conformance_tests(factory(threads="always"), skips=SKIPS)
test_links_judged = conformance_tests(factory(PassthroughProvider), skips=JUDGED_SKIPS)
test_read_only_view = conformance_tests(read_only_view)
