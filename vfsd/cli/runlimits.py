"""The options of `vfsd run` that limit what it may use.

Concurrency: pure functions, and one that writes to standard error.
"""

from __future__ import annotations

import sys

from vfsd.cli.runoptions import Given
from vfsd.sandbox.limits import Limits, count, duration, share, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


def limits_of(given: Given) -> Limits:
    """Return the limits that the command line asks for. UserError (125) for a wrong value."""

    def read(option: str, meaning: Callable[[str, str], T]) -> T | None:
        text = given.last(option)
        return None if text is None else meaning(option, text)

    return Limits(
        memory_bytes=read("--memory", size),
        pids=read("--pids", count),
        cpus=read("--cpus", share),
        timeout_s=read("--timeout", duration),
        fsize_bytes=read("--fsize", size),
        disk_bytes=read("--disk", size),
        output_bytes=read("--output", size),
    )


def teller(given: Given) -> Callable[[str], None]:
    """Return what says a sentence on standard error, unless that is not wanted."""

    def say(sentence: str) -> None:
        if not given.has("--quiet"):
            print(f"vfsd: {sentence}", file=sys.stderr, flush=True)

    return say
