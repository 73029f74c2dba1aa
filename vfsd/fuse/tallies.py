"""What was counted between two looks: requests by kind, by attachment and by calling process.

A `Window` belongs to one who looks, and holds the sums since its last `take`. Latencies go into
buckets of an eighth of a power of two, so a percentile is told at most 12.5 % too high.

What it is *not*: the measuring around a handler (metering.py).

Concurrency: used from the event loop only; nothing suspends.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from time import perf_counter_ns
from typing import Final, TypeVar

from vfsd.attachment import Attachment

KEYS_LIMIT: Final = 4096
"""Pairs of kind, attachment and process that are told apart; what comes after is of `OTHERS`."""
SHOWN_LIMIT: Final = 64
"""Processes and attachments in one sample, those with the most requests; the rest as one."""
OTHERS: Final = -1
"""Stands for the pid of processes that are not told apart."""
FINE_BITS: Final = 3

T = TypeVar("T")
Key = tuple[str, Attachment | None, int]


class Tally:
    """Sums of one key."""

    __slots__ = ("busy_ns", "failed", "read_bytes", "requests", "written_bytes")

    def __init__(self) -> None:
        self.requests = self.failed = self.read_bytes = self.written_bytes = self.busy_ns = 0

    def add(self, other: Tally) -> None:
        """Add the sums of another."""
        self.requests += other.requests
        self.failed += other.failed
        self.read_bytes += other.read_bytes
        self.written_bytes += other.written_bytes
        self.busy_ns += other.busy_ns

    def told(self) -> dict[str, object]:
        """Return the sums by name, units last."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "read_bytes": self.read_bytes,
            "written_bytes": self.written_bytes,
            "busy_us": self.busy_ns // 1000,
        }


class Latencies:
    """How long requests took, in buckets."""

    __slots__ = ("_buckets", "_max_ns")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._max_ns = 0

    def note(self, ns: int) -> None:
        """Count one request."""
        shift = max(ns.bit_length() - 1 - FINE_BITS, 0)
        bucket = shift << (FINE_BITS + 1) | ns >> shift
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        if ns > self._max_ns:
            self._max_ns = ns

    def percentiles_us(self, *wanted: int) -> list[float]:
        """Return, for each percentage, a time that so many of the requests did not exceed."""
        total, found, seen = sum(self._buckets.values()), [], 0
        buckets = iter(sorted(self._buckets.items()))
        top_ns = 0
        for percent in wanted:
            while seen * 100 < total * percent:
                bucket, count = next(buckets)
                seen += count
                shift, fine = bucket >> (FINE_BITS + 1), bucket & (2 << FINE_BITS) - 1
                top_ns = min((fine + 1 << shift) - 1, self._max_ns)
            found.append(top_ns / 1000)
        return found


class CacheUse:
    """What can be told of the kernel's caches: it does not say what it answers itself.

    `opens_kept`: opened files of which the kernel may keep the pages it has. `files_unasked`:
    of those, closed without one read having come here: the kernel had it all, or nobody read.
    Of listings it tells nothing at all: it asks for those it does not keep.
    """

    __slots__ = ("files_unasked", "opens", "opens_kept")

    def __init__(self) -> None:
        self.opens = self.opens_kept = self.files_unasked = 0

    def told(self) -> dict[str, object]:
        """Return the counts by name."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}


class Window:
    """What one who looks has not been told yet."""

    def __init__(self) -> None:
        self.since_ns = perf_counter_ns()
        self._tallies: dict[Key, Tally] = {}
        self._latencies: dict[str, Latencies] = {}
        self.cache = CacheUse()

    def note(
        self, key: Key, took_ns: int, *, failed: bool, read_bytes: int, written_bytes: int
    ) -> None:
        """Count one request that was answered."""
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= KEYS_LIMIT:
                key = (key[0], None, OTHERS)
            tally = self._tallies.setdefault(key, Tally())
        tally.requests += 1
        tally.failed += failed
        tally.read_bytes += read_bytes
        tally.written_bytes += written_bytes
        tally.busy_ns += took_ns
        latencies = self._latencies.get(key[0])
        if latencies is None:
            latencies = self._latencies[key[0]] = Latencies()
        latencies.note(took_ns)

    def take(self, commands: dict[int, str]) -> dict[str, object]:
        """Return a sample as plain values and begin anew; `commands` names processes."""
        now_ns = perf_counter_ns()
        kinds: dict[str, Tally] = {}
        attachments: dict[Attachment | None, Tally] = {}
        callers: dict[int, Tally] = {}
        for (kind, attachment, pid), tally in self._tallies.items():
            kinds.setdefault(kind, Tally()).add(tally)
            attachments.setdefault(attachment, Tally()).add(tally)
            callers.setdefault(pid, Tally()).add(tally)
        sample: dict[str, object] = {
            "seconds": round((now_ns - self.since_ns) / 1e9, 6),
            "requests": sum(tally.requests for tally in kinds.values()),
            "kinds": [
                {"kind": kind, **tally.told(), **_spread(self._latencies[kind])}
                for kind, tally in _busiest(kinds.items())
            ],
            "attachments": [
                {**_named(attachment), **tally.told()}
                for attachment, tally in _most(attachments, None)
            ],
            "callers": [
                {"pid": pid, "command": commands.get(pid, ""), **tally.told()}
                for pid, tally in _most(callers, OTHERS)
            ],
            "cache": self.cache.told(),
        }
        self.since_ns = now_ns
        self._tallies, self._latencies, self.cache = {}, {}, CacheUse()
        return sample


def _spread(latencies: Latencies) -> dict[str, object]:
    names = ("p50_us", "p90_us", "p99_us", "max_us")
    return dict(zip(names, latencies.percentiles_us(50, 90, 99, 100), strict=True))


def _named(attachment: Attachment | None) -> dict[str, object]:
    if attachment is None:
        return {"prefix": None, "provider": None}
    return {
        "prefix": os.fsdecode(attachment.prefix),
        "provider": attachment.provider.describe(),
    }


def _busiest(items: Iterable[tuple[T, Tally]]) -> list[tuple[T, Tally]]:
    return sorted(items, key=lambda item: -item[1].requests)


def _most(tallies: dict[T, Tally], others: T) -> list[tuple[T, Tally]]:
    """Return the busiest, and all others as one, last."""
    rest = tallies.pop(others, Tally())
    ordered = _busiest(tallies.items())
    for _, tally in ordered[SHOWN_LIMIT:]:
        rest.add(tally)
    return [*ordered[:SHOWN_LIMIT], *([(others, rest)] if rest.requests else [])]
