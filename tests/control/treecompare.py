"""Trees on the host that hold one of everything, and a comparison that misses nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def one_of_everything(root: Path) -> None:
    """Fill `root` with files of each kind, odd names, odd modes and odd times."""
    (root / "deep/er/and/deeper").mkdir(parents=True)
    (root / "empty").mkdir(mode=0o700)
    (root / "file").write_bytes(b"data")
    (root / "none").write_bytes(b"")
    (root / "large").write_bytes(os.urandom(2_500_000))
    (root / "deep/er/edge").write_bytes(bytes(1 << 18))
    (root / "deep/er/past").write_bytes(bytes((1 << 18) + 1))
    with open(root / "sparse", "wb") as sparse:
        sparse.seek(20_000_000)
        sparse.write(b"end")
        sparse.truncate(30_000_000)
    (root / "script").write_bytes(b"#!/bin/sh\n")
    (root / "script").chmod(0o755)
    (root / "sealed").write_bytes(b"sealed")
    (root / "sealed").chmod(0o444)
    (root / "locked").mkdir()
    (root / "locked/inside").write_bytes(b"1")
    (root / "locked").chmod(0o555)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "setuid").write_bytes(b"1")
    (root / "setuid").chmod(0o4755)
    os.link(root / "large", root / "deep/large-again")
    os.link(root / "file", root / "empty/file-again")
    (root / "symlink").symlink_to("deep/er")
    (root / "dangling").symlink_to("/nowhere/at/all")
    os.link(root / "symlink", root / "deep/symlink-again", follow_symlinks=False)
    os.mkfifo(root / "fifo", 0o620)
    (root / "späße ☃").write_bytes(b"1")
    with open(os.fsencode(root) + b"/\xff\xfe\n", "wb") as odd:
        odd.write(b"odd")
    for number in range(700):
        (root / "deep/er/and" / f"n{number}").write_bytes(b"%d" % number)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(1_000_000_007, 1_234_567_890_123_456_789), follow_symlinks=False)
    os.utime(root / "file", ns=(0, -3_000_000_000))
    os.utime(root, ns=(1_000_000_007, 1_111_111_111_111_111_111))


def picture(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Return what there is to know about each file: all of it, but owners and change times."""
    found: dict[bytes, tuple[object, ...]] = {}
    first: dict[int, bytes] = {}
    base = os.fsencode(root)
    paths = [base]
    for folder, folders, names in os.walk(base):
        paths += [os.path.join(folder, name) for name in folders + names]
    for path in sorted(paths):
        attributes = os.lstat(path)
        name = path[len(base) :]
        content: object = None
        if stat.S_ISREG(attributes.st_mode):
            with open(path, "rb") as source:
                content = source.read()
        elif stat.S_ISLNK(attributes.st_mode):
            content = os.readlink(path)
        is_dir = stat.S_ISDIR(attributes.st_mode)
        found[name] = (
            oct(attributes.st_mode),
            attributes.st_mtime_ns,
            None if is_dir else attributes.st_nlink,
            None if is_dir else first.setdefault(attributes.st_ino, name),
            content,
        )
    return found
