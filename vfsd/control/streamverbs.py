"""The verbs that are answered in parts without end, and the parameters of each; see protocol.py.

Concurrency: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass

from vfsd.control.verb import Verb


@dataclass(frozen=True, slots=True)
class Watch(Verb):
    """Send changes at or below an attached prefix as parts, until cancelled."""

    prefix: bytes = b""


@dataclass(frozen=True, slots=True)
class Top(Verb):
    """Measure requests and send a sample per interval as parts of JSON text, until cancelled."""

    interval_ms: int = 1000
