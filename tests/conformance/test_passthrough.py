"""The passthrough provider against the suite: by guard, in the event loop and in threads."""

import os
import shutil
import tempfile
from contextlib import asynccontextmanager

import trio

from providers.passthrough import PassthroughProvider
from vfsd.conformance import conformance_tests, fill
from vfsd.readonly import ReadOnlyView


def factory(links="keep", **options):
    @asynccontextmanager
    async def make(contents):
        directory = tempfile.mkdtemp(prefix="vfsd-passthrough-")
        try:
            provider = await PassthroughProvider.from_options(
                directory, {"links": links, **options}
            )
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
JUDGED_SKIPS = {
    **SKIPS,
    "targets_are_kept_as_given": "its symlinks lead out, so their targets are not shown",
}

test_by_openat2 = conformance_tests(read_write, skips=SKIPS)
test_by_walk = conformance_tests(factory(guard="walk"), skips=SKIPS)
test_one_by_one = conformance_tests(factory(native="off"), skips=SKIPS)
test_unwatched = conformance_tests(factory(watch="off"), skips=SKIPS)
test_in_threads = conformance_tests(factory(threads="always"), skips=SKIPS)
test_links_denied = conformance_tests(factory("deny"), skips=JUDGED_SKIPS)
test_links_hidden = conformance_tests(factory("hide"), skips=JUDGED_SKIPS)
test_read_only_view = conformance_tests(read_only_view)
