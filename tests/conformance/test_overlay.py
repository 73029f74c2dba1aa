"""The overlay against the suite: what is looked at lies in lowers, in three of them at the last.

In the three lowers each file lies in another one, above decoys: files of the same names with
other content, and names that a whiteout hides.
"""

import os
import shutil
import stat
import tempfile
from contextlib import asynccontextmanager

import trio

from providers.archive import ArchiveProvider
from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider
from providers.passthrough import PassthroughProvider
from tests.conformance.test_archive import pack
from vfsd.conformance import Directory, File, HardLink, conformance_tests, fill
from vfsd.provider import Identity

ROOT = Identity(0, 0)


@asynccontextmanager
async def memory_over_memory(contents):
    base = MemoryProvider()
    await fill(base, contents)
    overlay = await OverlayProvider.over(MemoryProvider(), [base.snapshot()])
    yield overlay
    await overlay.aclose()


@asynccontextmanager
async def memory_over_archive(contents):
    async with directories(1) as (directory,):
        pack(f"{directory}/a.vfsd", contents)
        archive = await ArchiveProvider.from_options(f"{directory}/a.vfsd", {})
        overlay = await OverlayProvider.over(MemoryProvider(), [archive])
        yield overlay
        await overlay.aclose()


@asynccontextmanager
async def fork_of_a_snapshot(contents):
    async with memory_over_memory(contents) as overlay:
        sealed = overlay.snapshot()
        forked = sealed.fork()
        yield forked
        await forked.aclose()
        await sealed.aclose()


@asynccontextmanager
async def snapshot(contents):
    async with memory_over_memory({}) as overlay:
        await fill(overlay, contents)
        sealed = overlay.snapshot()
        yield sealed
        await sealed.aclose()


@asynccontextmanager
async def view_without_upper(contents):
    base = MemoryProvider()
    await fill(base, contents)
    overlay = await OverlayProvider.over(None, [base.snapshot()], spare=MemoryProvider())
    yield overlay
    await overlay.aclose()


@asynccontextmanager
async def directories(count):
    made = [tempfile.mkdtemp(prefix="vfsd-overlay-") for _ in range(count)]
    for each in made:
        os.chmod(each, 0o755)
    try:
        yield made
    finally:
        for each in made:
            shutil.rmtree(each)


@asynccontextmanager
async def watched(overlay):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(overlay.watch)
        yield overlay
        nursery.cancel_scope.cancel()
    await overlay.aclose()


@asynccontextmanager
async def memory_over_passthrough(contents):
    async with directories(1) as (lower,):
        base = await PassthroughProvider.from_options(lower, {"links": "keep"})
        await fill(base, contents)
        overlay = await OverlayProvider.over(MemoryProvider(), [base])
        async with watched(overlay):
            yield overlay


@asynccontextmanager
async def directory_over_directory(contents):
    async with directories(2) as (upper, lower):
        top = await PassthroughProvider.from_options(upper, {"links": "keep"})
        base = await PassthroughProvider.from_options(lower, {"links": "keep"})
        await fill(base, contents)
        overlay = await OverlayProvider.over(top, [base], spare=MemoryProvider())
        async with watched(overlay):
            yield overlay


def spread(contents):
    """Divide contents among three layers, top first; what is linked stays together."""
    layers = ({}, {}, {})
    linked = {item.of for item in contents.values() if isinstance(item, HardLink)}
    for place, (path, item) in enumerate(contents.items()):
        if isinstance(item, Directory):
            for layer in layers:
                layer[path] = item
        elif isinstance(item, HardLink) or path in linked:
            layers[1][path] = item
        else:
            layers[place % 3][path] = item
    for path, item in contents.items():
        if isinstance(item, File) and path in layers[0]:
            layers[1][path] = layers[2][path] = File(b"a decoy", mode=0o600)
    layers[2][b"decoy/hidden"] = File(b"never seen")
    return layers


def over_three(**options):
    @asynccontextmanager
    async def factory(contents):
        async with directories(4) as (upper, *lowers):
            opened = []
            for directory, part in zip(lowers, spread(contents), strict=True):
                provider = await PassthroughProvider.from_options(
                    directory, {"links": "keep", **options}
                )
                await fill(provider, part)
                opened.append(provider)
            await opened[1].mknod(opened[1].root, b"decoy", stat.S_IFCHR, 0, ROOT)
            top = await PassthroughProvider.from_options(upper, {"links": "keep", **options})
            overlay = await OverlayProvider.over(top, opened, spare=MemoryProvider())
            async with watched(overlay):
                yield overlay

    return factory


ATIME = {
    "mkdir_makes_a_directory_of_the_caller": "listing a host directory moves its atime",
}

SIZE = {"chmod_changes_permission_bits_only": "a directory's size is the layer's it is in"}

test_memory_over_memory = conformance_tests(memory_over_memory)
test_fork_of_a_snapshot = conformance_tests(fork_of_a_snapshot)
test_snapshot = conformance_tests(snapshot)
test_view_without_upper = conformance_tests(view_without_upper)
test_memory_over_archive = conformance_tests(memory_over_archive, skips=SIZE)
test_memory_over_passthrough = conformance_tests(memory_over_passthrough, skips=SIZE)
test_directory_over_directory = conformance_tests(directory_over_directory, skips=ATIME)
test_directory_over_three = conformance_tests(over_three(), skips=ATIME)
test_in_threads = conformance_tests(over_three(threads="always"), skips=ATIME)
