"""Files of the lowers with several names: one file under all of them, whatever becomes of one."""

import os
import stat

import pytest

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider
from tests.unit.overlay.layering import append, number, overlay, sealed, upper_of
from vfsd.conformance import File, Files, HardLink
from vfsd.conformance.files import ROOT
from vfsd.provider import SetAttr

TWO = {b"a": File(b"data"), b"d/b": HardLink(b"a")}


@pytest.fixture(params=["memory", "directory"])
async def files(request, tmp_path):
    upper = await upper_of(request.param, tmp_path)
    provider = await OverlayProvider.over(upper, [await sealed(TWO)], spare=MemoryProvider())
    yield Files(provider)
    await provider.aclose()


async def test_hard_links_stay_one_file():
    contents = {b"a": File(b"data"), b"d/b": HardLink(b"a"), b"c": HardLink(b"a")}
    async with overlay(contents) as files:
        await append(files, b"a", b"!")
        assert await files.get(b"d/b") == b"data!"
        assert {await number(files, path) for path in contents} == {await number(files, b"a")}
        assert (await files.stat(b"c")).nlink == 3
        await files.unlink(b"a")
        assert (await files.stat(b"d/b")).nlink == 2
        await append(files, b"c", b"?")
        assert await files.get(b"d/b") == b"data!?"
        fork = Files(files.provider.fork())
        await files.rename(b"d/b", b"a")
        assert (await files.stat(b"a")).nlink == 2
        await files.unlink(b"c")
        assert (await files.get(b"a"), (await files.stat(b"a")).nlink) == (b"data!?", 1)
        await append(fork, b"c", b" fork")
        assert (await fork.get(b"d/b"), (await fork.stat(b"d/b")).nlink) == (b"data!? fork", 2)
        await fork.provider.aclose()
        assert files.provider.statistics()["linked_files"] == 0


async def test_hard_links_that_only_lose_names_are_not_copied():
    contents = {b"a": File(b"data"), b"b": HardLink(b"a"), b"c": HardLink(b"a")}
    async with overlay(contents) as files:
        before = files.provider.statistics()["copied_up_bytes"]
        await files.unlink(b"a")
        assert (await files.stat(b"b")).nlink == 2
        await files.unlink(b"c")
        assert (await files.stat(b"b")).nlink == 1
        await files.unlink(b"b")
        assert files.provider.statistics()["copied_up_bytes"] == before
        assert await files.names() == []


async def test_the_last_name_gets_more_once_it_was_written_to(files):
    await files.unlink(b"a")
    await append(files, b"d/b", b"!")
    await files.link(b"d/b", b"c")
    assert [(await files.stat(path)).nlink for path in (b"c", b"d/b")] == [2, 2]
    assert await files.get(b"c") == b"data!"


@pytest.mark.parametrize("seals", [1, 2])
async def test_links_are_counted_right_in_all_versions(files, seals):
    """Each version is a layer, to which the file is copied up anew."""
    versions = []
    await append(files, b"a", b"1")
    for _ in range(seals):
        versions.append(Files(files.provider.snapshot()))
    await files.unlink(b"a")
    await append(files, b"d/b", b"2")
    versions.append(Files(files.provider.snapshot()))
    await append(files, b"d/b", b"3")
    await files.link(b"d/b", b"c")
    versions.append(Files(files.provider.fork()))
    for each in versions[:-2]:
        for path in (b"a", b"d/b"):
            assert (await each.get(path), (await each.stat(path)).nlink) == (b"data1", 2)
    lone = versions[-2]
    assert (await lone.get(b"d/b"), (await lone.stat(b"d/b")).nlink) == (b"data12", 1)
    for each in (files, versions[-1]):
        for path in (b"c", b"d/b"):
            assert (await each.get(path), (await each.stat(path)).nlink) == (b"data123", 2)
    await append(versions[-1], b"c", b"!")
    assert await versions[-1].get(b"d/b") == b"data123!"
    assert await files.get(b"d/b") == b"data123"
    for each in versions:
        await each.provider.aclose()


async def test_who_opened_it_by_the_name_that_went_changes_it_under_the_other(files):
    node = await files.node(b"a")
    reader = await files.provider.open(node, os.O_RDONLY, ROOT)
    await files.unlink(b"a")
    await files.provider.setattr(node, SetAttr(mode=0o600), ROOT)
    found = await files.stat(b"d/b")
    assert (stat.S_IMODE(found.mode), found.nlink) == (0o600, 1)
    assert (await reader.getattr()).mode == found.mode
    await append(files, b"d/b", b"!")
    assert bytes(await reader.read(0, 10)) == b"data!"
    await files.unlink(b"d/b")
    assert (await reader.getattr()).nlink == 0
    await reader.release()


async def test_who_writes_to_it_by_the_name_that_went_after_a_snapshot(files):
    writer = await files.provider.open(await files.node(b"a"), os.O_RDWR, ROOT)
    before = Files(files.provider.snapshot())
    await files.unlink(b"a")
    await writer.write(4, b"!")
    assert (await files.get(b"d/b"), (await files.stat(b"d/b")).nlink) == (b"data!", 1)
    assert (await before.get(b"a"), (await before.stat(b"d/b")).nlink) == (b"data", 2)
    await writer.release()
    await before.provider.aclose()
