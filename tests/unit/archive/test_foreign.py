"""zip and tar, as their own tools make them: listed once, and shown as those tools show them."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import random
import stat
import subprocess
import tarfile
import zipfile
from contextlib import asynccontextmanager

import pytest

from providers.archive import ArchiveProvider
from vfsd.archive.foreign.indexing import INDEXES_MAX, kind_of
from vfsd.conformance import Files
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

LARGE = random.Random(1).randbytes(1 << 20) * 3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep indexes in the test's own place."""
    directory = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(directory))
    return directory / "vfsd" / "indexes"


@asynccontextmanager
async def served(path):
    provider = await ArchiveProvider.from_options(str(path), {})
    try:
        yield Files(provider)
    finally:
        await provider.aclose()


@pytest.fixture
def tree(tmp_path):
    """A directory with everything that a tar can hold."""
    root = tmp_path / "tree"
    (root / "d" / "empty").mkdir(parents=True)
    (root / "d" / "file").write_bytes(b"content")
    (root / "d" / "exe").write_bytes(b"#!/bin/sh\n")
    (root / "d" / "exe").chmod(0o4755)
    os.symlink("../d/file", root / "d" / "link")
    os.link(root / "d" / "file", root / "hard")
    os.mkfifo(root / "fifo")
    (root / ("long" * 50)).mkdir()
    (root / ("long" * 50) / ("n" * 200)).write_bytes(b"long")
    (root / os.fsdecode(b"\xff\n")).write_bytes(b"odd")
    (root / "zero").touch()
    os.setxattr(root / "d" / "file", "user.a", b"\xff\0b")
    with open(root / "sparse", "wb") as file:
        file.seek(1 << 30)
        file.write(b"data")
        file.truncate((1 << 30) + 10_000)
    os.utime(root / "d" / "file", ns=(0, 1_700_000_000_123_456_789))
    return root


def tar(tree, path, *options):
    subprocess.run(["tar", "-C", tree, *options, "-cf", path, "."], check=True)


def paths_of(tree):
    """Return every path below a directory, and what is read of it, None if it is large."""
    found = {}
    for folder, folders, names in os.walk(os.fsencode(tree)):
        for name in (*folders, *names):
            host = os.path.join(folder, name)
            there = os.lstat(host)
            data = None
            if stat.S_ISREG(there.st_mode) and there.st_size < 1 << 20:
                with open(host, "rb") as file:
                    data = file.read()
            found[os.path.relpath(host, os.fsencode(tree))] = host, there, data
    return found


async def compare(files, tree, *, times_ns=1, xattrs=True):
    """Compare what is shown with the directory that it was made from."""
    seen = {}
    listed = {b""}
    for path, (host, there, data) in paths_of(tree).items():
        entry = await files.entry(path)
        assert entry.stat.mode == there.st_mode, path
        assert (entry.stat.uid, entry.stat.gid) == (there.st_uid, there.st_gid)
        assert entry.stat.mtime_ns // times_ns == there.st_mtime_ns // times_ns, path
        listed.add(path)
        if stat.S_ISREG(there.st_mode):
            assert (entry.stat.size, entry.stat.nlink) == (there.st_size, there.st_nlink)
            assert data is None or await files.get(path) == data
            assert seen.setdefault(entry.node.number, there.st_ino) == there.st_ino
            for key in os.listxattr(host) if xattrs else ():
                value = await files.provider.getxattr(entry.node, os.fsencode(key))
                assert value == os.getxattr(host, key)
        elif stat.S_ISLNK(there.st_mode):
            assert await files.readlink(path) == os.readlink(host)
        elif stat.S_ISDIR(there.st_mode):
            assert sorted(await files.names(path)) == sorted(os.listdir(host))
    assert sorted(await files.names(b"")) == sorted(os.listdir(os.fsencode(tree)))
    handle = await files.provider.open((await files.entry(b"sparse")).node, os.O_RDONLY, None)
    assert bytes(await handle.read((1 << 30) - 2, 9)) == b"\0\0data\0\0\0"
    assert bytes(await handle.read(5, 3)) == bytes(3)


@pytest.mark.parametrize("form", ["gnu", "pax"])
async def test_a_tar_is_shown_as_the_directory_it_was_made_from(tmp_path, tree, form):
    options = ["--xattrs"] if form == "pax" else []
    tar(tree, tmp_path / "a.tar", f"--format={form}", "--sparse", *options)
    assert kind_of(str(tmp_path / "a.tar")) == "tar"
    async with served(tmp_path / "a.tar") as files:
        exact = 1 if form == "pax" else 1_000_000_000
        await compare(files, tree, times_ns=exact, xattrs=form == "pax")


@pytest.mark.parametrize(
    ("ending", "opener"),
    [(".tar.gz", gzip.open), (".tar.bz2", bz2.open), (".txz", lzma.open)],
)
async def test_a_compressed_tar_is_packed_once(tmp_path, tree, cache, ending, opener):
    (tree / "sparse").unlink()
    tar(tree, tmp_path / "a.tar", "--format=pax", "--xattrs")
    path = tmp_path / f"a{ending}"
    with opener(path, "wb") as file:
        file.write((tmp_path / "a.tar").read_bytes())
    async with served(path) as files:
        assert sorted(await files.names(b"d")) == [b"empty", b"exe", b"file", b"link"]
        assert await files.get(b"d/file") == b"content"
        entry = await files.entry(b"hard")
        assert entry.stat.nlink == 2
        assert entry.stat.mtime_ns == 1_700_000_000_123_456_789
    (made,) = cache.iterdir()
    before = made.stat().st_ino
    async with served(path) as files:
        assert await files.get(b"d/file") == b"content"
    assert [each.stat().st_ino for each in cache.iterdir()] == [before]


def zipped(path, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("plain.txt", b"text " * 1000)
        archive.writestr("empty", b"")
        archive.writestr("large.bin", LARGE)
        archive.writestr("stored", b"stored", zipfile.ZIP_STORED)
        directory = zipfile.ZipInfo("sub/dir/")
        directory.external_attr = (stat.S_IFDIR | 0o750) << 16
        archive.writestr(directory, b"")
        link = zipfile.ZipInfo("sub/link", (2020, 2, 3, 4, 5, 6))
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "../plain.txt")
        run = zipfile.ZipInfo("sub/run")
        run.external_attr = (stat.S_IFREG | 0o755) << 16
        archive.writestr(run, b"#!/bin/sh\n")
        archive.writestr("umläut", b"u")


METHODS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


@pytest.mark.parametrize("method", METHODS)
async def test_a_zip_is_shown(tmp_path, method, monkeypatch):
    # A large file is expanded from kept states, and is not kept whole.
    monkeypatch.setattr("vfsd.archive.foreign.tree.WHOLE_BYTES_MAX", 1 << 20)
    monkeypatch.setattr("vfsd.archive.foreign.contents.STATE_BYTES", 1 << 18)
    zipped(tmp_path / "a.zip", METHODS[method])
    async with served(tmp_path / "a.zip") as files:
        assert await files.names(b"") == sorted(
            [b"plain.txt", b"empty", b"large.bin", b"stored", b"sub", "umläut".encode()]
        )
        assert await files.get(b"plain.txt") == b"text " * 1000
        assert await files.get(b"empty") == b""
        assert await files.get(b"stored") == b"stored"
        assert await files.readlink(b"sub/link") == b"../plain.txt"
        entry = await files.entry(b"sub/link")
        assert entry.stat.mtime_ns == 1_580_702_706 * 10**9
        assert (await files.entry(b"sub/run")).stat.mode == stat.S_IFREG | 0o755
        assert (await files.entry(b"sub/dir")).stat.mode == stat.S_IFDIR | 0o750
        # Larger than what is kept whole: from anywhere, forwards and backwards.
        large = (await files.entry(b"large.bin")).node
        handle = await files.provider.open(large, os.O_RDONLY, None)
        chance = random.Random(2)
        for at in (0, 3_000_000, 5, *(chance.randrange(len(LARGE)) for _ in range(20))):
            assert bytes(await handle.read(at, 5000)) == LARGE[at : at + 5000]
        assert bytes(await handle.read(len(LARGE) - 3, 100)) == LARGE[-3:]
        assert await handle.read(len(LARGE), 10) == b""
        await handle.release()


async def test_a_zip_behind_something_else(tmp_path):
    zipped(tmp_path / "a.zip")
    exe = tmp_path / "app"
    exe.write_bytes(b"#!/usr/bin/env python3\n" + (tmp_path / "a.zip").read_bytes())
    async with served(exe) as files:
        assert await files.get(b"plain.txt") == b"text " * 1000


async def test_a_damaged_member_is_eio(tmp_path, caplog):
    path = tmp_path / "a.zip"
    zipped(path, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"text text") + 7] ^= 1
    path.write_bytes(data)
    async with served(path) as files:
        with pytest.raises(OSError) as caught:
            await files.get(b"plain.txt")
        assert caught.value.errno == errno.EIO
        assert await files.get(b"stored") == b"stored"
    assert "a file does not match its CRC-32 (at offset" in caplog.text


async def test_a_bomb_is_not_expanded(tmp_path, caplog):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(50_000_000))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    async with served(path) as files:
        assert (await files.entry(b"bomb")).stat.size == 1000
        with pytest.raises(OSError) as caught:
            await files.get(b"bomb")
        assert caught.value.errno == errno.EIO
    assert "a file does not expand to its size" in caplog.text


def hostile_tar(path):
    with tarfile.open(path, "w") as archive:
        for name in ("../up", "/abs/path", "a/../../b", "ok/./file", "ok/file2", "..", "."):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
        file_then_below = tarfile.TarInfo("ok/file2/below")
        archive.addfile(file_then_below)
        link = tarfile.TarInfo("ok/hard")
        link.type, link.linkname = tarfile.LNKTYPE, "../../etc/passwd"
        archive.addfile(link)
        again = tarfile.TarInfo("ok/file2")
        again.size = 2
        archive.addfile(again, io.BytesIO(b"xy"))


async def test_names_that_lead_out_are_left_out(tmp_path, caplog):
    hostile_tar(tmp_path / "a.tar")
    async with served(tmp_path / "a.tar") as files:
        assert await files.names(b"") == [b"abs", b"ok"]
        assert await files.names(b"ok") == [b"file", b"file2"]
        assert await files.get(b"ok/file2") == b"xy"
        assert await files.get(b"abs/path") == b"abc"
    assert "5 files that no tree can hold are left out" in caplog.text


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
async def test_what_is_cut_off_is_refused(tmp_path, tree, kind, cache):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zipped(path)
        data = path.read_bytes()[:-200]
    else:
        (tree / "sparse").unlink()
        tar(tree, path, *(["-z"] if kind == "tar.gz" else []))
        data = path.read_bytes()
        data = data[: len(data) // 2] if kind == "tar.gz" else data[:2000] + b"\xff" * 600
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        await ArchiveProvider.from_options(str(path), {})
    assert caught.value.exit_code == ExitCode.DAMAGED
    assert not cache.exists() or list(cache.iterdir()) == []


async def test_an_index_is_made_once_and_anew_when_the_file_changes(tmp_path, cache):
    path = tmp_path / "a.zip"
    zipped(path)
    async with served(path):
        pass
    (made,) = cache.iterdir()
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    first = made.stat().st_ino
    async with served(path):
        pass
    assert [each.stat().st_ino for each in cache.iterdir()] == [first]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("added", b"new")
    async with served(path) as files:
        assert await files.get(b"added") == b"new"
    # A damaged index is made anew.
    for each in cache.iterdir():
        each.write_bytes(b"nothing")
    async with served(path) as files:
        assert await files.get(b"added") == b"new"


async def test_indexes_do_not_pile_up(tmp_path, cache):
    cache.mkdir(parents=True)
    for number in range(INDEXES_MAX + 5):
        (cache / f"{number}.vfsa").touch()
        os.utime(cache / f"{number}.vfsa", (number, number))
    zipped(tmp_path / "a.zip")
    async with served(tmp_path / "a.zip"):
        pass
    names = {each.name for each in cache.iterdir()}
    assert len(names) == INDEXES_MAX
    assert "5.vfsa" not in names
    assert f"{INDEXES_MAX + 4}.vfsa" in names


async def test_without_a_place_for_indexes(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    zipped(tmp_path / "a.zip")
    async with served(tmp_path / "a.zip") as files:
        assert await files.get(b"stored") == b"stored"


async def test_a_zip_that_changes_in_place_gives_nothing_more(tmp_path, caplog):
    path = tmp_path / "a.zip"
    zipped(path, zipfile.ZIP_STORED)
    async with served(path) as files:
        assert await files.get(b"stored") == b"stored"
        path.write_bytes(bytes(path.stat().st_size))
        os.utime(path, ns=(0, 1))
        with pytest.raises(OSError) as caught:
            await files.get(b"plain.txt")
        assert caught.value.errno == errno.ESTALE
    assert "changed in place" in caplog.text
