"""A small file is copied up in one step, and where that fails the long way, with nothing left."""

import errno
import gc
import os
import signal
import types

import pytest
import trio

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider, copyup
from providers.passthrough import PassthroughProvider, copies, looking
from tests.unit.overlay.layering import Counting, append
from tests.unit.overlay.native import Faulty
from vfsd.conformance import Files, fill
from vfsd.conformance.contents import Directory, File
from vfsd.provider import Identity, SetAttr

ROOT = Identity(0, 0)
CONTENTS = {
    b"d": Directory(),
    b"d/f": File(b"lower", mode=0o4755, xattrs={b"user.kept": b"1"}),
    b"d/g": File(b"another"),
    b"d/zeros": File(bytes(5000)),
    b"d/large": File(b"x" * 200_000),
}


async def opened(place, *, sync=False, native="auto"):
    lower = await PassthroughProvider.from_options(str(place / "lower"), {"links": "keep"})
    options = {"links": "keep", "watch": "off", "native": native}
    upper = await PassthroughProvider.from_options(str(place / "upper"), options)
    # What is to be durable first goes the long way, which lets others run meanwhile.
    return await OverlayProvider.over(upper, [lower], spare=MemoryProvider(), sync=sync)


async def lay(place):
    for name in ("lower", "upper"):
        (place / name).mkdir()
    lower = await PassthroughProvider.from_options(str(place / "lower"), {})
    await fill(lower, CONTENTS)
    await lower.aclose()


@pytest.fixture(params=["directory", "directory one by one", "memory"])
async def files(request, tmp_path):
    await lay(tmp_path)
    if request.param.startswith("directory"):
        native = "auto" if request.param == "directory" else "off"
        provider = await opened(tmp_path, native=native)
    else:
        lower = await PassthroughProvider.from_options(str(tmp_path / "lower"), {"links": "keep"})
        provider = await OverlayProvider.over(MemoryProvider(), [lower])
    yield Files(provider)
    await provider.aclose()


@pytest.fixture
def staged(monkeypatch):
    """Collect the files that are copied up the long way."""
    names = []
    whole = copyup._staged

    async def noted(union, upper, stage, node, *rest):
        if node.name != b"":
            names.append(node.name)
        return await whole(union, upper, stage, node, *rest)

    monkeypatch.setattr(copyup, "_staged", noted)
    return names


async def shown(files, path):
    """Return all that a copy must keep, but the blocks and the ctime."""
    node = await files.node(path)
    stat = await files.provider.getattr(node)
    names = sorted(await files.provider.listxattr(node))
    values = [(name, await files.provider.getxattr(node, name)) for name in names]
    return node.number, stat._replace(blocks=0, ctime_ns=0, block_size=0), values


@pytest.mark.parametrize("path", [b"d/f", b"d/zeros", b"d/large"])
async def test_a_copy_is_what_it_was_copied_from(files, staged, path):
    await files.setattr(b"d", SetAttr(atime_ns=5, mtime_ns=7))  # brings the directory up
    before = await shown(files, path), await files.get(path), await files.stat(b"d")
    atime_ns = (await files.stat(path)).atime_ns  # what the reading left
    handle = await files.provider.open(await files.node(path), os.O_WRONLY, ROOT)
    await handle.release()
    number, stat, values = before[0]
    expected = number, stat._replace(atime_ns=atime_ns), values
    found = await shown(files, path)
    assert (found, await files.get(path)) == (expected, before[1])
    assert (await files.stat(b"d")).mtime_ns == before[2].mtime_ns
    assert staged == ([b"d"] if path == b"d/f" else [b"d", path[2:]])
    await append(files, path, b" more")
    assert await files.get(path) == before[1] + b" more"


async def test_the_first_file_of_a_directory_takes_one_step_too(files, staged):
    await files.setattr(b"", SetAttr(mtime_ns=7))  # brings the root up
    before = files.provider.statistics()
    await append(files, b"d/f", b" more")
    after = files.provider.statistics()
    assert after["copied_up_bytes"] - before["copied_up_bytes"] == len(b"lower")
    assert after["copied_up_files"] - before["copied_up_files"] == 2  # the directory as well
    assert await files.get(b"d/f") == b"lower more"
    assert staged == [b"d"]


async def test_a_change_of_attributes_takes_one_step_too(files, staged):
    await files.setattr(b"d/f", SetAttr(mtime_ns=9))
    assert (await files.stat(b"d/f")).mtime_ns == 9
    assert staged == [b"d"]


async def test_who_is_copied_up_by_two_at_once_is_copied_once(tmp_path):
    await lay(tmp_path)
    provider = await opened(tmp_path)
    files = Files(provider)
    put = Counting(provider._union.upper.provider, "put_copy")
    async with trio.open_nursery() as nursery:
        for letter in b"abcdef":
            nursery.start_soon(append, files, b"d/f", bytes([letter]))
    assert sorted(await files.get(b"d/f")) == sorted(b"lower" + b"abcdef")
    assert put.count == 1
    await provider.aclose()


@pytest.mark.parametrize("call", ["pwrite", "setxattr", "utime", "fstat", "renameat2"])
async def test_what_fails_on_the_way_is_done_the_long_way(tmp_path, monkeypatch, staged, call):
    await lay(tmp_path)
    provider = await opened(tmp_path, native="off")
    files = Files(provider)
    await files.setattr(b"d", SetAttr(mtime_ns=7))

    def fails(*_args, **_named):
        raise OSError(errno.ENOSPC, "no room")

    if call == "renameat2":
        monkeypatch.setattr(copies, "renameat2", fails)
    else:
        monkeypatch.setattr(copies, "os", types.SimpleNamespace(**{**vars(os), call: fails}))
    await goes_the_long_way(tmp_path, files, staged)


CALLS = 9 if os.geteuid() else 11
"""That a put takes in C: the last three to look at the directory, to rename, and for its times.

Only root lays a file that keeps its setuid bit, which then takes two more.
"""


@pytest.mark.parametrize("step", range(1, CALLS))
async def test_what_fails_in_the_one_trip_too(tmp_path, monkeypatch, faulty, staged, step):
    await lay(tmp_path)
    monkeypatch.setattr(looking, "library", faulty.looking)
    provider = await opened(tmp_path)
    files = Files(provider)
    await files.setattr(b"d", SetAttr(mtime_ns=7))
    faulty.at(step)
    await goes_the_long_way(tmp_path, files, staged)
    assert faulty.met


async def test_times_that_are_set_the_older_way_are_kept_too(tmp_path, monkeypatch, faulty, staged):
    await lay(tmp_path)
    monkeypatch.setattr(looking, "library", faulty.looking)
    files = Files(await opened(tmp_path))
    await files.setattr(b"d", SetAttr(atime_ns=5, mtime_ns=7))
    faulty.at(CALLS)
    await append(files, b"d/f", b" more")
    assert (faulty.met, staged) == (1, [b"d"])
    assert (tmp_path / "upper" / "layers" / "1" / "d").stat().st_mtime_ns == 7
    await files.provider.aclose()


async def goes_the_long_way(tmp_path, files, staged):
    """Open a file to write whose copying in one step fails: all is as if there were none."""
    fds = len(os.listdir("/proc/self/fd"))
    before, above = await shown(files, b"d/f"), await files.stat(b"d")
    handle = await files.provider.open(await files.node(b"d/f"), os.O_WRONLY, ROOT)
    found = await shown(files, b"d/f")
    # Reading it once more for the long way moved the time of access.
    assert [found[0], found[1]._replace(atime_ns=0), found[2]] == (
        [before[0], before[1]._replace(atime_ns=0), before[2]]
    )
    assert (await files.stat(b"d")).mtime_ns == above.mtime_ns
    await handle.release()
    del handle
    gc.collect()
    directories = len(files.provider._union.upper.provider._access.fds)
    assert len(os.listdir("/proc/self/fd")) <= fds + directories
    await append(files, b"d/f", b" more")
    assert await files.get(b"d/f") == b"lower more"
    assert staged == [b"d", b"f"]
    assert os.listdir(tmp_path / "upper" / "work") == []
    await files.provider.aclose()


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    if looking.library is None:
        pytest.fail("the library was not built; scripts/setup builds it where a compiler is")
    return Faulty(tmp_path_factory.mktemp("faulty"))


class Mortal:
    """Ends the process at the call that makes `left` zero."""

    def __init__(self, left):
        self.left = left

    def __call__(self, call):
        def counted(*args, **named):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **named)

        return counted


def killed_at(place, step, perform):
    """Append in a child that dies at the step of the copy-up; say whether it died."""
    pid = os.fork()
    if pid == 0:
        try:
            trio.run(perform, place, step)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


async def one_by_one(place, step):
    provider = await opened(place, native="off")
    mortal = Mortal(step)
    calls = ("open", "pwrite", "setxattr", "fstat", "fchmod", "utime")
    replaced = {name: mortal(getattr(os, name)) for name in calls}
    copies.os = types.SimpleNamespace(**{**vars(os), **replaced})
    copies.renameat2 = mortal(copies.renameat2)
    await append(Files(provider), b"d/f", b" more")
    os._exit(0)


@pytest.mark.parametrize("native", ["auto", "off"])
def test_a_kill_on_the_way_leaves_the_old_file_or_the_new(tmp_path, faulty, native):
    async def in_one_trip(place, step):
        looking.library = faulty.looking
        provider = await opened(place)
        files = Files(provider)
        await files.setattr(b"d", SetAttr(mtime_ns=7))
        faulty.at(step, dies=True)
        await append(files, b"d/f", b" more")
        os._exit(0)

    async def look(place):
        provider = await opened(place)
        files = Files(provider)
        found = await files.get(b"d/f"), *(await shown(files, b"d/f"))[1:]
        assert os.listdir(place / "upper" / "work") == []
        await provider.aclose()
        return found

    outcomes = []
    for step in range(1, 40):
        place = tmp_path / str(step)
        place.mkdir()
        trio.run(lay, place)
        before = trio.run(look, place)
        died = killed_at(place, step, in_one_trip if native == "auto" else one_by_one)
        data, stat, values = trio.run(look, place)
        if not died:
            assert data == b"lower more"
            break
        assert data == b"lower"
        assert (stat.mode, stat.size, stat.mtime_ns) == (
            *(before[1].mode, before[1].size, before[1].mtime_ns),
        )
        assert values == before[2]
        outcomes.append(step)
    else:
        pytest.fail("the copy-up has no end")
    assert len(outcomes) > 8


@pytest.mark.parametrize("sync", [True, False])
async def test_what_is_to_be_durable_goes_the_long_way(tmp_path, monkeypatch, staged, sync):
    await lay(tmp_path)
    monkeypatch.setattr(PassthroughProvider, "durable", lambda self, node: True)
    provider = await opened(tmp_path, sync=sync)
    put = Counting(provider._union.upper.provider, "put_copy")
    for name in (b"d/f", b"d/g"):
        await append(Files(provider), name, b" more")
    assert staged == ([b"d", b"f", b"g"] if sync else [b"d"])
    assert put.count == (1 if sync else 2)  # where it is never done it is not asked again
    await provider.aclose()
