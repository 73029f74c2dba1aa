"""What is shown of one sample of `vfsd top`: tables of finished cells, the first row a header.

What it is *not*: where they are shown (top.py, toplive.py).

Concurrency: pure functions. Samples may come from a stranger: what is missing shows as nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Row = list[str]
SHOWN = 12
"""Rows of a table at most."""


def rows_of(sample: dict[str, Any]) -> list[list[Row]]:
    """Return the tables: totals, kinds, attachments, processes."""
    seconds = max(float(sample.get("seconds") or 0), 1e-9)
    kinds = _table(sample, "kinds")
    return [
        _totals(sample, kinds, seconds),
        [
            ["kind", "per s", "failed", "p50 µs", "p90 µs", "p99 µs", "max µs"],
            *([_text(kind.get("kind")), *_rates(kind, seconds), *_times(kind)] for kind in kinds),
        ],
        _by("attachment", _prefix, _table(sample, "attachments"), seconds),
        _by("process", _process, _table(sample, "callers"), seconds),
    ]


def _totals(sample: dict[str, Any], kinds: list[dict[str, Any]], seconds: float) -> list[Row]:
    cache = sample.get("cache") or {}
    return [
        ["requests/s", "read/s", "written/s", "handlers busy", "opens kept", "read from cache"],
        [
            f"{sample.get('requests', 0) / seconds:,.0f}",
            _bytes(sum(kind.get("read_bytes", 0) for kind in kinds) / seconds),
            _bytes(sum(kind.get("written_bytes", 0) for kind in kinds) / seconds),
            f"{sum(kind.get('busy_us', 0) for kind in kinds) / seconds / 1e4:.1f} %",
            f"{cache.get('opens_kept', 0)} of {cache.get('opens', 0)}",
            f"{cache.get('files_unasked', 0)} files",
        ],
    ]


def _by(
    title: str,
    name: Callable[[dict[str, Any]], str],
    parts: list[dict[str, Any]],
    seconds: float,
) -> list[Row]:
    return [
        [title, "per s", "failed", "read/s", "written/s", "µs each"],
        *(
            [
                name(part),
                *_rates(part, seconds),
                _bytes(part.get("read_bytes", 0) / seconds),
                _bytes(part.get("written_bytes", 0) / seconds),
                f"{part.get('busy_us', 0) / max(part.get('requests', 0), 1):.0f}",
            ]
            for part in parts
        ),
    ]


def _table(sample: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return list(sample.get(name) or ())[:SHOWN]


def _rates(part: dict[str, Any], seconds: float) -> Row:
    return [f"{part.get('requests', 0) / seconds:,.0f}", f"{part.get('failed', 0):,}"]


def _times(kind: dict[str, Any]) -> Row:
    names = ("p50_us", "p90_us", "p99_us", "max_us")
    return [f"{float(kind.get(name) or 0):,.0f}" for name in names]


def _prefix(part: dict[str, Any]) -> str:
    if part.get("prefix") is None:
        return "(none)"
    return _text(f"/{part['prefix']}  {part.get('provider')}")


def _process(part: dict[str, Any]) -> str:
    if part.get("pid") == -1:
        return "(others)"
    return _text(f"{part.get('pid')} {part.get('command')}")


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _text(value: object) -> str:
    """Return what can be printed: names and commands may hold control characters."""
    text = os.fsencode(str(value)).decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
