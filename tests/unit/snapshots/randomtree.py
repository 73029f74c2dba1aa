"""Random trees with everything a file system holds, few names, and so every kind of change."""

from __future__ import annotations

import os
import random
from pathlib import Path

NAMES = [b"a", b"b", b"c", b"odd \n\x1b[31m", b"\xff\xfe", "ünï".encode(), b".hidden"]
MODES = [0o644, 0o600, 0o444, 0o755, 0o4755, 0o000]
FOLDER_MODES = [0o755, 0o700, 0o2775, 0o555, 0o1777]
DEPTH_MAX = 3


def fill(root: Path, rng: random.Random, *, owners: bool = False) -> None:
    """Make `root` and fill it; with `owners` files belong to several users."""
    root.mkdir()
    files: list[bytes] = []
    folders: list[bytes] = []
    _fill(os.fsencode(root), rng, 0, files, folders)
    for path in files:
        if not os.path.islink(path):
            _mark(path, rng, MODES, owners=owners)
        elif owners:
            os.chown(path, rng.choice([0, 1000]), 0, follow_symlinks=False)
    for path in reversed(folders):
        _mark(path, rng, FOLDER_MODES, owners=owners)


def _fill(
    folder: bytes, rng: random.Random, depth: int, files: list[bytes], folders: list[bytes]
) -> None:
    for name in NAMES:
        path = folder + b"/" + name
        kind = rng.choice(
            ["none", "none", "file", "file", "link", "sparse", "symlink", "fifo"]
            + ["folder"] * (3 if depth < DEPTH_MAX else 0)
        )
        if kind == "folder":
            os.mkdir(path)
            folders.append(path)
            _fill(path, rng, depth + 1, files, folders)
        elif kind == "file":
            Path(os.fsdecode(path)).write_bytes(rng.choice([b"", b"one\n", b"two\n", b"\0" * 5000]))
        elif kind == "sparse":
            with open(path, "wb") as file:
                file.seek(1 << 20)
                file.write(rng.choice([b"x", b"y"]))
        elif kind == "symlink":
            os.symlink(rng.choice([b"a", b"/nowhere", b"..", b"\xff"]), path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "link" and files:
            os.link(rng.choice(files), path, follow_symlinks=False)
        else:
            continue
        if kind != "folder":
            files.append(path)


def _mark(path: bytes, rng: random.Random, modes: list[int], *, owners: bool) -> None:
    if owners:
        os.chown(path, rng.choice([0, 1000]), rng.choice([0, 1000]))
    if rng.random() < 0.3 and (os.path.isfile(path) or os.path.isdir(path)):
        os.setxattr(path, b"user.note", rng.choice([b"1", b"2", b"\xff\0"]))
    os.chmod(path, rng.choice(modes))
    second = rng.choice([1_000_000_000, 1_500_000_000])
    os.utime(path, ns=(second * 10**9, second * 10**9 + rng.choice([0, 123_456_789])))
