"""How many fds there are, whatever is walked, and that none is left over."""

import os
import subprocess
import sys

import pytest

from tests.unit.passthrough.serving import GUARDS, served, until

WALK = """
import os, resource, sys, trio
sys.path[:0] = sys.argv[3:]
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from providers.passthrough import PassthroughProvider

async def main():
    provider = await PassthroughProvider.from_options(sys.argv[1], {"guard": sys.argv[2]})
    limit = provider.statistics()["limit_directory_fds"]
    most = files = 0
    todo = [provider.root]
    nodes = []
    while todo:
        node = todo.pop()
        nodes.append(node)
        for entry in await provider.lookup_many(node, await provider.readdir(node)):
            files += 1
            nodes.append(entry.node)
            if entry.stat.mode & 0o170000 == 0o040000:
                todo.append(entry.node)
        most = max(most, len(os.listdir("/proc/self/fd")))
    handles = []
    try:
        while True:
            handles.append(await provider.open(nodes[-1], os.O_RDONLY, None or CALLER))
    except OSError as error:
        out = error.errno
    for handle in handles:
        await handle.release()
    for node in nodes:
        await provider.getattr(node)
    print(files, most, limit, out, len(handles), len(os.listdir("/proc/self/fd")))
    await provider.aclose()

from vfsd.provider import Identity
CALLER = Identity(0, 0)
trio.run(main)
"""


@pytest.fixture(scope="module")
def forest(tmp_path_factory):
    """Many files in many directories; VFSD_FOREST_FILES=200000 makes more of them."""
    root = tmp_path_factory.mktemp("forest")
    count = int(os.environ.get("VFSD_FOREST_FILES", "20000"))
    for number in range(count // 100):
        directory = root / str(number % 10) / str(number // 10 % 10) / str(number)
        directory.mkdir(parents=True)
        for name in range(100):
            os.close(os.open(directory / str(name), os.O_CREAT | os.O_WRONLY))
    return root


@pytest.mark.parametrize("guard", GUARDS)
def test_a_long_walk_stays_under_the_limit(forest, guard):
    paths = [os.getcwd(), *(each for each in sys.path if each)]
    done = subprocess.run(
        [sys.executable, "-c", WALK, str(forest), guard, *paths],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    files, most, limit, out, handles, left = [int(word) for word in done.stdout.split()]
    assert files >= 20_000
    assert limit == 256 // 8
    assert most < limit + 20
    assert out == 24, "EMFILE is told as it is"
    assert handles > 256 - 30, "directories gave way to open files"
    assert left < limit + 20


async def test_directories_nobody_uses_are_closed(tmp_path):
    (tmp_path / "a/b/c").mkdir(parents=True)
    async with served(tmp_path) as files:
        await files.names(b"a/b/c")
        assert files.provider.statistics()["directory_fds"] > 0
        await until(lambda: files.provider.statistics()["directory_fds"] == 0, "closing")
        assert await files.names(b"a/b") == [b"c"]
