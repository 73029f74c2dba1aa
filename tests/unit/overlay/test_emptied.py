"""Directories of which the lower's names were removed: empty until something is put there."""

import errno

import pytest

from providers.overlay import OverlayProvider
from tests.unit.overlay.layering import sealed, upper_of
from vfsd.conformance import Directory, File, Files

LOWER = {b"d/a": File(b"a"), b"d/b": File(b"b"), b"d/sub": Directory(), b"f": File(b"f")}


@pytest.fixture(params=["memory", "directory"])
async def files(request, tmp_path):
    upper = await upper_of(request.param, tmp_path)
    provider = await OverlayProvider.over(upper, [await sealed(LOWER)])
    yield Files(provider)
    await provider.aclose()


async def empty(files):
    """Remove all names in ``d``; return its node, which a door would hold meanwhile."""
    held = await files.node(b"d")
    for name in (b"d/a", b"d/b"):
        await files.unlink(name)
    await files.rmdir(b"d/sub")
    assert await files.names(b"d") == []
    return held


async def over_a_removed_directory(files):
    await files.mkdir(b"e")
    await files.mkdir(b"d/sub")
    await files.rename(b"e", b"d/sub")


WAYS = {
    "create": lambda files: files.put(b"d/a", b"new"),
    "create another": lambda files: files.put(b"d/other", b"new"),
    "mkdir": lambda files: files.mkdir(b"d/a"),
    "symlink": lambda files: files.symlink(b"d/a", b"x"),
    "link": lambda files: files.link(b"f", b"d/b"),
    "rename": lambda files: files.rename(b"f", b"d/a"),
    "rename a directory": over_a_removed_directory,
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_was_put_there_is_not_removed_with_it(files, way):
    held = await empty(files)
    assert held.covered == {b"a", b"b", b"sub"}
    await WAYS[way](files)
    names = await files.names(b"d")
    assert len(names) == 1
    with pytest.raises(OSError, match=r".") as caught:
        await files.rmdir(b"d")
    assert caught.value.errno == errno.ENOTEMPTY
    assert await files.names(b"d") == names
    path = b"d/" + names[0]
    await (files.rmdir(path) if (await files.node(path)).is_directory else files.unlink(path))
    await files.rmdir(b"d")
    assert not await files.exists(b"d")


async def test_whiteouts_that_were_just_made_are_not_looked_at_again(files):
    held = await empty(files)
    upper = files.provider._union.upper_provider
    asked = []
    lookup_many = upper.lookup_many

    async def call(parent, names):
        asked.extend(names)
        return await lookup_many(parent, names)

    upper.lookup_many = call
    await files.rmdir(b"d")
    assert held.removed
    assert not asked


async def test_what_is_left_of_the_lower_keeps_the_directory(files):
    held = await files.node(b"d")
    await files.unlink(b"d/a")
    with pytest.raises(OSError, match=r".") as caught:
        await files.rmdir(b"d")
    assert caught.value.errno == errno.ENOTEMPTY
    await files.unlink(b"d/b")
    await files.rmdir(b"d/sub")
    await files.rmdir(b"d")
    assert held.removed
