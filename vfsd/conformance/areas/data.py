"""Checks of file data: offsets, holes, append, truncation, several handles at a time."""

from __future__ import annotations

import errno
import os
import random

from vfsd.conformance.check import check
from vfsd.conformance.contents import File
from vfsd.conformance.expect import equal, raises, true
from vfsd.conformance.files import Files, read_all, releasing
from vfsd.provider import SetAttr

_NOISE = random.Random(20).randbytes(3_000_001)


@check(contents={b"f": File(b"0123456789"), b"empty": File(), b"big": File(_NOISE)})
async def read_at_any_offset(files: Files) -> None:
    async with files.opened(b"f") as handle:
        for offset, size, expected in (
            (0, 10, b"0123456789"),
            (0, 100, b"0123456789"),
            (3, 4, b"3456"),
            (9, 1, b"9"),
            (10, 1, b""),
            (11, 5, b""),
            (1 << 40, 5, b""),
            (5, 0, b""),
        ):
            piece = bytes(await handle.read(offset, size))
            equal(piece, expected, f"read({offset}, {size})")
    equal(await files.get(b"empty"), b"", "an empty file")
    equal(await files.get(b"big"), _NOISE, "a large file")
    async with files.opened(b"big") as handle:
        for offset, size in ((4095, 2), (65535, 65538), (131072, 131072), (2_999_990, 100)):
            piece = bytes(await handle.read(offset, size))
            equal(piece, _NOISE[offset : offset + size], f"read({offset}, {size})")


@check(contents={b"f": File(b"0123456789"), b"empty": File(), b"big": File(_NOISE)})
async def all_at_once_or_none(files: Files) -> None:
    for name, content in ((b"f", b"0123456789"), (b"empty", b""), (b"big", _NOISE)):
        async with files.opened(name) as handle:
            for limit in (0, 9, 10, 11, 1 << 16, len(_NOISE)):
                given = handle.at_once(limit)
                if given is not None:
                    true(len(content) <= limit, f"more than {limit} bytes at once")
                    equal(bytes(given), content, "the content at once")


@check(needs="writable")
async def at_once_what_was_written_last(files: Files) -> None:
    await files.put(b"f", b"first")
    async with files.opened(b"f", os.O_RDWR) as one, files.opened(b"f") as two:
        for piece in (b"more", b"less"):
            await one.write(5, piece)
            given = two.at_once(100)
            true(given is None or bytes(given) == b"first" + piece, "outdated content at once")
        await files.setattr(b"f", SetAttr(size=2))
        given = two.at_once(100)
        true(given is None or bytes(given) == b"fi", "content at once that was cut off")
    async with files.opened(b"f", os.O_WRONLY) as only:
        true(only.at_once(100) is None, "content through a handle that only writes")


@check(contents={b"f": File(b"data")})
async def handle_getattr_agrees(files: Files) -> None:
    async with files.opened(b"f") as handle:
        stat = await handle.getattr()
    equal(stat.size, 4, "size through the handle")
    equal(stat[:8], (await files.stat(b"f"))[:8], "attributes through the handle and the node")


@check(needs="writable")
async def write_is_seen_at_once_by_all(files: Files) -> None:
    await files.put(b"f", b"first")
    async with files.opened(b"f", os.O_RDWR) as one, files.opened(b"f") as two:
        equal(await one.write(2, b"XY"), 2, "bytes written")
        equal(bytes(await two.read(0, 10)), b"fiXYt", "read through another handle")
        equal(await one.write(5, b"more"), 4, "bytes written at the end")
        equal(bytes(await one.read(0, 20)), b"fiXYtmore", "read through the same handle")
        equal((await two.getattr()).size, 9, "size through another handle")
        equal((await files.stat(b"f")).size, 9, "size through the node")
        equal((await files.entry(b"f")).stat.size, 9, "size through lookup")


@check(needs="writable")
async def large_and_random_writes(files: Files) -> None:
    chance = random.Random(7)
    expected = bytearray()
    await files.put(b"f")
    async with files.opened(b"f", os.O_RDWR) as handle:
        for _ in range(150):
            offset = chance.choice((0, 1, 4095, 4096, 65536, 131071, 262144)) + chance.randrange(9)
            piece = chance.randbytes(chance.choice((1, 2, 100, 4096, 70_000, 131_072)))
            if len(expected) < offset + len(piece):
                expected.extend(bytes(offset + len(piece) - len(expected)))
            expected[offset : offset + len(piece)] = piece
            equal(await handle.write(offset, piece), len(piece), "bytes written")
        equal(await read_all(handle), bytes(expected), "all data")


@check(needs="writable")
async def hole_reads_as_zeros(files: Files) -> None:
    await files.put(b"f", b"start")
    async with files.opened(b"f", os.O_RDWR) as handle:
        await handle.write(1_000_000, b"end")
        equal((await handle.getattr()).size, 1_000_003, "size with a hole")
        expected = b"start" + bytes(1_000_000 - 5) + b"end"
        equal(await read_all(handle), expected, "data with a hole")


@check(needs="writable")
async def far_write_is_cheap_or_refused(files: Files) -> None:
    await files.put(b"f", b"kept")
    far = 1 << 40
    async with files.opened(b"f", os.O_RDWR) as handle:
        try:
            await handle.write(far, b"far")
        except OSError as error:
            true(error.errno in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT), f"refused: {error}")
            equal(await files.get(b"f"), b"kept", "data after a refused write")
            return
        stat = await handle.getattr()
        equal(stat.size, far + 3, "size after a write at 1 TiB")
        true(stat.blocks * 512 < 64 << 20, f"a hole takes no room: {stat.blocks} blocks")
        equal(bytes(await handle.read(far - 2, 10)), b"\0\0far", "data there")
        equal(bytes(await handle.read(0, 6)), b"kept\0\0", "data at the start")


@check(needs="writable")
async def empty_write_changes_nothing(files: Files) -> None:
    await files.put(b"f", b"data")
    async with files.opened(b"f", os.O_RDWR) as handle:
        equal(await handle.write(100, b""), 0, "bytes written")
    equal(await files.get(b"f"), b"data", "data after an empty write far out")


@check(needs="writable")
async def written_buffer_is_copied(files: Files) -> None:
    await files.put(b"f")
    buffer = bytearray(b"before")
    async with files.opened(b"f", os.O_RDWR) as handle:
        await handle.write(0, bytes(buffer))
        first = bytes(await handle.read(0, 6))
        await handle.write(0, b"after!")
        equal(first, b"before", "data read before another write")
        equal(bytes(await handle.read(0, 6)), b"after!", "data read after it")


@check(needs="writable")
async def truncation_shrinks_and_extends_with_zeros(files: Files) -> None:
    await files.put(b"f", _NOISE[:200_000])
    for size in (150_001, 5, 0, 3, 140_000, 139_999, 0):
        before = await files.get(b"f")
        stat = await files.setattr(b"f", SetAttr(size=size))
        equal(stat.size, size, "size that setattr returns")
        expected = (before + bytes(max(0, size - len(before))))[:size]
        equal(await files.get(b"f"), expected, f"data after truncation to {size}")


@check(needs="writable")
async def cut_data_does_not_come_back(files: Files) -> None:
    await files.put(b"f", b"secret" * 1000)
    await files.setattr(b"f", SetAttr(size=3))
    await files.setattr(b"f", SetAttr(size=6000))
    equal(await files.get(b"f"), b"sec" + bytes(5997), "data after shrink and extend")
    await files.setattr(b"f", SetAttr(size=1))
    async with files.opened(b"f", os.O_WRONLY) as handle:
        await handle.write(10, b"x")
    equal(await files.get(b"f"), b"s" + bytes(9) + b"x", "data after shrink and a later write")


@check(needs="writable")
async def truncation_is_seen_by_open_handles(files: Files) -> None:
    await files.put(b"f", b"0123456789")
    async with files.opened(b"f", os.O_RDWR) as handle:
        await files.setattr(b"f", SetAttr(size=4))
        equal(bytes(await handle.read(0, 10)), b"0123", "data")
        equal(bytes(await handle.read(6, 10)), b"", "data past the new end")
        equal((await handle.getattr()).size, 4, "size")
        await handle.write(6, b"x")
        equal(bytes(await handle.read(0, 10)), b"0123\0\0x", "data after a write past the end")


@check(needs="writable")
async def open_with_o_trunc_empties(files: Files) -> None:
    await files.put(b"f", b"data")
    await files.setattr(b"f", SetAttr(mtime_ns=1))
    async with files.opened(b"f", os.O_WRONLY | os.O_TRUNC) as handle:
        equal((await handle.getattr()).size, 0, "size after O_TRUNC")
        await handle.write(0, b"new")
    equal(await files.get(b"f"), b"new", "data after O_TRUNC and a write")
    true((await files.stat(b"f")).mtime_ns > 1, "O_TRUNC sets mtime")


@check(needs="writable")
async def open_without_o_trunc_keeps(files: Files) -> None:
    await files.put(b"f", b"data")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_RDONLY):
        async with files.opened(b"f", flags):
            pass
        equal(await files.get(b"f"), b"data", f"data after open({flags:#o})")


@check(needs="writable")
async def append_ignores_offset(files: Files) -> None:
    await files.put(b"f", b"base")
    flags = os.O_WRONLY | os.O_APPEND
    async with files.opened(b"f", flags) as one, files.opened(b"f", flags) as two:
        await one.write(0, b"-1")
        await two.write(0, b"-2")
        await one.write(4, b"-3")
        await two.write(100, b"-4")
    equal(await files.get(b"f"), b"base-1-2-3-4", "data after appends through two handles")


@check(needs="writable")
async def pages_written_back_are_not_appended(files: Files) -> None:
    await files.put(b"f", b"0123456789")
    for flags in (os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_APPEND, os.O_RDWR):
        async with files.opened(b"f", flags) as handle:
            equal(await handle.write_back(2, b"ab"), 2, "bytes written back")
            equal(await files.get(b"f"), b"01ab456789", "data after a page was written back")
            await handle.write_back(2, b"23")


@check(needs="writable")
async def append_follows_truncation(files: Files) -> None:
    await files.put(b"f", b"0123456789")
    async with files.opened(b"f", os.O_WRONLY | os.O_APPEND) as handle:
        await files.setattr(b"f", SetAttr(size=2))
        await handle.write(10, b"x")
    equal(await files.get(b"f"), b"01x", "append after a truncation elsewhere")


@check(needs="writable")
async def created_with_o_append_appends(files: Files) -> None:
    _, handle = await files.create(b"f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    async with releasing(handle):
        await handle.write(0, b"one")
        await handle.write(0, b"two")
    equal(await files.get(b"f"), b"onetwo", "appends through the handle from create")


@check(contents={b"f": File(b"data")})
async def write_needs_a_writing_handle(files: Files) -> None:
    async with files.opened(b"f") as handle:
        with raises(errno.EBADF, errno.EROFS, what="write through a reading handle"):
            await handle.write(0, b"x")
    equal(await files.get(b"f"), b"data", "data after the refused write")


@check(needs="writable")
async def read_needs_a_reading_handle(files: Files) -> None:
    await files.put(b"f", b"data")
    async with files.opened(b"f", os.O_WRONLY) as handle:
        with raises(errno.EBADF, what="read through a writing handle"):
            await handle.read(0, 4)


@check(needs="writable")
async def fsync_succeeds(files: Files) -> None:
    await files.put(b"f", b"data")
    async with files.opened(b"f", os.O_RDWR) as handle:
        await handle.write(0, b"DATA")
        await handle.fsync(datasync=True)
        await handle.fsync(datasync=False)
    equal(await files.get(b"f"), b"DATA", "data after fsync")
