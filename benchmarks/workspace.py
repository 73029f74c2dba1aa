"""Where a benchmark works: a directory on tmpfs with room enough, removed at the end.

Concurrency: one per run; signals become exceptions so that every way out cleans up.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

ROOM_BYTES = 4 << 30


@contextmanager
def workspace() -> Iterator[Path]:
    """Make a directory on tmpfs and remove it at the end, also on SIGTERM and Ctrl-C.

    An existing tmpfs with room is used; otherwise root mounts one of its own. Raises
    `SystemExit` with a sentence where neither can be had.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    parent = next((path for path in _tmpfs_directories() if _has_room(path)), None)
    if parent is None and os.geteuid() != 0:
        raise SystemExit(
            f"no tmpfs with {ROOM_BYTES >> 30} GiB free that you may write to; run as root, or:"
            " mount -o remount,size=75% /dev/shm"
        )
    directory = Path(tempfile.mkdtemp(prefix="vfsd-bench-", dir=parent)).resolve()
    if parent is None:
        subprocess.run(["mount", "-t", "tmpfs", "vfsd-bench", str(directory)], check=True)
    try:
        yield directory
    finally:
        if parent is None:
            subprocess.run(["umount", "-l", str(directory)], check=False)
        shutil.rmtree(directory, ignore_errors=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _tmpfs_directories() -> Iterator[Path]:
    mounted = set()
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        for line in table:
            before, _, after = line.partition(" - ")
            if after.split()[0] == "tmpfs":
                mounted.add(before.split()[4])
    for candidate in (os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", "/tmp"):
        if candidate in mounted and os.access(candidate, os.W_OK):
            yield Path(candidate)


def _has_room(path: Path) -> bool:
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize >= ROOM_BYTES
