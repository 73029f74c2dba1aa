"""What an overlay knows of a directory that it brought up, so that it need not ask the upper.

Each operation that puts something there must be seen, by who held the directory all the while.
"""

import errno
import os
import stat

import pytest

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider, nodes
from providers.passthrough import PassthroughProvider
from tests.unit.overlay.layering import Counting, append, sealed, upper_of
from vfsd.conformance import Directory, File, Files, HardLink, Symlink, fill
from vfsd.conformance.files import listing
from vfsd.conformance.model import Model, seeds
from vfsd.conformance.oracle import Item
from vfsd.provider import SetAttr

EXCHANGE = 2
LOWER = {
    b"d/a": File(b"a"),
    b"d/b": File(b"b"),
    b"d/c": File(b"c"),
    b"d/link": HardLink(b"d/c"),
    b"d/s": Symlink(b"a"),
    b"d/sub/f": File(b"f"),
    b"d/sub/deep/g": File(b"g"),
    b"e/x": File(b"x"),
    b"e/y/z": File(b"z"),
    b"f": File(b"top"),
}


class Held(Files):
    """Files of which every node that was seen stays held, as the kernel holds them."""

    def __init__(self, provider):
        super().__init__(provider)
        self.held = {}

    async def node(self, path):
        node = self.root
        for name in path.split(b"/") if path else []:
            node = (await self.provider.lookup(node, name)).node
            self.held[id(node)] = node
        return node


@pytest.fixture(params=["memory", "directory", "directory over a directory", "directory, unsynced"])
async def files(request, tmp_path):
    for each in ("upper", "lower"):
        (tmp_path / each).mkdir()
    upper = await upper_of(request.param, tmp_path / "upper")
    sync = not request.param.endswith("unsynced")  # or files are never copied in one step
    if request.param.endswith("over a directory"):
        lower = await PassthroughProvider.from_options(str(tmp_path / "lower"), {"links": "keep"})
        await fill(lower, LOWER)
    else:
        lower = await sealed(LOWER)
    provider = await OverlayProvider.over(upper, [lower], spare=MemoryProvider(), sync=sync)
    yield Held(provider)
    await provider.aclose()


async def brought_up(files):
    """Bring directories up by removing names in them; hold all that is left."""
    await listing(files)
    for path in (b"d/a", b"d/sub/f"):
        await files.unlink(path)
    directory = await files.node(b"d")
    assert directory.others == {b"sub"}
    assert (await files.node(b"d/sub")).others == set()
    return directory


async def write(files, path):
    handle = await files.provider.open(await files.node(path), os.O_RDWR, files.caller)
    await handle.write(0, b"written")
    await handle.release()


async def in_steps(files, *steps):
    for step in steps:
        await step


def remade(files, path):
    return in_steps(files, files.put(path, b"1"), files.unlink(path), files.put(path, b"2"))


async def with_a_seal(files):
    frozen = files.provider.snapshot()
    before = await listing(Files(frozen))
    await files.put(b"d/sub/after", b"new")
    await files.unlink(b"d/b")
    assert await listing(Files(frozen)) == before
    forked = frozen.fork()
    await Files(forked).put(b"d/sub/elsewhere", b"new")
    await Files(forked).unlink(b"d/sub/deep/g")
    assert await files.exists(b"d/sub/deep/g")
    assert not await files.exists(b"d/sub/elsewhere")
    for each in (forked, frozen):
        await each.aclose()


WAYS = {
    "create": lambda files: files.put(b"d/new", b"new"),
    "create over a whiteout": lambda files: files.put(b"d/a", b"new"),
    "create, remove and create again": lambda files: remade(files, b"d/a"),
    "create elsewhere, remove and create again": lambda files: remade(files, b"d/new"),
    "create below": lambda files: files.put(b"d/sub/new", b"new"),
    "mkdir": lambda files: files.mkdir(b"d/new"),
    "mkdir over a whiteout": lambda files: files.mkdir(b"d/sub/f"),
    "symlink": lambda files: files.symlink(b"d/sub/new", b"x"),
    "symlink over a whiteout": lambda files: files.symlink(b"d/sub/f", b"x"),
    "mknod": lambda files: files.mknod(b"d/sub/new", stat.S_IFIFO | 0o600),
    "mknod over a whiteout": lambda files: files.mknod(b"d/a", stat.S_IFIFO | 0o600),
    "link": lambda files: files.link(b"f", b"d/sub/new"),
    "link over a whiteout": lambda files: files.link(b"f", b"d/a"),
    "link inside": lambda files: files.link(b"d/b", b"d/new"),
    "rename in": lambda files: files.rename(b"f", b"d/sub/new"),
    "rename in, over a whiteout": lambda files: files.rename(b"f", b"d/a"),
    "rename in, over a file": lambda files: files.rename(b"f", b"d/b"),
    "rename in from the upper": lambda files: in_steps(
        files, files.put(b"n", b"new"), files.rename(b"n", b"d/sub/new")
    ),
    "rename a directory in": lambda files: files.rename(b"e", b"d/sub/new"),
    "rename a directory in, over a whiteout": lambda files: files.rename(b"e", b"d/sub/f"),
    "rename an upper directory in": lambda files: in_steps(
        files, files.mkdir(b"n"), files.put(b"n/in", b"new"), files.rename(b"n", b"d/a")
    ),
    "rename a directory over an emptied one": lambda files: in_steps(
        *(files, files.unlink(b"d/sub/deep/g"), files.rename(b"e", b"d/sub/deep")),
    ),
    "rename inside": lambda files: files.rename(b"d/b", b"d/new"),
    "rename inside, over a whiteout": lambda files: files.rename(b"d/b", b"d/a"),
    "rename out": lambda files: files.rename(b"d/b", b"out"),
    "rename out, over a file": lambda files: files.rename(b"d/b", b"f"),
    "rename out and in again": lambda files: in_steps(
        files, files.rename(b"d/b", b"out"), files.rename(b"out", b"d/b")
    ),
    "rename it": lambda files: in_steps(
        files, files.rename(b"d", b"moved"), files.put(b"moved/new", b"new")
    ),
    "rename it and back": lambda files: in_steps(
        *(files, files.rename(b"d", b"moved"), files.put(b"moved/a", b"new")),
        files.rename(b"moved", b"d"),
    ),
    "exchange": lambda files: files.rename(b"f", b"d/b", EXCHANGE),
    "exchange directories": lambda files: files.rename(b"e", b"d/sub", EXCHANGE),
    "exchange inside": lambda files: files.rename(b"d/b", b"d/sub", EXCHANGE),
    "append": lambda files: append(files, b"d/b", b"more"),
    "append to a hard link": lambda files: append(files, b"d/c", b"more"),
    "append to a hard link, and bring its other name up": lambda files: in_steps(
        files, append(files, b"d/c", b"more"), files.provider.layer()
    ),
    "write": lambda files: write(files, b"d/sub/deep/g"),
    "chmod": lambda files: files.setattr(b"d/b", SetAttr(mode=0o600)),
    "set a symlink's time": lambda files: files.setattr(b"d/s", SetAttr(mtime_ns=1)),
    "truncate": lambda files: files.setattr(b"d/b", SetAttr(size=0)),
    "setxattr": lambda files: set_attribute(files, b"d/b"),
    "setxattr on a directory": lambda files: set_attribute(files, b"d/sub/deep"),
    "remove": lambda files: files.unlink(b"d/b"),
    "remove a hard link": lambda files: files.unlink(b"d/link"),
    "append, then remove": lambda files: in_steps(
        files, append(files, b"d/b", b"more"), files.unlink(b"d/b")
    ),
    "seal": with_a_seal,
}


async def set_attribute(files, path):
    await files.provider.setxattr(await files.node(path), b"user.a", b"1")


async def told(files):
    """Return what is seen, checked against what is seen by who knows nothing."""
    known = await listing(files)
    for node in files.held.values():
        node.unknown()
    assert known == await listing(files)
    return known


async def remove_all(files, path):
    for name in await files.names(path):
        child = path + b"/" + name
        if (await files.node(child)).is_directory:
            with pytest.raises(OSError, match=r".") as caught:
                await files.rmdir(path)
            assert caught.value.errno == errno.ENOTEMPTY
            await remove_all(files, child)
        else:
            await files.unlink(child)
        assert not await files.exists(child)
    assert await files.names(path) == []
    await files.rmdir(path)


@pytest.mark.parametrize("way", WAYS)
async def test_what_was_done_in_a_directory_that_was_brought_up_is_seen(files, way):
    await brought_up(files)
    await WAYS[way](files)
    await told(files)


@pytest.mark.parametrize("way", WAYS)
async def test_what_was_done_there_is_removed_again(files, way):
    await brought_up(files)
    await WAYS[way](files)
    for top in await files.names():
        if (await files.node(top)).is_directory:
            await remove_all(files, top)
    await files.put(b"e", b"new")
    assert all(b"/" not in path for path in await told(files))


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_only_so_many_names_are_remembered(files, monkeypatch, limit):
    monkeypatch.setattr(nodes, "OTHERS_MAX", limit)
    await listing(files)
    await files.unlink(b"d/a")
    for name in (b"d/1", b"d/2", b"d/3", b"d/4"):
        await files.put(name, name)
    directory = await files.node(b"d")
    assert directory.others is None
    assert {b"1", b"2", b"3", b"4"} <= set(await files.names(b"d"))
    await told(files)


async def test_a_directory_of_which_all_is_known_is_not_asked_about_in_the_upper(files):
    await brought_up(files)
    directory = await files.node(b"d/sub")
    upper = files.provider._union.upper_provider
    asked = [Counting(upper, method) for method in ("lookup", "lookup_many", "readdir")]
    assert await files.provider.readdir(directory) == [b"deep"]
    found = await files.provider.lookup_many(directory, [b"deep", b"f", b"none"])
    assert [each is None for each in found] == [False, True, True]
    assert (await files.provider.lookup(directory, b"deep")).node is found[0].node
    await files.provider.unlink(found[0].node, b"g")
    assert [each.count for each in asked] == [0, 0, 0]


async def test_one_whiteout_needs_no_shield(files):
    directory = await brought_up(files)
    union = files.provider._union
    whole, brief = union.turn, union.turn.brief
    assert union.turn_to_remove(directory, b"b") is brief
    assert union.turn_to_remove(directory, b"sub") is whole
    assert union.turn_to_remove(await files.node(b"e"), b"x") is whole
    await append(files, b"d/b", b"more")
    assert union.turn_to_remove(directory, b"b") is whole
    assert union.turn_to_remove(directory, b"s") is brief
    await files.unlink(b"d/link")
    assert union.turn_to_remove(directory, b"s") is whole
    assert not whole.held


@pytest.mark.parametrize("method", ["create", "put_whiteout"])
async def test_what_failed_after_it_was_done_is_seen(files, method):
    await brought_up(files)
    upper = files.provider._union.upper_provider
    done = getattr(upper, method)

    async def fail_afterwards(*args):
        made = await done(*args)
        if method == "create":
            await made[1].release()
        raise OSError(errno.EIO, "the answer was lost")

    setattr(upper, method, fail_afterwards)
    change = files.put(b"d/new") if method == "create" else files.unlink(b"d/b")
    with pytest.raises(OSError, match="lost"):
        await change
    setattr(upper, method, done)
    assert await files.exists(b"d/new") == (method == "create")
    assert await files.exists(b"d/b") == (method == "create")
    await told(files)


MODEL_LOWER = {
    **{b"/".join((top, name)): File(top) for top in (b"a", b"b") for name in (b"b", b"c")},
    **{b"/".join((top, b"a", name)): File(name) for top in (b"a", b"b") for name in (b"a", b"b")},
    b"a/a/c": Directory(),
    b"c": File(b"c"),
}


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("upper", ["memory", "directory"])
async def test_the_model_over_a_lower_with_all_nodes_held(tmp_path, upper, seed):
    provider = await OverlayProvider.over(
        await upper_of(upper, tmp_path), [await sealed(MODEL_LOWER)], spare=MemoryProvider()
    )
    model = Model(Held(provider), seed)
    items = model.worlds[0].oracle.items
    for path, item in MODEL_LOWER.items():
        for place, letter in enumerate(path):
            if letter == ord("/"):
                items.setdefault(path[:place], Item("directory"))
        is_file = isinstance(item, File)
        items[path] = Item("file", bytearray(item.data)) if is_file else Item("directory")
    await model.run()
    for world in (*model.worlds, *model.sealed):
        await world.files.provider.aclose()
