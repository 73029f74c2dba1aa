"""Node.js blobs by their bytes: the three layouts that were seen, and what is none."""

from __future__ import annotations

import struct

import pytest

from providers.archive import ArchiveProvider
from vfsd.archive.foreign.indexing import kind_of
from vfsd.conformance import Files
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

MAGIC = 0x143DA20
CODE_CACHE, ASSETS, EXEC_ARGV = 4, 8, 16
EXTRA = {"20": b"", "22": b"\x01", "26": b"\x01\x00"}


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def blob(assets, extra=b"", flags=ASSETS, magic=MAGIC) -> bytes:
    packed = struct.pack("<II", magic, flags) + extra + string(b"main.js") + string(b"code")
    if flags & CODE_CACHE:
        packed += string(b"cache")
    if flags & ASSETS:
        packed += struct.pack("<Q", len(assets))
        packed += b"".join(string(name) + string(data) for name, data in assets.items())
    if flags & EXEC_ARGV:
        packed += struct.pack("<Q", 1) + string(b"--no-warnings")
    return packed


def elf(content: bytes, name: bytes = b"NODE_SEA_BLOB") -> bytes:
    """Return the smallest ELF file that has the note."""
    other = struct.pack("<III", 4, 4, 1) + b"GNU\0" + b"abcd"
    padded = name + b"\0" + bytes(-(len(name) + 1) % 4)
    note = struct.pack("<III", len(name) + 1, len(content), 0) + padded + content
    notes = other + note + bytes(-len(note) % 4)
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4) + notes


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("version", EXTRA)
@pytest.mark.parametrize("flags", [ASSETS, ASSETS | CODE_CACHE, ASSETS | EXEC_ARGV])
async def test_assets_are_served(tmp_path, version, flags):
    path = tmp_path / "app"
    assets = {b"a.txt": b"asset", b"sub/b": b"", b"../up": b"x", b"/abs": b"y"}
    path.write_bytes(elf(blob(assets, EXTRA[version], flags)))
    assert kind_of(str(path)) == "node"
    provider = await ArchiveProvider.from_options(str(path), {})
    files = Files(provider)
    assert await files.names(b"") == [b"a.txt", b"abs", b"sub"]
    assert await files.get(b"a.txt") == b"asset"
    assert await files.get(b"sub/b") == b""
    await provider.aclose()


async def test_an_executable_without_assets_is_empty(tmp_path):
    (tmp_path / "app").write_bytes(elf(blob({}, flags=0)))
    provider = await ArchiveProvider.from_options(str(tmp_path / "app"), {})
    assert await Files(provider).names(b"") == []
    await provider.aclose()


@pytest.mark.parametrize(
    "content",
    [
        blob({b"a": b"b"}, magic=5),
        blob({b"a": b"b"})[:-1],
        blob({b"a": b"b"}) + b"more than nine",
        blob({b"a": b"b"})[:40],
        struct.pack("<IIQ", MAGIC, ASSETS, 1 << 63),
        struct.pack("<II", MAGIC, ASSETS) + string(b"") * 2 + struct.pack("<QQ", 1 << 40, 1 << 50),
    ],
    ids=["magic", "cut", "more", "half", "huge-string", "huge-count"],
)
async def test_what_is_no_blob_is_refused(tmp_path, content):
    (tmp_path / "app").write_bytes(elf(content))
    with pytest.raises(UserError, match="NODE_SEA_BLOB is of an unknown layout") as caught:
        await ArchiveProvider.from_options(str(tmp_path / "app"), {})
    assert caught.value.exit_code == ExitCode.DAMAGED


@pytest.mark.parametrize("cut", range(0, 240, 20))
def test_any_elf_may_be_looked_at(tmp_path, cut):
    path = tmp_path / "app"
    path.write_bytes(elf(blob({b"a": b"b"}))[:cut])
    assert kind_of(str(path)) is None
    path.write_bytes(elf(blob({}), name=b"OTHER"))
    assert kind_of(str(path)) is None
