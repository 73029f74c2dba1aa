"""Killed before each single call on the upper: what is opened again is the old tree or the new.

The upper's provider counts the calls that change something, and ends the process at the chosen
one by SIGKILL. So every instant between two steps of every operation is tried.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
import trio

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider, ahead, onestep
from providers.passthrough import PassthroughProvider
from tests.mounted.overlay.observed import describe_provider, unlike
from tests.mounted.overlay.scenery import remove_all
from vfsd.conformance import Files
from vfsd.provider import SetAttr

CHANGING = (
    *("create", "mkdir", "mknod", "symlink", "link", "unlink", "rmdir", "rename"),
    *("setattr", "setxattr", "removexattr", "put_whiteout", "clear"),
)
STEPS_MAX = 60


class Mortal(PassthroughProvider):
    """Ends the process at the call that makes `left` zero."""

    left = 0


def _mortal(name):
    method = getattr(PassthroughProvider, name)

    async def call(self, *args, **kwargs):
        Mortal.left -= 1
        if Mortal.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return await method(self, *args, **kwargs)

    setattr(Mortal, name, call)


for _name in CHANGING:
    _mortal(_name)


async def append(files, path, data=b" more"):
    async with files.opened(path, os.O_WRONLY | os.O_APPEND) as handle:
        await handle.write(0, data)


OPERATIONS = {
    "chmod": lambda files: files.setattr(b"low/deep/f", SetAttr(mode=0o600)),
    "truncate": lambda files: files.setattr(b"low/deep/f", SetAttr(size=3)),
    "chmod hard link": lambda files: files.setattr(b"low/link", SetAttr(mode=0o600)),
    "unlink lower": lambda files: files.unlink(b"low/deep/f"),
    "unlink upper over lower": lambda files: files.unlink(b"both/changed"),
    "unlink hard link": lambda files: files.unlink(b"low/link"),
    "create over whiteout": lambda files: files.create(b"both/gone"),
    "mkdir over whiteout": lambda files: files.mkdir(b"gonedir"),
    "symlink over whiteout": lambda files: files.symlink(b"both/gone", b"to"),
    "link lower": lambda files: files.link(b"low/deep/f", b"both/gone"),
    "rmdir merged": lambda files: files.rmdir(b"emptied"),
    "rename lower": lambda files: files.rename(b"low/deep/f", b"both/g"),
    "rename over whiteout": lambda files: files.rename(b"low/deep/f", b"both/gone"),
    "rename directory": lambda files: files.rename(b"low", b"both/low"),
    "rename directory over whiteout": lambda files: files.rename(b"low", b"gonedir"),
    "rename upper directory over whiteout": lambda files: files.rename(b"mine", b"gonedir"),
    "rename over file": lambda files: files.rename(b"mine/f", b"both/changed"),
    "rename over lower file": lambda files: files.rename(b"mine/f", b"low/deep/f"),
    "exchange": lambda files: files.rename(b"low", b"both", 2),
    "setxattr": lambda files: files.provider_setxattr(b"low/deep/f"),
}

LARGE = (
    *("link lower", "rename lower", "rename over whiteout"),
    *("rename directory", "rename directory over whiteout"),
)
"""What stops when it meets a large file, and begins anew once that is copied."""

TWO_STEPS = {
    "rename lower over file": (
        lambda files: files.rename(b"low/deep/f", b"both/changed"),
        b"low/deep/f",
    ),
    "rename directory over merged": (lambda files: files.rename(b"low", b"emptied"), b"emptied"),
    "rename upper directory over merged": (
        lambda files: files.rename(b"mine", b"emptied"),
        b"emptied",
    ),
}
"""Operations that a crash may leave half-way, and the one name that may then be as before, or gone.

rename(2): there may be a moment in which both names are the file.
"""


class Tree(Files):
    async def provider_setxattr(self, path):
        await self.provider.setxattr(await self.node(path), b"user.a", b"1")


@pytest.fixture(scope="module")
def layers():
    """A lower and an upper that has been worked on, made once and copied for each kill."""
    root = Path(tempfile.mkdtemp(prefix="vfsd-test-", dir="/dev/shm"))
    lower = root / "lower"
    for path in ("low/deep", "both", "gonedir/sub", "emptied/sub"):
        (lower / path).mkdir(parents=True)
    for path in ("low/deep/f", "both/changed", "both/gone", "gonedir/sub/f", "emptied/sub/f"):
        (lower / path).write_bytes(b"lower " + path.encode())
    os.link(lower / "low/deep/f", lower / "low/link")
    os.link(lower / "both/changed", lower / "low/changed-too")
    os.unlink(lower / "low/link")
    (lower / "low/link").write_bytes(b"linked")
    os.link(lower / "low/link", lower / "both/link")
    (root / "upper").mkdir()

    async def prepare():
        overlay = await opened(root / "upper", lower)
        files = Files(overlay)
        await append(files, b"both/changed")
        await files.unlink(b"both/gone")
        await remove_all(files, b"gonedir")
        await remove_all(files, b"emptied/sub")
        await files.mkdir(b"mine")
        await files.put(b"mine/f", b"mine")
        await overlay.aclose()

    trio.run(prepare)
    yield root
    shutil.rmtree(root)


async def opened(upper, lower, kind=PassthroughProvider):
    options = {"links": "keep"}
    top = await kind.from_options(str(upper), options)
    base = await PassthroughProvider.from_options(str(lower), options)
    return await OverlayProvider.over(top, [base], spare=MemoryProvider())


def fresh_upper(layers):
    upper = layers / "copy"
    shutil.rmtree(upper, ignore_errors=True)
    subprocess.run(["cp", "-a", str(layers / "upper"), str(upper)], check=True)
    return upper


def seen(layers, upper):
    async def look():
        overlay = await opened(upper, layers / "lower")
        found = await describe_provider(overlay)
        assert os.listdir(upper / "work") == []
        await overlay.aclose()
        return found

    return trio.run(look)


def killed_at(layers, step, operation):
    """Perform the operation in a child that dies at the step; return the upper and whether."""
    upper = fresh_upper(layers)
    pid = os.fork()
    if pid == 0:
        try:
            trio.run(perform, layers, upper, step, operation)
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return upper, os.WIFSIGNALED(status)


async def perform(layers, upper, step, operation):
    overlay = await opened(upper, layers / "lower", Mortal)
    Mortal.left = step
    await operation(Tree(overlay))
    Mortal.left = 0
    os._exit(0)


def states(layers, operation):
    """Return the tree before and after the operation, and the number of steps."""
    before = seen(layers, fresh_upper(layers))
    upper, died = killed_at(layers, 0, operation)
    assert not died
    return before, seen(layers, upper)


@pytest.mark.parametrize("name", OPERATIONS)
def test_all_or_nothing(layers, name):
    before, after = states(layers, OPERATIONS[name])
    assert before != after
    outcomes = set()
    for step in range(1, STEPS_MAX):
        upper, died = killed_at(layers, step, OPERATIONS[name])
        if not died:
            break
        found = seen(layers, upper)
        # A link count may be the lower's again; times of directories are from another run.
        loose = ("mtime_ns", "nlink")
        if unlike(found, before, without=loose):
            assert unlike(found, after, without=loose) == {}, f"killed at step {step}"
            outcomes.add("new")
        else:
            outcomes.add("old")
    else:
        pytest.fail("the operation has no end")
    assert "old" in outcomes


@pytest.mark.parametrize("name", LARGE)
def test_all_or_nothing_of_large_files(layers, name, monkeypatch):
    monkeypatch.setattr(ahead, "AHEAD_MIN_BYTES", 1)
    monkeypatch.setattr(onestep, "CHUNK", 0)
    test_all_or_nothing(layers, name)


@pytest.mark.parametrize("name", TWO_STEPS)
def test_two_steps(layers, name):
    operation, doubtful = TWO_STEPS[name]
    before, after = states(layers, operation)

    def rest(tree):
        prefix = doubtful.hex()
        return {path: item for path, item in tree.items() if not path.startswith(prefix)}

    loose = ("mtime_ns", "nlink")
    for step in range(1, STEPS_MAX):
        upper, died = killed_at(layers, step, operation)
        if not died:
            return
        found = seen(layers, upper)
        assert any(
            unlike(rest(found), rest(each), without=loose) == {} for each in (before, after)
        ), f"killed at step {step}: {unlike(found, after)}"
    pytest.fail("the operation has no end")
