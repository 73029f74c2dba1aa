"""Servers that lie, drop connections or list nonsense: errors for that file, no wrong data."""

import errno
import logging
import os
import random
import time
from contextlib import asynccontextmanager

import pytest
import trio

from tests.mounted.remote.webserver import WebServer
from vfsd.conformance.files import Files
from vfsd.errors import UserError

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

from providers.remote import FsspecProvider

DATA = random.Random(9).randbytes(3_000_000)


@pytest.fixture
def web():
    with WebServer() as web:
        yield web


@asynccontextmanager
async def served(web, **options):
    provider = await FsspecProvider.from_options(web.url, options)
    try:
        yield Files(provider)
    finally:
        await provider.aclose()


async def failing(call, *arguments):
    with pytest.raises(OSError) as caught:
        await call(*arguments)
    return caught.value.errno


def until(condition):
    while not condition():
        time.sleep(0.01)


async def read(files, path, offset, size):
    async with files.opened(path) as handle:
        return bytes(await handle.read(offset, size))


async def test_whole_files_from_a_server_without_ranges(web):
    web.ranges = False
    web.files = {"f": DATA, "small": b"small"}
    async with served(web, block="64K") as files:
        assert await files.get(b"f") == DATA
        assert await files.get(b"small") == b"small"
        whole = [each for each in web.gets("f") if each is None]
        assert len(whole) <= 2, "read in order, not from the start for each block"
        for offset in (2_000_000, 10, 2_999_990):
            assert await read(files, b"f", offset, 10) == DATA[offset : offset + 10]


@pytest.mark.parametrize("etags", [True, False])
async def test_a_file_of_unknown_length_is_read_at_any_offset(web, etags):
    web.lengths, web.etags = False, etags
    web.files = {"f": DATA, "empty": b""}
    async with served(web, cache="512K", block="64K") as files:
        async with files.opened(b"f") as handle:
            assert handle.direct_io, "the kernel must not trust the size"
            for offset in (0, 2_000_000, 10, len(DATA) - 5, len(DATA), len(DATA) + 70_000):
                assert bytes(await handle.read(offset, 100)) == DATA[offset : offset + 100]
        assert await read(files, b"empty", 0, 100) == b""
        assert files.provider.statistics()["cached_bytes"] <= 512 << 10


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("announced", [len(DATA) - 7, len(DATA) + 7])
async def test_a_lie_about_the_size_gives_no_wrong_data(web, ranges, announced):
    web.ranges = ranges
    web.files = {"f": DATA, "good": b"good"}
    web.announced = {"f": announced}
    async with served(web, timeout="3") as files:
        if announced > len(DATA):
            # A server that keeps the connection open still owes the rest.
            ends = (errno.EIO, errno.ECONNRESET, errno.ETIMEDOUT)
            assert await failing(read, files, b"f", len(DATA) // 4096 * 4096, 4096) in ends
        else:
            assert await read(files, b"f", announced - 10, 100) == DATA[announced - 10 : announced]
        assert await files.get(b"good") == b"good"


async def test_a_dropped_connection_is_tried_again(web, caplog):
    web.files = {"f": DATA, "lost": DATA}
    web.drops = {"f": (1000, 1), "lost": (1000, 1 << 30)}
    async with served(web) as files:
        assert await files.get(b"f") == DATA
        assert await failing(files.get, b"lost") == errno.ECONNRESET
        assert await files.get(b"f") == DATA
    assert "reading" in caplog.text


async def test_calls_that_hang_end_in_time_and_leave_room_for_others(web):
    web.files = {"f": DATA, "g": b"data"}
    async with served(web, timeout="0.5", calls="2") as files:
        await files.entry(b"f")
        await files.entry(b"g")
        web.hanging = {"f"}
        codes = []

        async def hang():
            codes.append(await failing(read, files, b"f", 0, 10))

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(hang)
        assert codes == [errno.ETIMEDOUT] * 8
        assert await files.get(b"g") == b"data", "requests that timed out hold no place"
        web.hanging = set()
        assert await files.get(b"f") == DATA


async def test_closing_does_not_wait_for_what_hangs(web):
    web.files = {"f": DATA}
    async with served(web, timeout="3000") as files:
        await files.entry(b"f")
        web.hanging = {"f"}
        code = None

        async def hang():
            nonlocal code
            code = await failing(read, files, b"f", 0, 10)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hang)
                await trio.to_thread.run_sync(until, lambda: web.gets("f"))
                await files.provider.aclose()
        assert code == errno.EIO


async def test_hostile_names_are_left_out_and_told_once(web, caplog):
    web.files = {"good": b"good"}
    names = ["..", "%2e%2e", "a%2Fb", "..%2F..%2Fetc", "n%00ul", "x" * 300, "good", "%67ood"]
    web.links = [f'<a href="{name}">.</a>' for name in names]
    web.links += [
        *('<a href="/elsewhere/f">', '<a href="http://other/f">', '<a href="?C=N;O=D">'),
        *(
            '<a href="javascript:alert(1)">',
            '<a href="//">',
            '<a href="">',
            "<a " * 100_000,
            "<a href " * 100_000,
        ),
    ]
    with caplog.at_level(logging.WARNING):
        async with served(web, ttl="0") as files:
            assert await files.names() == [b"good"]
            assert await files.names() == [b"good"]
            assert await files.get(b"good") == b"good"
            assert files.provider.statistics()["names_skipped"] >= 5
    assert caplog.text.count("lists names that no directory can hold") == 1


async def test_statuses_are_errnos_and_one_bad_file_hides_no_other(web):
    web.files = {"good": b"good", "secret": b"", "broken": b"", "lost": b""}
    web.statuses = {"secret": 403, "broken": 500, "lost": 404}
    async with served(web) as files:
        names = sorted(await files.names())
        entries = await files.provider.lookup_many(files.root, names)
        assert [entry is not None for entry in entries] == [True, True, False, True]
        assert await failing(files.get, b"secret") == errno.EACCES
        assert await failing(files.get, b"broken") == errno.EIO
        assert await failing(files.get, b"lost") == errno.ENOENT
        assert await files.get(b"good") == b"good"


async def test_a_server_without_pages_serves_what_is_asked_for(web):
    web.pages = False
    web.files = {"f": b"data"}
    async with served(web) as files:
        assert await files.names() == []
        assert await files.get(b"f") == b"data"
        assert await failing(files.get, b"g") == errno.ENOENT


async def test_an_open_file_is_read_as_what_it_became(web):
    web.files = {"log": b"one\n", "gone": b"x"}
    async with (
        served(web, ttl="0") as files,
        files.opened(b"log") as handle,
        files.opened(b"gone") as gone,
    ):
        assert bytes(await handle.read(0, 100)) == b"one\n"
        web.files = {"log": b"one\ntwo\n"}
        assert bytes(await handle.read(4, 100)) == b"two\n"
        assert await failing(gone.read, 0, 1) == errno.ESTALE


async def test_a_file_that_changes_while_its_attributes_are_kept(web):
    """Its ETag tells, so that no read is half of the one and half of the other."""
    web.files = {"f": b"a" * 500_000}
    async with served(web, readahead="0", block="64K") as files, files.opened(b"f") as handle:
        assert bytes(await handle.read(0, 10)) == b"a" * 10
        web.files = {"f": b"b" * 500_000}
        assert bytes(await handle.read(400_000, 10)) == b"b" * 10
        assert bytes(await handle.read(0, 10)) == b"b" * 10


@pytest.mark.parametrize("what", ["hangs", "refuses"])
async def test_a_server_that_is_not_there_is_told_at_once(web, what):
    if what == "hangs":
        web.hanging = {""}
        url, said = web.url, "no answer within"
    else:
        url, said = "http://127.0.0.1:9/", "Cannot connect"
    before = time.monotonic()
    with pytest.raises(UserError, match=said):
        await FsspecProvider.from_options(url, {"timeout": "1"})
    assert time.monotonic() - before < 60


async def test_nothing_is_left_open(web):
    web.files = {"f": DATA}
    async with served(web) as files:
        await files.get(b"f")
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(3):
        async with served(web) as files:
            await files.get(b"f")
    with trio.fail_after(20):
        await trio.to_thread.run_sync(
            until, lambda: len(os.listdir("/proc/self/fd")) <= len(before)
        )
