"""Progress on stderr: only on a terminal, and only for work that lasts.

Concurrency: called by the thread that works; the display refreshes itself.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vfsd.control.transfer import Progress, ProgressCallback

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID

SILENT_SECONDS = 1.0
"""Work that is done sooner shows nothing; until then the display is not even imported."""


class ProgressBar:
    """Shows how many files and bytes are done, as a context manager."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._started = time.monotonic()
        self._display: Display | None = None
        self._task: TaskID | None = None

    @property
    def callback(self) -> ProgressCallback | None:
        """What to call with progress; None where nobody would see it."""
        return self._show if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._display is not None:
            self._display.stop()

    def _show(self, progress: Progress) -> None:
        if self._display is None:
            if time.monotonic() - self._started < SILENT_SECONDS:
                return
            self._open(progress)
        if self._display is not None and self._task is not None:
            # A source that grew after it was measured must not show more than all.
            total = progress.files_total
            self._display.update(
                self._task,
                completed=progress.files,
                total=None if total is None else max(total, progress.files),
                megabytes=progress.size_bytes / 1e6,
            )

    def _open(self, progress: Progress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Display

        self._display = Display(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files, {task.fields[megabytes]:.1f} MB"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._display.add_task(self._title, total=progress.files_total, megabytes=0.0)
        self._display.start()
