"""What the backing file system is: local and quick, or one that may block.

A local one answers from memory or from a disk of this machine, so its calls are made in the
event loop; a network's, or one served by another process (FUSE), can take for ever, and its
calls are made in threads. Mounts inside the root are judged each by itself: `Submounts` knows
them from the table of mounts, so that nothing blocks on them unprepared, and hides those of
vfsd, since a daemon that looks into its own mount would wait for itself.

Concurrency: `Submounts` is used from the event loop only; it reads /proc and resolves parents
of mountpoints on the local part of the root, which does not block.

Sources: statfs(2) for f_type; vfsd/mountinfo.py, whose file becomes readable for POLLPRI.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
from collections.abc import Callable, Sequence

from providers.passthrough.beneath import Key
from vfsd import mountinfo

LOCAL_TYPES = frozenset(
    [
        *("bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660"),
        *("jfs", "overlay", "ramfs", "reiserfs", "squashfs", "tmpfs", "udf", "vfat", "xfs"),
        *("zfs", "devtmpfs", "proc", "sysfs"),
    ]
)

LOCAL_MAGIC = frozenset(
    [
        *(0xEF53, 0x58465342, 0x9123683E, 0x01021994, 0x794C7630, 0x858458F6, 0xF2F52010),
        *(0x73717368, 0x2FC12FC1, 0xCA451A4E, 0xE0F5E1E2, 0x2011BAB0, 0x4D44, 0x9660),
        0x3153464A,
    ]
)
"""ext2/3/4, xfs, btrfs, tmpfs, overlay, ramfs, f2fs, squashfs, zfs, bcachefs, erofs, exfat,
vfat, iso9660, jfs."""

FINE_CTIME_MAGIC = frozenset([0xEF53, 0x58465342, 0x9123683E, 0x01021994])
"""ext4, xfs, btrfs, tmpfs: since Linux 6.13 no two changes seen apart have the same ctime."""

VOLATILE_MAGIC = frozenset([0x01021994, 0x858458F6])
"""tmpfs and ramfs: what is there is gone with the machine's power, synced or not."""

OWN_TYPE = "fuse.vfsd"

_libc = ctypes.CDLL(None, use_errno=True)


def file_system_type(fd: int) -> int:
    """Return the magic number of the file system an fd is on; 0 if it cannot be told."""
    # f_type is the first field, a long (struct statfs is at most 120 bytes).
    buffer = (ctypes.c_long * 32)()
    if _libc.fstatfs(fd, buffer):
        return 0
    return buffer[0] & 0xFFFFFFFF


def is_local(fd: int) -> bool:
    """Say whether calls on that file system may be made in the event loop."""
    return file_system_type(fd) in LOCAL_MAGIC


def is_volatile(fd: int) -> bool:
    """Say whether nothing on that file system can be made durable."""
    return file_system_type(fd) in VOLATILE_MAGIC


def has_fine_ctime(fd: int) -> bool:
    """Say whether an equal ctime proves that nothing changed."""
    version = tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    return version >= (6, 13) and file_system_type(fd) in FINE_CTIME_MAGIC


class Submounts:
    """The mountpoints inside the root: which are hidden, and which may block."""

    def __init__(
        self, root_path: Callable[[], bytes], key_of: Callable[[Sequence[bytes]], Key | None]
    ) -> None:
        """`root_path` tells where the root is now, `key_of` which directory some names mean."""
        self._root_path = root_path
        self._key_of = key_of
        self._fd = mountinfo.table()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLPRI)
        self.hidden: frozenset[tuple[int, int, bytes]] = frozenset()
        """Places, as (device, inode, name) of the directory and the name in it."""
        self.slow: frozenset[tuple[int, int, bytes]] = frozenset()
        self.read()

    def refresh(self) -> bool:
        """Read the table again if it changed; say whether there is anything to be wary of."""
        if self._poll.poll(0):
            self.read()
        return bool(self.hidden or self.slow)

    def read(self) -> None:
        """Read the table of mounts."""
        root = self._root_path()
        hidden: set[tuple[int, int, bytes]] = set()
        slow: set[tuple[int, int, bytes]] = set()
        # Outer mounts come first: what stands on one that may block is not looked into.
        seen: list[bytes] = []
        prefix = root.rstrip(b"/") + b"/"
        for point, kind in sorted(self._mounts()):
            if not point.startswith(prefix) or any(point.startswith(each) for each in seen):
                continue
            if kind in LOCAL_TYPES:
                continue
            seen.append(point + b"/")
            names = point[len(prefix) :].split(b"/")
            key = self._key_of(names[:-1])
            if key is not None:
                (hidden if kind == OWN_TYPE else slow).add((*key, names[-1]))
        self.hidden, self.slow = frozenset(hidden), frozenset(slow)

    def _mounts(self) -> list[tuple[bytes, str]]:
        data = b""
        os.lseek(self._fd, 0, os.SEEK_SET)
        while piece := os.read(self._fd, 1 << 16):
            data += piece
        # Of several at one place the last one shows.
        return list({m.mountpoint: os.fsdecode(m.kind) for m in mountinfo.parse(data)}.items())

    def close(self) -> None:
        """Let the table go."""
        os.close(self._fd)
