"""From samples to sheets: times, ratios and verdicts, the daemons' costs, vfsd's requests.

How a sheet looks stands in table.py.

Concurrency: pure functions.
"""

from __future__ import annotations

from statistics import median

import targets
from experiment import Results
from measure import Sample, middle, spread
from rows import Row
from systems import System
from table import Sheet

OVERLAY_LIMIT = 1.2
"""vfsd may take at most this many times fuse-overlayfs's time."""
RATARMOUNT_FACTOR = 3.0
"""vfsd is to be at least this many times as fast as ratarmount's write overlay."""


def sheets(
    rows: tuple[Row, ...], systems: tuple[System, ...], results: Results, files: int
) -> list[Sheet]:
    """Return all sheets: times with verdicts, daemon costs, requests."""
    rows = tuple(row for row in rows if row.name not in results.missing_rows)
    systems = tuple(system for system in systems if system.name not in results.missing_systems)
    made = [
        _times(rows, systems, results, files),
        _costs(rows, [system for system in systems if system.command], results),
    ]
    if any(system.name == "vfsd" for system in systems):
        made.append(_requests(rows, results))
    held = targets.sheet(rows, systems, results)
    if held is not None:
        made.append(held)
    return made


def _times(
    rows: tuple[Row, ...], systems: tuple[System, ...], results: Results, files: int
) -> Sheet:
    with_vfsd = any(system.name == "vfsd" for system in systems)
    header = ["row", *(system.name for system in systems)]
    if with_vfsd:
        header += ["/ tmpfs", "/ fastest C", "/ fuse-overlayfs", "ratarmount /", "verdict"]
    lines = []
    for row in rows:
        line = [row.title.format(files=f"{files:,}")]
        line += [_time_cell(results, row.name, system.name) for system in systems]
        if with_vfsd:
            line += _comparison(row.name, systems, results)
        lines.append(line)
    notes = [f"without {name}: {reason}" for name, reason in results.missing_systems.items()]
    notes += [f"without {name}: {reason}" for name, reason in results.missing_rows.items()]
    notes += [f"{name} / {row}: {reason}" for (row, name), reason in results.skipped.items()]
    if with_vfsd:
        notes.append(
            f"verdict: at most {OVERLAY_LIMIT} x fuse-overlayfs's time, and ratarmount takes at"
            f" least {RATARMOUNT_FACTOR:.0f} x vfsd's; the ratio columns are vfsd's"
        )
    return Sheet("Seconds, median ± half the range", header, lines, notes)


def _time_cell(results: Results, row: str, system: str) -> str:
    samples = results.samples.get((row, system))
    if not samples:
        return "-"
    if len(samples) == 1:
        return f"{middle(samples):.3f}"
    return f"{middle(samples):.3f} ±{spread(samples) * 100:.0f}%"


def _comparison(row: str, systems: tuple[System, ...], results: Results) -> list[str]:
    times = {
        system.name: middle(results.samples[row, system.name])
        for system in systems
        if results.samples.get((row, system.name))
    }
    own = times.get("vfsd")
    if own is None:
        return ["-", "-", "-", "-", "failed"]
    fastest = min(
        (
            times[system.name]
            for system in systems
            if system.language == "C" and system.name in times
        ),
        default=None,
    )
    overlay = own / times["fuse-overlayfs"] if "fuse-overlayfs" in times else None
    ratarmount = times["ratarmount"] / own if "ratarmount" in times else None
    return [
        _ratio(own / times["tmpfs"] if "tmpfs" in times else None),
        _ratio(own / fastest if fastest else None),
        _ratio(overlay),
        _ratio(ratarmount),
        verdict(
            overlay,
            ratarmount,
            out_of_reach="tmpfs" in times
            and times.get("ratarmount", 0.0) < RATARMOUNT_FACTOR * times["tmpfs"],
        ),
    ]


def verdict(overlay: float | None, ratarmount: float | None, *, out_of_reach: bool) -> str:
    """Return `met`, or which target is missed; a peer that is not there decides nothing.

    `out_of_reach`: tmpfs itself is not that much faster than ratarmount, since the row's own
    work takes most of its time; a miss says so.
    """
    missed = []
    if overlay is not None and overlay > OVERLAY_LIMIT:
        missed.append("fuse-overlayfs")
    if ratarmount is not None and ratarmount < RATARMOUNT_FACTOR:
        missed.append("ratarmount (by tmpfs too)" if out_of_reach else "ratarmount")
    if missed:
        return "missed: " + ", ".join(missed)
    return "met" if overlay is not None or ratarmount is not None else "-"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _costs(rows: tuple[Row, ...], systems: list[System], results: Results) -> Sheet:
    lines = [
        [
            row.name,
            *(_cost_cell(results.samples.get((row.name, system.name))) for system in systems),
        ]
        for row in rows
    ]
    return Sheet(
        "The daemon: CPU seconds (median), RSS in MiB after the row (last round)",
        ["row", *(system.name for system in systems)],
        lines,
        [],
    )


def _cost_cell(samples: list[Sample] | None) -> str:
    if not samples:
        return "-"
    spent = median(sample.cpu_seconds or 0.0 for sample in samples)
    return f"{spent:.3f} s, {(samples[-1].rss_bytes or 0) / 2**20:.0f} MiB"


def _requests(rows: tuple[Row, ...], results: Results) -> Sheet:
    """Counts of the last round, the most frequent first; they hardly differ between rounds."""
    lines = []
    providers = dict.fromkeys(name for row, name in results.samples if name in targets.PEERS)
    for row, provider in ((row, provider) for row in rows for provider in providers):
        samples = results.samples.get((row.name, provider))
        if not samples:
            continue
        kinds = sorted(samples[-1].requests.items(), key=lambda item: -item[1])
        total = sum(count for _, count in kinds)
        each = (samples[-1].cpu_seconds or 0.0) / total * 1e6 if total else 0.0
        text = ", ".join(f"{kind} {count:,}" for kind, count in kinds)
        lines.append([row.name, provider, f"{total:,}", f"{each:.0f}", text])
    return Sheet(
        "Requests that reached vfsd, by kind",
        ["row", "provider", "all", "CPU µs each", "kinds"],
        lines,
        [],
    )
