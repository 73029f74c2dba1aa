"""How much room there is when no quota says so: what the machine could still give.

The least of: `MemAvailable` of /proc/meminfo (what can be had without swapping), what the
control group's `memory.max` leaves (unified hierarchy), and what RLIMIT_AS and RLIMIT_DATA
leave. It is told, not enforced: `df` shows it, and a write that memory is refused for is
ENOSPC.

Concurrency: pure functions that read /proc and /sys, which do not block.

Source: proc_meminfo(5), getrlimit(2), proc_pid_statm(5), the kernel's cgroup-v2.rst.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from pathlib import Path

PAGE = resource.getpagesize()

BYTES_PER_FILE = 1024
"""What an empty file costs at most, here and in the door: turns room into a number of files."""


def available_bytes() -> int:
    """Return how many more bytes this process could hold."""
    room = [_available_memory()]
    with suppress(OSError, ValueError, IndexError):
        size, _resident, _shared, _text, _lib, data, _dirty = map(
            int, Path("/proc/self/statm").read_text().split()
        )
        for limit, pages in ((resource.RLIMIT_AS, size), (resource.RLIMIT_DATA, data)):
            soft = resource.getrlimit(limit)[0]
            if soft != resource.RLIM_INFINITY:
                room.append(soft - pages * PAGE)
    with suppress(OSError, ValueError, IndexError):
        room.append(_group_room())
    return max(0, min(room))


def _available_memory() -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return 0


def _group_room() -> int:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            group = Path("/sys/fs/cgroup") / line[3:].lstrip("/")
            limit = int((group / "memory.max").read_text())  # "max" is no number: no limit
            return limit - int((group / "memory.current").read_text())
    raise ValueError("no unified control group")
