"""What a store holds on disk: its inodes, and how much room they take."""

from __future__ import annotations

import os
from pathlib import Path

BLOCK_BYTES = 512


def inodes(root: Path) -> dict[int, int]:
    """Return the bytes of every inode below `root` that is no directory."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            stat = os.lstat(os.path.join(folder, name))
            found[stat.st_ino] = stat.st_blocks * BLOCK_BYTES
    return found
