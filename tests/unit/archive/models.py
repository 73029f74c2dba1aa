"""Trees as plain values: made at random, written as an archive, read back."""

from __future__ import annotations

import random
import stat
from dataclasses import dataclass, field

from vfsd.archive.outfile import OutFile
from vfsd.archive.reader import Archive, stat_of
from vfsd.archive.writer import ArchiveWriter, Attributes, Hole

ODD_NAMES = (
    b"\xff\xfe",
    b"\n",
    b" ",
    b"-rf",
    b"...",
    "é".encode(),
    b"\xc3",
    b"n" * 255,
    b"A",
    b"a",
)


@dataclass
class File:
    """A file of any type; of a regular one, `pieces` of data and holes."""

    attributes: Attributes
    xattrs: dict[bytes, bytes] = field(default_factory=dict)
    pieces: list[bytes | Hole] = field(default_factory=list)
    target: bytes = b""


Tree = dict[bytes, File | bytes]
"""Files by path, directories before what is in them; a `bytes` is a further name of that path."""


def write(path, tree: Tree, **options) -> None:
    """Write a tree as an archive."""
    with OutFile(path) as out:
        with ArchiveWriter(out.fd, **options) as writer:
            for name, item in tree.items():
                add(writer, name, item)
            writer.finish()
        out.commit()


def add(writer: ArchiveWriter, path: bytes, item: File | bytes) -> None:
    if isinstance(item, bytes):
        writer.add_link(path, item)
        return
    kind = stat.S_IFMT(item.attributes.mode)
    if kind == stat.S_IFDIR:
        writer.add_directory(path, item.attributes, item.xattrs)
    elif kind == stat.S_IFREG:
        writer.add_file(path, item.attributes, item.pieces, item.xattrs)
    elif kind == stat.S_IFLNK:
        writer.add_symlink(path, item.attributes, item.target, item.xattrs)
    else:
        writer.add_special(path, item.attributes, item.xattrs)


def told(tree: Tree) -> dict[bytes, object]:
    """Return what reading must give: per path everything that can be seen, without the nodes."""
    seen: dict[bytes, object] = {}
    for path, item in tree.items():
        file = tree[item] if isinstance(item, bytes) else item
        assert isinstance(file, File)
        names = sum(1 for each in tree.values() if each is file)
        names += sum(1 for each in tree.values() if isinstance(each, bytes) and tree[each] is file)
        first = item if isinstance(item, bytes) else path
        content = plain(file.pieces)
        extent = sum(len(piece) for piece in file.pieces if not isinstance(piece, Hole))
        if stat.S_ISDIR(file.attributes.mode):
            names = 2 + sum(
                1
                for other, each in tree.items()
                if isinstance(each, File)
                and stat.S_ISDIR(each.attributes.mode)
                and other.rpartition(b"/")[0] == path
                and other
            )
        seen[path] = (file.attributes, file.xattrs, content, extent, file.target, names, first)
    return seen


def plain(pieces: list[bytes | Hole]) -> bytes:
    return b"".join(bytes(piece.length) if isinstance(piece, Hole) else piece for piece in pieces)


def read(path) -> dict[bytes, object]:
    """Return what an archive shows, in the form of `told`."""
    seen: dict[bytes, object] = {}
    firsts: dict[int, bytes] = {}
    with Archive.open(path) as archive:
        waiting = [(b"", 1, archive.inode(1))]
        while waiting:
            name, number, inode = waiting.pop()
            stat_ = stat_of(inode)
            kind = inode.kind
            content = target = b""
            if kind == stat.S_IFREG:
                file = archive.content(inode)
                content = bytes(file.read(0, file.size))
            elif kind == stat.S_IFLNK:
                target = archive.target(inode)
            elif kind == stat.S_IFDIR:
                found = list(archive.scan(number, inode))
                assert [each for each, _ in found] == archive.names(number, inode)
                for inner, what in found:
                    assert archive.lookup(number, inode, inner) == what
                    waiting.append((name + b"/" + inner if name else inner, *what))
            attributes = Attributes(inode.mode, inode.uid, inode.gid, stat_.mtime_ns, stat_.rdev)
            xattrs = archive.xattrs(inode)
            allocated = inode.allocated
            seen[name] = attributes, xattrs, content, allocated, target, inode.nlink, number
            firsts[number] = min(name, firsts.get(number, name))
    return {path: (*rest, firsts[number]) for path, (*rest, number) in seen.items()}


def odd_tree(seed: int) -> Tree:
    """Make a tree with everything that can be in one."""
    chance = random.Random(seed)
    tree: Tree = {b"": File(attributes(chance, stat.S_IFDIR), xattrs(chance))}
    directories = [b""]
    contents = [[b"same"], [b""], [chance.randbytes(200_000)]]
    for _ in range(chance.randrange(2, 120)):
        name = chance.choice(ODD_NAMES) if chance.random() < 0.3 else b"%x" % chance.randrange(400)
        parent = chance.choice(directories)
        path = parent + b"/" + name if parent else name
        if path in tree:
            continue
        kind = chance.choice(
            (
                *(stat.S_IFREG,) * 4,
                *(stat.S_IFDIR,) * 2,
                stat.S_IFLNK,
                stat.S_IFIFO,
                stat.S_IFSOCK,
                stat.S_IFCHR,
                stat.S_IFBLK,
            )
        )
        linkable = [each for each, item in tree.items() if can_link(item)]
        if linkable and chance.random() < 0.1:
            tree[path] = chance.choice(linkable)
            continue
        item = File(attributes(chance, kind), xattrs(chance))
        if kind == stat.S_IFDIR:
            directories.append(path)
        elif kind == stat.S_IFLNK:
            item.target = chance.choice((b"..", b"/", b"\xff" * 4095, b"a/b"))
        elif kind == stat.S_IFREG:
            item.pieces = chance.choice(contents) if chance.random() < 0.3 else pieces(chance)
        tree[path] = item
    return tree


def can_link(item: File | bytes) -> bool:
    return isinstance(item, File) and not stat.S_ISDIR(item.attributes.mode)


def attributes(chance: random.Random, kind: int) -> Attributes:
    device = kind in (stat.S_IFCHR, stat.S_IFBLK)
    return Attributes(
        kind | chance.randrange(0o10000),
        chance.choice((0, 1000, 2**32 - 2)),
        chance.choice((0, 1000, 2**32 - 2)),
        chance.choice((0, 1, -1, 1_700_000_000_123_456_789, -(10**18), 2**62)),
        chance.choice((0, 0x1234, 2**40)) if device else 0,
    )


def xattrs(chance: random.Random) -> dict[bytes, bytes]:
    if chance.random() < 0.7:
        return {}
    names = (b"user.a", b"user.overlay.opaque", b"user.\xff", b"security.capability")
    return {
        name: chance.choice((b"", b"y", chance.randbytes(5000)))
        for name in names
        if chance.random() < 0.5
    }


def pieces(chance: random.Random) -> list[bytes | Hole]:
    made: list[bytes | Hole] = []
    for _ in range(chance.randrange(5)):
        size = chance.choice((0, 1, 100, 4096, 131_071, 131_072, 131_073, 300_000))
        if chance.random() < 0.2:
            made.append(Hole(max(1, size)))
        elif chance.random() < 0.5:
            made.append(b"x" * size)
        else:
            made.append(chance.randbytes(size))
    return made
