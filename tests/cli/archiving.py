"""Trees of the host for archives: odd ones made, and two of them compared to the last attribute."""

from __future__ import annotations

import os
import random
import socket
import stat
from pathlib import Path

COMPARED = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns")
ODD = (b"\xff\xfe", b"\n", b" ", b"-rf", b"...", b"\xc3", b"n" * 255, b"A", b"a", "é".encode())


def described(root: Path | str, *, owners: bool = True) -> dict[bytes, object]:
    """Return everything that can be seen of a tree, by path."""
    top = os.fsencode(root)
    seen: dict[bytes, object] = {}
    firsts: dict[tuple[int, int], bytes] = {}
    waiting = [b""]
    while waiting:
        path = waiting.pop()
        host = os.path.join(top, path) if path else top
        found = os.lstat(host)
        what: dict[str, object] = {
            name: getattr(found, name)
            for name in COMPARED
            if not (name == "st_size" and stat.S_ISDIR(found.st_mode))
            and not (name in ("st_uid", "st_gid") and not owners)
            and not (name == "st_nlink" and stat.S_ISDIR(found.st_mode))
        }
        if stat.S_ISDIR(found.st_mode):
            names = sorted(os.listdir(host))
            what["names"] = names
            waiting.extend(path + b"/" + name if path else name for name in names)
        elif stat.S_ISREG(found.st_mode):
            what["content"] = content(host)
        elif stat.S_ISLNK(found.st_mode):
            what["target"] = os.readlink(host)
        else:
            what["rdev"] = found.st_rdev
        keys = sorted(os.listxattr(host, follow_symlinks=False))
        what["xattrs"] = {key: os.getxattr(host, key, follow_symlinks=False) for key in keys}
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            what["first"] = firsts.setdefault((found.st_dev, found.st_ino), path)
        seen[path] = what
    # Which name of a file came first depends on the walk; which names it has does not.
    groups: dict[object, list[bytes]] = {}
    for path, what in seen.items():
        if isinstance(what, dict) and "first" in what:
            groups.setdefault(what["first"], []).append(path)
    for what in seen.values():
        if isinstance(what, dict) and "first" in what:
            what["first"] = sorted(groups[what["first"]])
    return seen


def content(path: bytes) -> object:
    """Return a file's bytes; of a large one its data by extents, holes as such."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 1 << 22:
            return file.read()
        pieces, offset = [], 0
        while offset < size:
            try:
                start = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            pieces.append((start, os.pread(file.fileno(), end - start, start)))
            offset = end
        return pieces


def odd_tree(root: Path, seed: int, hole_bytes_max: int = 1 << 31) -> None:
    """Make a directory with everything that can be in one."""
    chance = random.Random(seed)
    root.mkdir()
    top = os.fsencode(root)
    directories, files = [top], []
    for _ in range(chance.randrange(20, 90)):
        name = chance.choice(ODD) if chance.random() < 0.3 else b"%x" % chance.randrange(1000)
        path = os.path.join(chance.choice(directories), name)
        if os.path.lexists(path) or len(path) > 3000:
            continue
        kind = chance.randrange(10)
        if kind < 2:
            os.mkdir(path)
            directories.append(path)
            continue
        if kind == 2:
            os.symlink(chance.choice((b"..", b"/etc", b"\xff", b"a/b", b"x" * 4000)), path)
            continue
        if kind == 3 and files:
            os.link(chance.choice(files), path)
            continue
        if kind == 4:
            os.mkfifo(path)
        elif kind == 5 and len(path) < 100:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
        elif kind == 6 and os.geteuid() == 0:
            os.mknod(path, stat.S_IFCHR | 0o644, chance.choice((0, os.makedev(1, 3))))
        else:
            make_file(path, chance, hole_bytes_max)
        files.append(path)
        os.chmod(path, chance.choice((0o644, 0o755, 0o600, 0o4755, 0o777)))
        if os.geteuid() == 0 and chance.random() < 0.3:
            os.chown(path, 1234, 5678)
            os.chmod(path, 0o640)
        time = chance.choice((0, -5_000_000_000, 1_700_000_000_123_456_789, 2**33 * 10**9))
        os.utime(path, ns=(time, time))
    for path in reversed(directories):
        os.chmod(path, chance.choice((0o755, 0o700, 0o1777, 0o2755)))
        os.utime(path, ns=(0, chance.randrange(2**60)))


def make_file(path: bytes, chance: random.Random, hole_bytes_max: int) -> None:
    """Make a regular file, small or large, sparse or not, with or without attributes."""
    with open(path, "wb") as file:
        for _ in range(chance.randrange(4)):
            size = chance.choice((1, 100, 4096, 131_072, 200_001))
            if chance.random() < 0.2:
                file.seek(min(hole_bytes_max, 1 << chance.choice((13, 20, 31))), os.SEEK_CUR)
            file.write(chance.randbytes(size) if chance.random() < 0.5 else b"x" * size)
        if chance.random() < 0.2:
            file.truncate(file.tell() + (1 << 20))
    if chance.random() < 0.3:
        os.setxattr(path, "user.\udcff", chance.randbytes(50))
        os.setxattr(path, "user.empty", b"")
