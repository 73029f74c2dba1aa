"""Archives that are wrong: each gives its sentence, with the offset, and nothing else happens."""

from __future__ import annotations

import re
import stat
import zlib

import pytest

from tests.unit.archive.forging import Forge
from tests.unit.archive.models import File, write
from vfsd.archive import layout
from vfsd.archive.damage import Damage
from vfsd.archive.directory import encode_index, encode_page
from vfsd.archive.reader import Archive
from vfsd.archive.verify import Verifier
from vfsd.archive.writer import Attributes, Hole
from vfsd.codec import encode
from vfsd.digest import content_digest
from vfsd.exitcodes import ExitCode

DIRECTORY = Attributes(stat.S_IFDIR | 0o755)
REGULAR = Attributes(stat.S_IFREG | 0o644)

# The nodes of the archive that every case starts from.
ROOT, DIR, LARGE, LINK, SMALL, SPARSE, SYMLINK, INNER = range(1, 9)
LARGE_BYTES = bytes(range(256)) * 1200


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("good") / "a"
    tree = {
        b"": File(DIRECTORY),
        b"dir": File(DIRECTORY),
        b"dir/inner": File(REGULAR, pieces=[b"inner"]),
        b"large": File(REGULAR, pieces=[LARGE_BYTES]),
        b"link": File(REGULAR, pieces=[b"linked"]),
        b"small": File(REGULAR, {b"user.a": b"b"}, pieces=[b"small"]),
        b"sparse": File(REGULAR, pieces=[Hole(9000), b"data" * 2000, Hole(1)]),
        b"symlink": File(Attributes(stat.S_IFLNK | 0o777), target=b"small"),
        b"dir/link": b"link",
    }
    write(path, tree, compression="zlib")
    return path.read_bytes()


def page(names: list[bytes], first: int = DIR, links: tuple = ()) -> bytes:
    return encode_page(first, names, links)


ALL = [b"dir", b"large", b"link", b"small", b"sparse", b"symlink"]

HEADER = {
    "magic": (lambda f: f.header(magic=b"12345678"), "no archive starts where"),
    "major": (lambda f: f.header(major=2), r"version 2\.0, and this vfsd reads version 1"),
    "flags": (lambda f: f.header(flags=4), "flags that this vfsd does not know"),
    "digest": (lambda f: f.header(digest=bytes(16)), "header does not match its digest"),
    "header-created": (lambda f: f.header(created_s=5, digest=bytes(16)), "header does not match"),
}
TRAILER = {
    "start_back-beyond": (lambda f: f.trailer(start_back=1 << 60), "larger than the file"),
    "start_back-small": (lambda f: f.trailer(start_back=64), "larger than the file"),
    "length-beyond": (lambda f: f.trailer(length=1 << 60), "larger than the file"),
    "length-small": (lambda f: f.trailer(length=100), "too small"),
    "root-beyond": (lambda f: f.trailer(root=1 << 60), "beyond the archive's end"),
    "root-elsewhere": (lambda f: f.trailer(root=64), "root block does not match"),
    "root_length-0": (lambda f: f.trailer(root_length=0), "impossible length of the root"),
    "root_length-large": (lambda f: f.trailer(root_length=1 << 31), "impossible length of the"),
    "trailer-major": (lambda f: f.trailer(major=9), r"version 9\.0"),
    "root_digest": (lambda f: f.trailer(root_digest=bytes(16)), "root block does not match"),
    "check": (lambda f: f.trailer(check=0), "trailer does not match its check"),
    "trailer-magic": (lambda f: f.trailer(magic=bytes(8)), "has no end: it was cut off"),
}
ROOT_BLOCK = {
    "no-array": (lambda f: f.root_block(encode({"inodes": 1})), "root block is not a well-formed"),
    "nested": (lambda f: f.root_block(b"\x91" * 600), "root block is not a well-formed"),
    "huge-array": (lambda f: f.root_block(b"\xdd" + b"\xff" * 40), "root block is not a well-fo"),
    "odd": (lambda f: f.root_items(["inodes"]), "names and values"),
    "keys": (lambda f: f.root_items([1, 2] * 8), "names and values"),
    "twice": (lambda f: f.root_items(["inodes", 1] * 8), "lacks a field, or has one twice"),
    "missing": (lambda f: f.root_items(["inodes", 4096]), "lacks a field"),
    "negative": (lambda f: f.root(inodes=-4096), "lacks a field"),
    "type": (lambda f: f.root(inode_count="8"), "lacks a field"),
    "inodes-unaligned": (lambda f: f.root(inodes=1), "beyond the archive's end"),
    "inodes-beyond": (lambda f: f.root(inodes=1 << 62), "beyond the archive's end"),
    "inode_count-huge": (lambda f: f.root(inode_count=1 << 62), "beyond the archive's end"),
    "inode_count-0": (lambda f: f.root(inode_count=0), "not even a root"),
    "frames-beyond": (lambda f: f.root(frames=1 << 62), "beyond the archive's end"),
    "frame_count-huge": (lambda f: f.root(frame_count=1 << 63), "beyond the archive's end"),
    "frame_bytes-odd": (lambda f: f.root(frame_bytes=131_073), "are not allowed"),
    "frame_bytes-huge": (lambda f: f.root(frame_bytes=1 << 30), "are not allowed"),
    "frame_bytes-0": (lambda f: f.root(frame_bytes=0), "are not allowed"),
}
INODES = {
    "root-no-directory": (lambda f: f.inode(ROOT, mode=stat.S_IFREG), "root is no directory"),
    "mode-type": (lambda f: f.inode(SMALL, mode=0o644), "impossible attributes"),
    "mode-high": (lambda f: f.inode(SMALL, mode=1 << 20 | 0o100644), "impossible attributes"),
    "mtime_ns": (lambda f: f.inode(SMALL, mtime_ns=10**9), "impossible attributes"),
    "size-huge": (lambda f: f.inode(SMALL, size=1 << 63), "impossible attributes"),
    "size-frames": (lambda f: f.inode(SMALL, size=1 << 62), "where nothing can be"),
    "size-more": (lambda f: f.inode(SMALL, size=100), "another length than the file needs"),
    "size-large": (lambda f: f.inode(LARGE, size=300_000), "another length than the file needs"),
    "skip": (lambda f: f.inode(SMALL, skip=100_000), "another length than the file needs"),
    "skip-large": (lambda f: f.inode(LARGE, skip=1), "where nothing can be"),
    "skip-huge": (lambda f: f.inode(SMALL, skip=2**32 - 1), "where nothing can be"),
    "place": (lambda f: f.inode(SMALL, place=1 << 40), "where nothing can be"),
    "allocated": (lambda f: f.inode(SMALL, allocated=1 << 63), "impossible attributes"),
    "flags": (lambda f: f.inode(SMALL, flags=8), "only a newer vfsd knows"),
    "nlink": (lambda f: f.inode(SMALL, nlink=3), "has 1 links and tells 3"),
    "file-digest": (lambda f: f.inode(SMALL, digest=bytes(16)), "file does not match its digest"),
    "target-beyond": (lambda f: f.inode(SYMLINK, place=1 << 50), "beyond the archive's end"),
    "target-long": (lambda f: f.inode(SYMLINK, stored=5000, size=5000), "impossible length"),
    "target-empty": (lambda f: f.inode(SYMLINK, stored=0, size=0), "impossible length"),
    "target-size": (lambda f: f.inode(SYMLINK, size=4), "impossible length"),
    "target-digest": (lambda f: f.inode(SYMLINK, digest=bytes(16)), "target does not match"),
    "target-zero": (lambda f: target(f, b"a\0b"), "holds a zero byte"),
}
DIRECTORIES = {
    "beyond": (lambda f: f.inode(DIR, place=1 << 50), "beyond the archive's end"),
    "stored-beyond": (lambda f: f.inode(DIR, stored=2**32 - 1), "beyond the archive's end"),
    "digest": (lambda f: f.inode(DIR, digest=bytes(16)), "block does not match its digest"),
    "no-array": (lambda f: f.directory(ROOT, b"\xc0"), "block is not a well-formed message"),
    "nested": (lambda f: f.directory(ROOT, b"\x93" * 90), "block is not a well-formed message"),
    "huge-bin": (
        lambda f: f.directory(ROOT, b"\x93\x02\xc6\xff\xff\xff\xff"),
        "block is not a well-formed message",
    ),
    "trailing": (lambda f: f.directory(ROOT, page(ALL) + b"\0"), "more than one value"),
    "few-fields": (lambda f: f.directory(ROOT, encode([2, b"a"])), "other fields"),
    "types": (lambda f: f.directory(ROOT, encode([2, "a", b""])), "other fields"),
    "first-negative": (lambda f: f.directory(ROOT, page(ALL, -1)), "no node number"),
    "dot": (lambda f: f.directory(ROOT, page([b".", *ALL])), "a name that is none"),
    "dot-dot": (lambda f: f.directory(ROOT, page([b"..", *ALL])), "a name that is none"),
    "slash": (lambda f: f.directory(ROOT, page([b"/etc", *ALL])), "a name that is none"),
    "dot-dot-slash": (lambda f: f.directory(ROOT, page([b"../x", *ALL])), "a name that is none"),
    "zero-byte": (lambda f: f.directory(ROOT, page([b"a\0", *ALL])), "a name that is none"),
    "empty-name": (lambda f: f.directory(ROOT, page([b"", *ALL])), "a name that is none"),
    "long-name": (lambda f: f.directory(ROOT, page([b"d" * 256])), "more than 255 bytes"),
    "many-names": (
        lambda f: f.directory(ROOT, page([b"%03x" % n for n in range(513)])),
        "more names than it may",
    ),
    "duplicate": (lambda f: f.directory(ROOT, page([b"dir", *ALL])), "one is there twice"),
    "unsorted": (lambda f: f.directory(ROOT, page(ALL[::-1])), "not in order"),
    "node-0": (lambda f: f.directory(ROOT, page(ALL, 0)), "nodes are not such"),
    "cycle-to-itself": (lambda f: f.directory(ROOT, page([b"a"], ROOT)), "nodes are not such"),
    "cycle-upwards": (lambda f: f.directory(DIR, page([b"a"], ROOT)), "nodes are not such"),
    "cycle-by-link": (
        lambda f: f.directory(DIR, page([b"a"], 0, ((0, ROOT),))),
        "leads to no node",
    ),
    "two-parents": (
        lambda f: f.directory(ROOT, page([b"a", *ALL], DIR, ((0, DIR),))),
        "which is not its parent",
    ),
    "wrong-parent": (lambda f: f.inode(DIR, size=5), "which is not its parent"),
    "nodes-beyond": (lambda f: f.directory(ROOT, page([*ALL, b"t", b"u"])), "nodes are not such"),
    "link-beyond": (
        lambda f: f.directory(DIR, page([b"inner", b"link"], INNER, ((1, 1 << 60),))),
        "leads to no node",
    ),
    "link-position": (
        lambda f: f.directory(DIR, page([b"inner"], INNER, ((7, LINK),))),
        "impossible position",
    ),
    "link-twice": (
        lambda f: f.directory(DIR, page([b"a", b"b"], INNER, ((1, LINK), (1, LINK)))),
        "impossible position",
    ),
    "links-long": (
        lambda f: f.directory(DIR, encode([INNER, b"inner", bytes(25)])),
        "impossible length",
    ),
    "nameless": (lambda f: f.directory(ROOT, page(ALL[:-1])), "no name leads to node 7"),
}
INDEXES = {
    "length": (
        lambda f: f.directory(ROOT, encode([b"a", bytes(27)]), flags=2),
        "pages of a directory have an impossible length",
    ),
    "names": (
        lambda f: f.directory(ROOT, encode([b"a", bytes(56)]), flags=2),
        "other numbers of pages",
    ),
    "page-beyond": (
        lambda f: f.directory(ROOT, encode_index([b"a"], [(1 << 60, 10, bytes(16))]), flags=2),
        "beyond the archive's end",
    ),
    "page-digest": (
        lambda f: f.directory(ROOT, encode_index([b"a"], [(64, 10, bytes(16))]), flags=2),
        "page does not match its digest",
    ),
    "other-names": (lambda f: other_names(f), "other names than its index tells"),
}
XATTRS = {
    "beyond": (lambda f: f.inode(SMALL, xattrs=1 << 50), "beyond the archive's end"),
    "short": (lambda f: f.inode(SMALL, xattrs_length=3), "impossible length"),
    "long": (lambda f: f.inode(SMALL, xattrs_length=1 << 30), "impossible length"),
    "digest": (lambda f: f.inode(SMALL, xattrs=64, xattrs_length=40), "do not match their"),
    "no-array": (lambda f: f.xattrs(SMALL, b"\xc0"), "is not a well-formed message"),
    "odd": (lambda f: f.xattrs(SMALL, encode([b"user.a"])), "holds something else"),
    "types": (lambda f: f.xattrs(SMALL, encode(["user.a", b"b"])), "holds something else"),
    "twice": (lambda f: f.xattrs(SMALL, encode([b"user.a", b"1"] * 2)), "holds something else"),
    "empty-name": (lambda f: f.xattrs(SMALL, encode([b"", b"1"])), "holds something else"),
}
FRAMES = {
    "offset": (lambda f: f.frame(0, offset=1 << 60), "beyond the archive's end"),
    "stored-0": (lambda f: f.frame(0, stored=0), "impossible length"),
    "stored-more": (lambda f: f.frame(0, stored=2**32 - 1), "more bytes than it has"),
    "stored-less": (lambda f: f.frame(1, stored=20), "does not expand"),
    "length-0": (lambda f: f.frame(0, length=0), "impossible length"),
    "length-huge": (lambda f: f.frame(0, length=2**32 - 1), "impossible length"),
    "length-less": (lambda f: f.frame(1, length=131_071), "another length than the file needs"),
    "codec": (lambda f: f.frame(1, codec=77), "codec 77 is unknown"),
    "codec-zstd": (lambda f: f.frame(1, codec=layout.CODEC_ZSTD), "does not expand"),
    "codec-xz": (lambda f: f.frame(1, codec=layout.CODEC_XZ), "does not expand"),
    "codec-raw": (lambda f: f.frame(1, codec=layout.CODEC_RAW), "more bytes than it has"),
    "digest": (lambda f: f.frame(0, digest=bytes(16)), "frame does not match its digest"),
    "overlap": (
        lambda f: f.frame(0, offset=f.frame_fields(1).offset),
        "overlaps frame",
    ),
    "bomb": (lambda f: bomb(f), "does not expand to its length of 131072 bytes"),
}
MAPS = {
    "length": (lambda f: f.map(SMALL, bytes(23), size=99), "map of a sparse file has an impos"),
    "digest": (lambda f: f.inode(SPARSE, stored=16), "map of a sparse file does not match"),
    "beyond": (lambda f: f.inode(SPARSE, place=1 << 60), "beyond the archive's end"),
    "overlap": (lambda f: mapped(f, (0, 10, 0), (5, 10, 0)), "where nothing can be"),
    "unsorted": (lambda f: mapped(f, (50, 10, 0), (5, 10, 0)), "where nothing can be"),
    "empty": (lambda f: mapped(f, (0, 0, 0)), "where nothing can be"),
    "end": (lambda f: mapped(f, (95, 10, 0)), "where nothing can be"),
    "overflow": (lambda f: mapped(f, (2**64 - 5, 10, 0)), "where nothing can be"),
    "frame": (lambda f: mapped(f, (0, 10, 1 << 50)), "where nothing can be"),
}
CASES = {
    f"should-fail-{area}-{name}": case
    for area, cases in {
        "header": HEADER,
        "trailer": TRAILER,
        "root": ROOT_BLOCK,
        "inode": INODES,
        "directory": DIRECTORIES,
        "index": INDEXES,
        "xattrs": XATTRS,
        "frame": FRAMES,
        "map": MAPS,
    }.items()
    for name, case in cases.items()
}


def target(forge: Forge, block: bytes) -> Forge:
    place, size = forge.insert(block), len(block)
    return forge.inode(SYMLINK, place=place, stored=size, size=size, digest=content_digest(block))


def mapped(forge: Forge, *extents: tuple[int, int, int]) -> Forge:
    return forge.map(SMALL, b"".join(layout.EXTENT.pack(*each) for each in extents), size=100)


def bomb(forge: Forge) -> Forge:
    """A frame that tells 128 KiB and expands to 100 MB."""
    packed = zlib.compress(bytes(100_000_000), 9)
    return forge.frame(1, offset=forge.insert(packed), stored=len(packed))


def other_names(forge: Forge) -> Forge:
    """An index that tells another first name than its page has."""
    block = page(ALL)
    place = forge.insert(block), len(block), content_digest(block)
    return forge.directory(ROOT, encode_index([b"a"], [place]), flags=2)


def complaints(path) -> list[str]:
    """Return what opening and verifying say."""
    try:
        with Archive.open(path) as archive:
            return [str(Damage(each.what, each.offset)) for each in Verifier(archive).complaints()]
    except Damage as damage:
        return [str(damage)]


def test_what_every_case_starts_from_is_good(good, tmp_path):
    (tmp_path / "a").write_bytes(good)
    assert complaints(tmp_path / "a") == []
    assert Forge(good).frame_fields(1).codec == layout.CODEC_ZLIB
    # A later minor version may tell more.
    (tmp_path / "a").write_bytes(bytes(Forge(good).root(news=1).header(minor=7).trailer(minor=7)))
    assert complaints(tmp_path / "a") == []


@pytest.mark.parametrize("name", CASES)
def test_should_fail(good, tmp_path, name):
    change, sentence = CASES[name]
    path = tmp_path / f"{name}.vfsa"
    path.write_bytes(bytes(change(Forge(good))))
    said = complaints(path)
    assert any(re.search(sentence, each) for each in said), said
    # Whatever it is, it does not take the whole archive with it where that can be avoided.
    assert len(said) < 20


def test_truncated_anywhere(good, tmp_path):
    path = tmp_path / "a"
    for size in (0, 1, 7, 8, 63, 64, 100, len(good) // 2, len(good) - 64, len(good) - 1):
        path.write_bytes(good[:size])
        with pytest.raises(Damage, match=r"has no end|no vfsd archive"):
            Archive.open(path)


def test_something_appended(good, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(good + b"x")
    with pytest.raises(Damage, match="has no end: it was cut off, or something follows it"):
        Archive.open(path)


@pytest.mark.parametrize("between", [b"", bytes(100), bytes(4096)])
def test_concatenated(good, tmp_path, between):
    path = tmp_path / "a"
    path.write_bytes(good + between + good)
    with pytest.raises(Damage, match="two archives stand one after the other"):
        Archive.open(path)


@pytest.mark.parametrize("prefix", [b"#!/bin/sh\nexit\n", bytes(4096), b"\x7fELF" * 5000])
def test_behind_something_else(good, tmp_path, prefix):
    path = tmp_path / "a"
    path.write_bytes(prefix + good)
    assert complaints(path) == []


def test_any_flipped_bit_is_told(good, tmp_path):
    """Every byte that means something is covered; of a sample, each flip is told."""
    path = tmp_path / "a"
    forge = Forge(good)
    root = forge.root_values()
    contents = len(good[: root["inodes"]].rstrip(b"\0"))
    places = [*range(0, 40), *range(48, 64), *range(64, contents, 37)]
    for table, record, count in (
        ("inodes", layout.INODE, "inode_count"),
        ("frames", layout.FRAME, "frame_count"),
    ):
        places += range(root[table], root[table] + 16 + record.size * root[count], 31)
    places += range(len(good) - 64 - 90, len(good), 5)
    for at in places:
        damaged = bytearray(good)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        assert complaints(path), f"the flip at {at} was not seen"


def test_the_rest_stays_readable(good, tmp_path):
    path = tmp_path / "a"
    forge = Forge(good)
    frame = forge.frame_fields(1)
    forge.data[frame.offset + frame.stored // 2] ^= 0x10
    path.write_bytes(bytes(forge))
    with Archive.open(path) as archive:
        root = archive.inode(1)
        large = archive.content(archive.lookup(1, root, b"large").inode)
        first = large.extents[0].frame
        for index in range(3):
            expected = LARGE_BYTES[index * 131_072 :][:131_072]
            if first + index == 1:
                with pytest.raises(Damage) as caught:
                    large.read(index * 131_072, 131_072)
                assert caught.value.offset == frame.offset
            else:
                assert bytes(large.read(index * 131_072, 131_072)) == expected
        small = archive.content(archive.lookup(1, root, b"small").inode)
        assert bytes(small.read(0, 9)) == b"small"


def test_the_exit_code_is_the_documented_one():
    assert Damage("it is bad", 5).user_error("a").exit_code == ExitCode.DAMAGED
    assert Damage("it is bad", 5).user_error("a").message == "a: it is bad (at offset 5)"
