"""What copying trees in and out has in common: the account of it, and its progress.

Concurrency: an `Account` belongs to one copy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Progress(NamedTuple):
    """How far a copy is; totals are None where they are not known beforehand."""

    files: int
    size_bytes: int
    files_total: int | None = None
    size_total_bytes: int | None = None


class Problem(NamedTuple):
    """A file that was not copied, by the name of the side where it went wrong, and why."""

    path: bytes
    reason: str

    def sentence(self) -> str:
        """Return it as a person reads it."""
        return f"{os.fsdecode(self.path)}: {self.reason}"


ProgressCallback = Callable[[Progress], None]


@dataclass(slots=True)
class Report:
    """What a copy did; it is complete if there are no `problems`."""

    files: int = 0
    size_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """Counts while a copy runs, and tells who wants to know."""

    tell: ProgressCallback | None
    report: Report = field(default_factory=Report)
    files_total: int | None = None
    size_total_bytes: int | None = None

    def add(self, files: int, size_bytes: int) -> None:
        """Count files that are done and bytes that went over."""
        self.report.files += files
        self.report.size_bytes += size_bytes
        if self.tell is not None:
            self.tell(
                Progress(
                    self.report.files,
                    self.report.size_bytes,
                    self.files_total,
                    self.size_total_bytes,
                )
            )

    def problem(self, path: bytes, error: OSError | str) -> None:
        """Note a file that was not copied."""
        if isinstance(error, OSError):
            error = os.strerror(error.errno) if error.errno else str(error)
        self.report.problems.append(Problem(path, error))
