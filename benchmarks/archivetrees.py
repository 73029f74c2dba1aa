"""The trees that archives.py packs: one of 2,400 files on a disk, one of any size as a tar.

Concurrency: one call at a time.
Source: pax(1), "ustar Interchange Format".
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

FILES = 2_400
BIG_BYTES = 32 << 20
FOLDER_FILES = 1000


def make_tree(root: Path, files: int = FILES) -> None:
    """Make files of the sizes and words of source code, and two large ones to seek in."""
    chance = random.Random(7)
    for number in range(files):
        folder = root / f"package{number // 40:03}" / ("lib" if number % 3 else "test")
        folder.mkdir(parents=True, exist_ok=True)
        size = int(chance.lognormvariate(8.0, 1.2))
        (folder / f"module{number}.js").write_bytes(_text(chance, size))
    (root / "random.bin").write_bytes(chance.randbytes(BIG_BYTES))
    (root / "text.txt").write_bytes(_big_text())


_WORDS: list[bytes] = []


def _text(chance: random.Random, size: int) -> bytes:
    if not _WORDS:
        letters, words = b"abcdefghijklmnop_", random.Random(8)
        _WORDS.extend(bytes(words.choices(letters, k=words.randrange(2, 12))) for _ in range(900))
    return b" ".join(chance.choices(_WORDS, k=max(1, size // 7)))


def _big_text() -> bytes:
    """Return text that compresses, and of which no two pages are the same."""
    chance = random.Random(9)
    return b"".join(_text(chance, 4096)[:4096].ljust(4096) for _ in range(BIG_BYTES // 4096))


def names_of(entries: int) -> Iterator[str]:
    """Yield the names of a large tree: a hundred directories of a thousand, in each of several."""
    for number in range(entries):
        top, folder = number // 100_000, number // FOLDER_FILES % 100
        yield f"d{top:02}/e{folder:02}/file{number % FOLDER_FILES:03}"


def write_tar(file: BinaryIO, entries: int) -> None:
    """Write `entries` files that hold their own names, and two large ones to seek in."""
    for name in names_of(entries):
        data = name.encode()
        file.write(_header(data, len(data)) + data.ljust(512, b"\0"))
    for name, data in (
        ("random.bin", random.Random(7).randbytes(BIG_BYTES)),
        ("text.txt", _big_text()),
    ):
        file.write(_header(name.encode(), len(data)) + data)
    file.write(bytes(10240))


def _header(name: bytes, size: int) -> bytes:
    head = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size
    head += b"%011o\0" % 1_700_000_000 + b" " * 8 + b"0".ljust(101, b"\0") + b"ustar\x0000"
    head = head.ljust(512, b"\0")
    return head[:148] + b"%06o\0 " % sum(head) + head[156:]
