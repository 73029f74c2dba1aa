"""What `-o key=value` may say, and how a wrong one is refused."""

import os

import pytest

from providers.memory import MemoryProvider
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


async def test_all_options():
    options = {"size": "64M", "inodes": "100000", "mode": "0750", "uid": "1000", "gid": "1001"}
    provider = await MemoryProvider.from_options(None, options)
    room = await provider.statfs()
    assert room.blocks * room.block_size == 64 << 20
    assert room.files == 100_000
    root = await provider.getattr(provider.root)
    assert (root.mode, root.uid, root.gid) == (0o040750, 1000, 1001)
    assert "67108864 bytes" in provider.describe()


async def test_no_options():
    provider = await MemoryProvider.from_options(None, {})
    root = await provider.getattr(provider.root)
    assert (root.mode, root.uid, root.gid) == (0o040755, os.getuid(), os.getgid())
    assert provider.describe() == "memory (no size limit, no inode limit)"
    provider.set_read_only(True)
    assert provider.describe().endswith(", read-only)")
    assert provider.snapshot().describe().endswith(", snapshot)")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("4096", 4096), ("4k", 4096), ("8K", 8192), ("2m", 2 << 20), ("1G", 1 << 30), ("1T", 1 << 40)],
)
async def test_sizes(text, size_bytes):
    provider = await MemoryProvider.from_options(None, {"size": text})
    assert (await provider.statfs()).blocks * 4096 == size_bytes


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *(("size", text) for text in ("", "M", "0", "-1", "64X", "6 4", "1KK", "1_0", "1.5G")),
        *(("size", text) for text in ("9" * 21, "9999999999T", "\u0664")),
        *(("inodes", text) for text in ("", "0", "-5", "1G", "many")),
        *(("mode", text) for text in ("", "9", "10000", "-1", "rwx", "0x1", "0o755")),
        *((key, text) for key in ("uid", "gid") for text in ("", "-1", "root", "4294967295")),
    ],
)
async def test_wrong_values_are_named(key, text):
    with pytest.raises(UserError) as caught:
        await MemoryProvider.from_options(None, {key: text})
    assert f"{key}={text}" in caught.value.message
    assert caught.value.exit_code == ExitCode.USAGE


async def test_unknown_options_and_sources_are_named():
    with pytest.raises(UserError, match="'sise'; did you mean 'size'"):
        await MemoryProvider.from_options(None, {"sise": "1"})
    with pytest.raises(UserError, match="no source"):
        await MemoryProvider.from_options("./here", {})
