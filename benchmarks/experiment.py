"""The loop: every row on every system, round after round, interleaved.

Within a round a row is run on all systems before the next row starts, and each round starts
with another system, so that a busy minute of the machine falls on all alike.

Concurrency: one command at a time; the other systems' daemons are up but idle.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from corpus import Corpus
from measure import (
    Placement,
    RowFailedError,
    Sample,
    can_drop_caches,
    cpu_seconds,
    rss_bytes,
    run_script,
)
from rows import Row
from systems import Mounted, StartError, System, running


@dataclass(slots=True)
class Results:
    """What was measured: samples by (row, system), and why something was not."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)
    missing_systems: dict[str, str] = field(default_factory=dict)
    missing_rows: dict[str, str] = field(default_factory=dict)


def start_all(
    systems: tuple[System, ...],
    root: Path,
    placement: Placement,
    stack: ExitStack,
    lay: Callable[[Path], None] | None = None,
) -> tuple[list[Mounted], dict[str, str]]:
    """Start what can be started; return it, and a reason for each of the others."""
    live: list[Mounted] = []
    missing: dict[str, str] = {}
    for system in systems:
        reason = system.missing()
        if reason is None:
            try:
                started = running(system, root / system.name, placement, lay)
                live.append(stack.enter_context(started))
            except StartError as error:
                reason = f"it did not start: {error}"
        if reason is not None:
            missing[system.name] = reason
            say(f"without {system.name}: {reason}")
    return live, missing


def layer_of_rounds(corpus: Corpus, rows: tuple[Row, ...], rounds: int) -> Callable[[Path], None]:
    """Return what fills a read-only layer: a tree for each round, if a row wants one."""

    def lay(place: Path) -> None:
        if any(row.lower for row in rows):
            for number in range(rounds):
                corpus.lay(place / f"round{number}")

    return lay


def run_rounds(rows: tuple[Row, ...], live: list[Mounted], corpus: Corpus, rounds: int) -> Results:
    """Measure all `rows` on all `live` systems `rounds` times."""
    results = Results()
    for row in rows:
        if row.cold and not can_drop_caches():
            results.missing_rows[row.name] = "only root can drop the kernel's caches"
        elif row.corpus in corpus.missing:
            results.missing_rows[row.name] = corpus.missing[row.corpus]
        for mounted in live:
            if reason := mounted.system.excluded.get(row.name):
                results.skipped[row.name, mounted.system.name] = reason
            elif row.lower and not mounted.system.layered:
                results.skipped[row.name, mounted.system.name] = "it has no read-only layer"
    for number in range(rounds):
        turn = number % len(live)
        for row in rows:
            if row.name in results.missing_rows:
                continue
            say(f"round {number + 1} of {rounds}: {row.name}")
            for mounted in live[turn:] + live[:turn]:
                _measure(row, mounted, corpus, f"round{number}", results)
        for mounted in live:
            run_script(f"rm -rf round{number}", mounted.directory, corpus.environment)
    return results


def _measure(row: Row, mounted: Mounted, corpus: Corpus, place: str, results: Results) -> None:
    key = (row.name, mounted.system.name)
    if key in results.skipped:
        return
    try:
        sample = sample_row(row, mounted, corpus, mounted.directory / place)
    except RowFailedError as error:
        results.skipped[key] = str(error)
        results.samples.pop(key, None)
        say(f"{mounted.system.name}: {row.name}: {error}")
    else:
        results.samples.setdefault(key, []).append(sample)


def sample_row(row: Row, mounted: Mounted, corpus: Corpus, directory: Path) -> Sample:
    """Time `row` once in `directory`, with what the daemon spent on it."""
    row.prepare(corpus, directory)
    script = row.script(corpus)
    pid = mounted.pid
    if pid is None:
        return Sample(run_script(script, directory, corpus.environment))
    requests = mounted.requests()
    before = cpu_seconds(pid)
    seconds = run_script(script, directory, corpus.environment)
    spent = cpu_seconds(pid) - before
    after = mounted.requests()
    kinds = {
        kind: after[kind] - requests.get(kind, 0)
        for kind in after
        if after[kind] > requests.get(kind, 0)
    }
    return Sample(seconds, spent, rss_bytes(pid), kinds)


def say(what: str) -> None:
    """Tell a watching person how far it is; results go to stdout, this does not."""
    print(f"bench: {what}", file=sys.stderr, flush=True)
