"""What each provider of vfsd is to reach, row by row, against the peer that does the same.

The memory provider is held against the fastest C file system of the row, passthrough against
bindfs, the overlay against fuse-overlayfs; all against ratarmount and pyfuse3's own example.

Concurrency: pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping

from experiment import Results
from measure import middle
from rows import Row
from systems import System
from table import Sheet

C_PEERS = ("fuse-overlayfs", "bindfs", "unionfs-fuse")
PEERS: Mapping[str, tuple[str, ...]] = {
    "vfsd": C_PEERS,
    "vfsd-passthrough": ("bindfs",),
    "vfsd-overlay": ("fuse-overlayfs",),
    "vfsd-overlay-dir": ("fuse-overlayfs",),
}
AHEAD = frozenset({"unpack", "copy", "remove", "git-clone", "read-cold"})
"""Rows in which the memory provider is to take at most `AHEAD_FACTOR` of the peer's time."""
AHEAD_FACTOR, LEVEL_FACTOR = 0.8, 1.0
SLOW_PEERS, SLOW_FACTOR = ("ratarmount", "pyfuse3-example"), 3.0


def sheet(rows: tuple[Row, ...], systems: tuple[System, ...], results: Results) -> Sheet | None:
    """Return a line per provider and row with its target; None without a provider or a peer."""
    names = {system.name for system in systems}
    lines = []
    for row in rows:
        times = {
            name: middle(taken)
            for name in names
            if (taken := results.samples.get((row.name, name)))
        }
        for provider, peers in PEERS.items():
            known = [peer for peer in peers if peer in times]
            if provider in times and known:
                best = min(known, key=lambda peer: times[peer])
                lines.append(_line(row.name, provider, best, times))
    if not lines:
        return None
    header = ["row", "provider", "peer", "time / peer's", "at most", "", "slow peers / time"]
    met = sum(line[5] == "met" for line in lines)
    floor = "(by tmpfs too): tmpfs is not so much faster than that peer either"
    return Sheet("Targets", header, lines, [f"{met} of {len(lines)} met", floor])


def _line(row: str, provider: str, peer: str, times: Mapping[str, float]) -> list[str]:
    own = times[provider]
    limit = AHEAD_FACTOR if provider == "vfsd" and row in AHEAD else LEVEL_FACTOR
    slow = []
    for name in SLOW_PEERS:
        if name in times:
            factor = times[name] / own
            floored = times.get("tmpfs", 0.0) * SLOW_FACTOR > times[name]
            missed = "missed (by tmpfs too)" if floored else "missed"
            slow.append(f"{name} {factor:.1f} {'met' if factor >= SLOW_FACTOR else missed}")
    ratio = own / times[peer]
    verdict = "met" if ratio <= limit else "missed"
    return [row, provider, peer, f"{ratio:.2f}", f"{limit:.1f}", verdict, ", ".join(slow)]
