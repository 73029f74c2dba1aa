"""The archive provider when things go wrong: damage, replacement, changes, slow disks."""

from __future__ import annotations

import errno
import logging
import os
import random
import stat
from contextlib import asynccontextmanager

import pytest

from providers.archive import ArchiveProvider
from tests.unit.archive.forging import Forge
from tests.unit.archive.models import File, write
from vfsd.archive import layout
from vfsd.archive.writer import Attributes
from vfsd.conformance import Files
from vfsd.conformance.files import read_all
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.provider import Identity

DIRECTORY = Attributes(stat.S_IFDIR | 0o755)
REGULAR = Attributes(stat.S_IFREG | 0o644, 7, 8)
CALLER = Identity(0, 0)


def tree(fill: bytes = b"") -> dict:
    chance = random.Random(5)
    return {
        b"": File(DIRECTORY),
        b"large": File(REGULAR, pieces=[fill, chance.randbytes(600_000)]),
        b"small": File(REGULAR, pieces=[b"small", fill]),
        b"words": File(REGULAR, pieces=[b"word " * 100_000, fill]),
    }


@asynccontextmanager
async def served(path, **options):
    provider = await ArchiveProvider.from_options(str(path), options)
    try:
        yield Files(provider)
    finally:
        await provider.aclose()


async def read_at(files, path, offset, size):
    entry = await files.entry(path)
    handle = await files.provider.open(entry.node, os.O_RDONLY, CALLER)
    try:
        return bytes(await handle.read(offset, size))
    finally:
        await handle.release()


async def read_or_errno(files, path, offset, size):
    try:
        return await read_at(files, path, offset, size)
    except OSError as error:
        return error.errno


def overwrite(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def change(path, how):
    """Change an archive in place, to another modification time."""
    if how == "truncate":
        os.truncate(path, 5000)
    elif how == "append":
        overwrite(path, path.stat().st_size, b"more")
    else:
        overwrite(path, 0, bytes(1 << 20))
    os.utime(path, ns=(0, 1))


async def test_a_bad_frame_is_eio_and_told_with_its_offset(tmp_path, caplog):
    path = tmp_path / "a"
    write(path, tree(), compression="none")
    forge = Forge(path.read_bytes())
    frame = forge.frame_fields(1)
    forge.data[frame.offset + 5] ^= 1
    path.write_bytes(bytes(forge))
    whole = b"".join(tree()[b"large"].pieces)
    async with served(path) as files:
        first = frame.length
        assert await read_at(files, b"large", 0, 100) == whole[:100]
        with pytest.raises(OSError) as caught:
            await read_at(files, b"large", first + 50, 10)
        assert caught.value.errno == errno.EIO
        assert (
            f"{path}: a frame does not match its digest (at offset {frame.offset})" in caplog.text
        )
        assert await read_at(files, b"large", 2 * first, 100) == whole[2 * first :][:100]
        assert await read_at(files, b"small", 0, 100) == b"small"
        assert files.provider.statistics()["damaged_reads"] == 1


async def test_a_bad_record_is_eio_for_its_neighbours_only(tmp_path, caplog):
    path = tmp_path / "a"
    many = {b"": File(DIRECTORY)}
    many |= {b"%03d" % n: File(REGULAR, pieces=[b"%d" % n]) for n in range(200)}
    write(path, many)
    forge = Forge(path.read_bytes())
    forge.data[forge.root_values()["inodes"] + layout.TABLE_BLOCK + 99] ^= 1
    path.write_bytes(bytes(forge))
    async with served(path) as files:
        assert len(await files.names(b"")) == 200
        assert await files.get(b"000") == b"0"
        assert await files.get(b"199") == b"199"
        for name in (b"041", b"050", b"082"):
            with pytest.raises(OSError) as caught:
                await files.entry(name)
            assert caught.value.errno == errno.EIO
        entries = await files.provider.lookup_many(files.provider.root, [b"000", b"199", b"no"])
        assert [entry is not None for entry in entries] == [True, True, False]
    assert "a block of a table does not match its digest" in caplog.text


async def test_another_file_in_its_place_changes_nothing(tmp_path, caplog):
    path = tmp_path / "a"
    write(path, tree())
    async with served(path) as files:
        assert await read_at(files, b"small", 0, 9) == b"small"
        write(path, tree(b"new"))
        with caplog.at_level(logging.INFO):
            assert await files.get(b"words") == b"word " * 100_000
            assert await files.get(b"small") == b"small"
            await files.names(b"")
        assert "was replaced or removed; what is attached stays the file it was" in caplog.text
    async with served(path) as files:
        assert await files.get(b"small") == b"smallnew"


@pytest.mark.parametrize("how", ["write", "truncate", "append"])
async def test_a_change_in_place_never_gives_mixed_bytes(tmp_path, caplog, how):
    path = tmp_path / "a"
    write(path, tree(), compression="none")
    whole = b"".join(tree()[b"large"].pieces)
    async with served(path) as files:
        assert await read_at(files, b"large", 0, 4096) == whole[:4096]
        change(path, how)
        for offset in (0, 300_000, 599_000):
            # From memory what was verified before, or nothing.
            assert await read_or_errno(files, b"large", offset, 4096) in (
                whole[offset : offset + 4096],
                errno.ESTALE,
            )
        with pytest.raises(OSError) as caught:
            await read_at(files, b"large", 500_000, 4096)
        assert caught.value.errno == errno.ESTALE
        assert caplog.text.count("was changed in place while attached") == 1


async def test_a_change_whose_time_was_set_back_is_found_by_the_digests(tmp_path, caplog):
    path = tmp_path / "a"
    write(path, tree(), compression="none")
    whole = b"".join(tree()[b"large"].pieces)
    async with served(path) as files:
        for offset in range(0, 600_000, 131_072):
            await read_at(files, b"large", offset, 10)
        await files.get(b"words")
        before = path.stat()
        at = path.read_bytes().index(whole[:100])
        overwrite(path, at, bytes(600_000))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        files.provider._tree.frames._kept.clear()
        with pytest.raises(OSError) as caught:
            await read_at(files, b"large", 50, 10)
        assert caught.value.errno == errno.EIO
        assert "a frame does not match its digest" in caplog.text


async def test_moving_the_archive_changes_nothing(tmp_path):
    path = tmp_path / "a"
    write(path, tree(), compression="none")
    async with served(path) as files:
        path.chmod(0o600)
        path.rename(tmp_path / "b")
        assert await files.get(b"large") == b"".join(tree()[b"large"].pieces)
        os.link(tmp_path / "b", path)
        assert await files.get(b"small") == b"small"


async def test_what_is_not_in_the_page_cache_is_waited_for_in_a_thread(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write(path, tree())
    warm: set[int] = set()
    loop_reads, real = 0, os.preadv

    def preadv(fd, buffers, offset, flags=0):
        nonlocal loop_reads
        if flags & os.RWF_NOWAIT:
            loop_reads += 1
            if offset not in warm:
                raise BlockingIOError(errno.EAGAIN, "")
        else:
            warm.add(offset)
        return real(fd, buffers, offset)

    async with served(path) as files:
        monkeypatch.setattr(os, "preadv", preadv)
        assert sorted(await files.names(b"")) == [b"large", b"small", b"words"]
        assert await files.get(b"words") == b"word " * 100_000
        assert await files.get(b"large") == b"".join(tree()[b"large"].pieces)
        entries = await files.provider.lookup_many(files.provider.root, [b"large", b"small"])
        assert all(entries)
        assert files.provider.statistics()["disk_waits"] == len(warm) > 5
        assert loop_reads > len(warm)


async def test_a_disk_that_fails_is_eio(tmp_path, monkeypatch, caplog):
    path = tmp_path / "a"
    write(path, tree())

    def fail(*_):
        raise OSError(errno.EIO, "bad sector")

    async with served(path) as files:
        node = (await files.entry(b"words")).node
        monkeypatch.setattr(os, "preadv", fail)
        handle = await files.provider.open(node, os.O_RDONLY, CALLER)
        with pytest.raises(OSError) as caught:
            await read_all(handle)
        assert caught.value.errno == errno.EIO
    assert "bad sector" in caplog.text


async def test_the_first_read_of_a_large_file_reads_little(tmp_path):
    path = tmp_path / "a"
    pieces = [random.Random(9).randbytes(1 << 20)] * 64
    write(path, {b"": File(DIRECTORY), b"f": File(REGULAR, pieces=pieces)}, compression="none")
    async with served(path) as files:
        await read_at(files, b"f", 40 << 20, 4096)
        assert files.provider.statistics()["read_bytes"] <= 131_072


@pytest.mark.parametrize(
    ("option", "owner"),
    [("stored", (7, 8)), ("me", (os.getuid(), os.getgid())), ("12:34", (12, 34))],
)
async def test_whom_files_belong_to(tmp_path, option, owner):
    write(tmp_path / "a", tree())
    async with served(tmp_path / "a", owner=option) as files:
        entry = await files.entry(b"small")
        assert (entry.stat.uid, entry.stat.gid) == owner
        assert (await files.provider.getattr(entry.node))[2:4] == owner


@pytest.mark.parametrize("owner", ["", "1", "a:b", "-1:2", "4294967295:1", "1:99999999999"])
async def test_a_wrong_owner_is_refused(tmp_path, owner):
    write(tmp_path / "a", tree())
    with pytest.raises(UserError) as caught:
        await ArchiveProvider.from_options(str(tmp_path / "a"), {"owner": owner})
    assert caught.value.exit_code == ExitCode.USAGE


async def test_what_cannot_be_attached_is_told(tmp_path):
    bad = tmp_path / "bad"
    for data, sentence in (
        (b"", "it is no vfsd archive"),
        (layout.HEADER_MAGIC + bytes(5000), "has no end"),
    ):
        bad.write_bytes(data)
        with pytest.raises(UserError, match=sentence) as caught:
            await ArchiveProvider.from_options(str(bad), {})
        assert caught.value.exit_code == ExitCode.DAMAGED
    with pytest.raises(UserError) as caught:
        await ArchiveProvider.from_options(None, {})
    assert caught.value.exit_code == ExitCode.USAGE
    with pytest.raises(UserError, match="no option 'size'"):
        await ArchiveProvider.from_options(str(bad), {"size": "1"})
    with pytest.raises(FileNotFoundError):
        await ArchiveProvider.from_options(str(tmp_path / "gone"), {})
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(UserError, match="not a regular file"):
        await ArchiveProvider.from_options(str(fifo), {})


def test_what_is_recognised(tmp_path):
    write(tmp_path / "a", tree())
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "cut").write_bytes(data[:-1])
    (tmp_path / "text").write_text("text")
    (tmp_path / "exe").write_bytes(b"#!/bin/sh\n".ljust(4096, b"#") + data)
    found = {each.name for each in tmp_path.iterdir() if ArchiveProvider.recognises(str(each))}
    assert found == {"a", "cut", "exe"}
    assert not ArchiveProvider.recognises(str(tmp_path))
    assert not ArchiveProvider.recognises(str(tmp_path / "gone"))
