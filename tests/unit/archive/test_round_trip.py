"""What was written is what is read: every type and attribute, large, sparse, shared."""

from __future__ import annotations

import errno
import os
import random
import stat

import pytest

from tests.unit.archive.models import File, odd_tree, read, told, write
from vfsd.archive.framewriter import FrameWriter, Method
from vfsd.archive.layout import CODEC_RAW
from vfsd.archive.outfile import OutFile
from vfsd.archive.reader import Archive
from vfsd.archive.stream import Stream
from vfsd.archive.writer import ArchiveWriter, Attributes, Hole

DIRECTORY = Attributes(stat.S_IFDIR | 0o755)
REGULAR = Attributes(stat.S_IFREG | 0o644)


def shown(tree):
    """Return `told`, where a link's first name is the smallest of its names."""
    seen = told(tree)
    firsts: dict[bytes, bytes] = {}
    for path, (*_, first) in seen.items():
        firsts[first] = min(path, firsts.get(first, path))
    return {path: (*rest, firsts[first]) for path, (*rest, first) in seen.items()}


@pytest.mark.parametrize("seed", range(24))
def test_odd_trees(tmp_path, seed):
    tree = odd_tree(seed)
    options = {"compression": ("zstd", "none", "zlib", "xz" if seed == 3 else "none")[seed % 4]}
    write(tmp_path / "a", tree, **options)
    assert read(tmp_path / "a") == shown(tree)
    # Again, with another number of threads: the same bytes.
    write(tmp_path / "b", tree, workers=1, **options)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_entries_may_come_in_any_order(tmp_path):
    tree = {
        b"": File(DIRECTORY),
        b"d": File(DIRECTORY, {b"user.x": b"1"}),
        b"d/e": File(DIRECTORY),
        b"d/e/f": File(REGULAR, pieces=[b"f"]),
        b"d/g": File(REGULAR, pieces=[b"g"]),
    }
    write(tmp_path / "a", tree)
    write(tmp_path / "b", {path: tree[path] for path in (b"d/e/f", b"d/g", b"d/e", b"d", b"")})
    assert read(tmp_path / "a") == read(tmp_path / "b") == shown(tree)


@pytest.mark.parametrize("count", [511, 512, 513, 1024, 5000])
def test_big_directories(tmp_path, count):
    names = [b"%x" % (number * 7919 % 1_000_003) for number in range(count)]
    tree = {b"": File(DIRECTORY), b"d": File(DIRECTORY)}
    tree.update({b"d/" + name: File(REGULAR, pieces=[name]) for name in names})
    write(tmp_path / "a", tree)
    with Archive.open(tmp_path / "a") as archive:
        number, inode = archive.lookup(1, archive.inode(1), b"d")
        assert archive.names(number, inode) == sorted(names)
        assert dict(archive.scan(number, inode)).keys() == set(names)
        for name in (names[0], names[-1], min(names), max(names)):
            found = archive.lookup(number, inode, name)
            assert bytes(archive.content(found.inode).read(0, 99)) == name
        for name in (b"", b"\0", b"zz", b"0.", names[3] + b"\0"):
            assert archive.lookup(number, inode, name) is None


def test_a_directory_of_one_page_is_read_without_the_rest(tmp_path):
    tree = {b"": File(DIRECTORY)}
    for number in range(300):
        tree[b"%03d" % number] = File(DIRECTORY)
        for inner in range(20):
            tree[b"%03d/%d" % (number, inner)] = File(REGULAR, pieces=[b"%d" % inner])
    write(tmp_path / "a", tree)
    with Archive.open(tmp_path / "a") as archive:
        reads: list[int] = []
        read_all = archive.source.read
        archive.source.read = lambda offset, size: reads.append(size) or read_all(offset, size)
        number, inode = archive.lookup(1, archive.inode(1), b"200")
        assert len(list(archive.scan(number, inode))) == 20
        assert sum(reads) < 32_768


def test_the_same_content_is_stored_once(tmp_path):
    chance = random.Random(1)
    large, small = chance.randbytes(3_000_000), chance.randbytes(1000)
    tree = {b"": File(DIRECTORY)}
    for number in range(5):
        tree[b"l%d" % number] = File(REGULAR, pieces=[large])
        tree[b"s%d" % number] = File(REGULAR, pieces=[small])
        tree[b"h%d" % number] = File(REGULAR, pieces=[Hole(1 << 30), large])
    write(tmp_path / "a", tree)
    # Twice: a sparse file's frames start where its data does.
    assert (tmp_path / "a").stat().st_size < 2 * 3_000_000 + 50_000
    with Archive.open(tmp_path / "a") as archive:
        for name in (b"l0", b"l4"):
            found = archive.lookup(1, archive.inode(1), name)
            content = archive.content(found.inode)
            assert bytes(content.read(0, content.size)) == large


def test_content_of_the_same_digest_is_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("vfsd.archive.contentwriter.content_hasher", lambda: _Constant())
    tree = {
        b"": File(DIRECTORY),
        b"a": File(REGULAR, pieces=[b"one"]),
        b"b": File(REGULAR, pieces=[b"two"]),
    }
    write(tmp_path / "a", tree)
    assert read(tmp_path / "a")[b"b"][2] == b"two"


class _Constant:
    def update(self, data):
        pass

    def digest(self):
        return bytes(16)


def test_more_than_4_gib(tmp_path):
    size = (4 << 30) + 5
    piece = bytes(1 << 20)

    def pieces():
        for _ in range(size >> 20):
            yield piece
        yield b"12345"

    with OutFile(tmp_path / "a") as out, ArchiveWriter(out.fd) as writer:
        writer.add_file(b"big", REGULAR, pieces(), unique=True)
        writer.add_file(b"tib", REGULAR, [Hole(1 << 40), b"end"])
        writer.finish()
        out.commit()
    with Archive.open(tmp_path / "a") as archive:
        root = archive.inode(1)
        content = archive.content(archive.lookup(1, root, b"big").inode)
        assert content.size == size
        assert bytes(content.read(size - 8, 100)) == b"\0\0\0" + b"12345"
        assert archive.frames.verified_frames == 2, "the end is read without the rest"
        content = archive.content(archive.lookup(1, root, b"tib").inode)
        assert bytes(content.read((1 << 40) - 2, 100)) == b"\0\0end"


def test_raw_content_is_aligned(tmp_path):
    data = random.Random(2).randbytes(10_000)
    tree = {b"": File(DIRECTORY), b"a": File(REGULAR, pieces=[b"small"])}
    tree[b"b"] = File(REGULAR, pieces=[data])
    write(tmp_path / "a", tree, compression="none")
    assert (tmp_path / "a").read_bytes().index(data) % 4096 == 0


def test_what_does_not_compress_is_stored_raw(tmp_path):
    data = random.Random(3).randbytes(100_000)
    write(tmp_path / "a", {b"": File(DIRECTORY), b"a": File(REGULAR, pieces=[data])})
    assert data in (tmp_path / "a").read_bytes()


def test_reading_in_any_pieces_gives_the_same(tmp_path):
    chance = random.Random(4)
    pieces = [chance.randbytes(150_000), Hole(5000), b"z" * 400_000, Hole(200_000), b"q"]
    write(tmp_path / "a", {b"": File(DIRECTORY), b"a": File(REGULAR, pieces=pieces)})
    whole = b"".join(bytes(each.length) if isinstance(each, Hole) else each for each in pieces)
    with Archive.open(tmp_path / "a") as archive:
        content = archive.content(archive.lookup(1, archive.inode(1), b"a").inode)
        for _ in range(500):
            offset, size = chance.randrange(len(whole) + 10), chance.choice((1, 4096, 300_000))
            assert bytes(content.read(offset, size)) == whole[offset : offset + size]
        assert b"".join(bytes(data) for _, data in content.pieces()) == b"".join(
            each for each in pieces if not isinstance(each, Hole)
        )


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"a/../b", errno.EINVAL),
        (b"..", errno.EINVAL),
        (b"a//b", errno.EINVAL),
        (b"/a", errno.EINVAL),
        (b"a/", errno.EINVAL),
        (b".", errno.EINVAL),
        (b"a\0", errno.EINVAL),
        (b"n" * 256, errno.ENAMETOOLONG),
        (b"there", errno.EEXIST),
        (b"there/below", errno.ENOTDIR),
    ],
)
def test_bad_names_are_refused(tmp_path, path, code):
    with OutFile(tmp_path / "a") as out, ArchiveWriter(out.fd) as writer:
        writer.add_file(b"there", REGULAR, [b"x"])
        with pytest.raises(OSError) as caught:
            writer.add_file(path, REGULAR, [b"y"])
        assert caught.value.errno == code


def test_impossible_entries_are_refused(tmp_path):
    with OutFile(tmp_path / "a") as out, ArchiveWriter(out.fd) as writer:
        writer.add_directory(b"d", DIRECTORY)
        for call, code in (
            (lambda: writer.add_directory(b"d", DIRECTORY), errno.EEXIST),
            (lambda: writer.add_file(b"f", DIRECTORY, []), errno.EINVAL),
            (lambda: writer.add_special(b"f", Attributes(0o644)), errno.EINVAL),
            (lambda: writer.add_symlink(b"s", Attributes(stat.S_IFLNK), b""), errno.EINVAL),
            (lambda: writer.add_symlink(b"s", Attributes(stat.S_IFLNK), b"a\0"), errno.EINVAL),
            (
                lambda: writer.add_symlink(b"s", Attributes(stat.S_IFLNK), b"a" * 4096),
                errno.ENAMETOOLONG,
            ),
            (lambda: writer.add_link(b"l", b"gone"), errno.ENOENT),
            (lambda: writer.add_link(b"l", b"d"), errno.EPERM),
            (lambda: writer.add_directory(b"x", DIRECTORY, {b"": b""}), errno.E2BIG),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == code


def test_nothing_appears_unless_it_is_whole(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    with OutFile(target) as out:
        assert list(tmp_path.iterdir()) == [target]
        out_fd = out.fd
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(OSError), OutFile(tmp_path / "no" / "a"):
        pass
    with pytest.raises(IsADirectoryError), OutFile(tmp_path):
        pass
    with pytest.raises(OSError):
        os.fstat(out_fd)


def test_a_file_system_without_nameless_files(tmp_path, monkeypatch):
    real = os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    write(tmp_path / "a", {b"": File(DIRECTORY)})
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    with OutFile(tmp_path / "b"):
        assert len(list(tmp_path.iterdir())) == 2
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_frames_are_rewound(tmp_path):
    with open(tmp_path / "a", "w+b") as file:
        stream = Stream(file.fileno(), 0)
        frames = FrameWriter(stream, Method(CODEC_RAW, 0))
        frames.put(frames.reserve(), b"x" * 5000)
        mark = frames.mark()
        frames.put(frames.reserve(), b"y" * 5000)
        frames.rewind(mark)
        stream.finish()
    assert (tmp_path / "a").read_bytes() == b"x" * 5000
    assert len(frames.records) == 1
