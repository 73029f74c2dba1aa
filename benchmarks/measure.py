"""Measuring: one timed command, and what the serving daemon spent on it.

What is timed stands in rows.py, on what in catalogue.py.

Concurrency: one command at a time; nothing else of the benchmark runs beside it.
Sources: clock_gettime(2) and linux/posix-timers.h (a process's CPU clock by its id),
proc(5) (`VmRSS`, `drop_caches`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

DROP_CACHES = Path("/proc/sys/vm/drop_caches")


class RowFailedError(Exception):
    """The timed command failed or took too long; the text says which."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One timed command; `cpu_seconds` and `rss_bytes` are the daemon's, None without one."""

    seconds: float
    cpu_seconds: float | None = None
    rss_bytes: int | None = None
    requests: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placement:
    """Which CPUs the client's commands and the daemons may use."""

    client: frozenset[int]
    daemon: frozenset[int]

    @classmethod
    def named(cls, name: str) -> Placement:
        """`same`: both on one CPU; `apart`: the daemon alone on one; `free`: anywhere."""
        available = frozenset(os.sched_getaffinity(0))
        first = frozenset({min(available)})
        if name == "same":
            return cls(first, first)
        if name == "apart" and len(available) > 1:
            return cls(available - first, first)
        return cls(available, available)


def run_script(
    script: str, cwd: Path, environment: dict[str, str], timeout_seconds: float = 120
) -> float:
    """Run a shell script to its end and return how long it took.

    Raises `RowFailedError` with the last line it said; on a time-out its process group is
    killed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        ["sh", "-ec", script],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    try:
        _, said = process.communicate(timeout=timeout_seconds)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise RowFailedError(f"over {timeout_seconds:.0f} s") from None
        raise
    seconds = time.perf_counter() - start
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or [f"{process.returncode}"]
        raise RowFailedError(f"failed: {lines[-1][:80]}")
    return seconds


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of all threads of `pid` so far, to the nanosecond.

    The clock's number is what clock_getcpuclockid(3) computes: the inverted id, shifted by
    three, and CPUCLOCK_SCHED (2).
    """
    return time.clock_gettime((~pid << 3) | 2)


def rss_bytes(pid: int) -> int:
    """Return how much memory `pid` occupies now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise ProcessLookupError(pid)


def can_drop_caches() -> bool:
    """Say whether cold rows can be had: only root may empty the kernel's caches."""
    return os.access(DROP_CACHES, os.W_OK)


def drop_caches() -> None:
    """Empty the kernel's caches of names, attributes and data, of every file system."""
    os.sync()
    DROP_CACHES.write_text("3\n")


def middle(samples: list[Sample]) -> float:
    """Return the median time."""
    return median(sample.seconds for sample in samples)


def spread(samples: list[Sample]) -> float:
    """Return half the range of the times, relative to the median: 0.1 reads as ±10 %."""
    times = [sample.seconds for sample in samples]
    return (max(times) - min(times)) / 2 / median(times)
