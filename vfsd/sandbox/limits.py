"""What a run may use up: the numbers, and how people write them.

What it is *not*: holding a run to them (holding.py, which chooses between cgroups.py and
resource limits of processes).

Concurrency: pure functions of immutable values.

Sources: setrlimit(2); prlimit(1); systemd.syntax(7) and docker-run(1) for the spellings.
"""

from __future__ import annotations

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.named import NamedTuple

PIDS_DEFAULT = 4096
"""For an ordinary user, whose processes the kernel counts at no cost; root has to ask."""

SIZE_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
TIME_UNITS_S = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_MAX_BYTES = 1 << 62
TIME_MAX_S = 1e9

MEMORY_EXCEEDED = 137
"""128 + SIGKILL: what the kernel leaves where it ends a process for its memory."""


class Limits(NamedTuple):
    """What a run may use; None: as much as its user may."""

    memory_bytes: int | None = None
    pids: int | None = None
    """Processes and threads."""
    cpus: float | None = None
    timeout_s: float | None = None
    fsize_bytes: int | None = None
    """Of each file written."""
    disk_bytes: int | None = None
    """In each place that is private to the run."""
    output_bytes: int | None = None
    """On standard output and standard error, together."""


def size(option: str, text: str) -> int:
    """Return the bytes that `text` means, such as ``512M``. UserError (125) if it means none."""
    letters = text.strip().upper()
    for ending in ("IB", "B"):
        if letters.endswith(ending) and letters != ending:
            letters = letters[: -len(ending)]
            break
    number, unit = _split(letters)
    if number is None or unit not in SIZE_UNITS:
        raise _wrong(option, text, "a size such as 512M or 2G")
    bytes_ = number * SIZE_UNITS[unit]
    if not 1 <= bytes_ <= SIZE_MAX_BYTES:
        raise _wrong(option, text, "a size from 1 byte to 4194304T")
    return int(bytes_)


def duration(option: str, text: str) -> float:
    """Return the seconds that `text` means, such as ``90s``. UserError (125) if it means none."""
    number, unit = _split(text.strip().lower())
    if number is None or unit not in TIME_UNITS_S:
        raise _wrong(option, text, "a time such as 90s, 5m or 1h")
    seconds = number * TIME_UNITS_S[unit]
    if not 0 < seconds <= TIME_MAX_S:
        raise _wrong(option, text, "a time longer than none")
    return seconds


def count(option: str, text: str) -> int:
    """Return a whole number from 1 on. UserError (125) if `text` is none."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits[:12]) < 10**9):
        raise _wrong(option, text, "a number such as 256")
    return int(digits)


def share(option: str, text: str) -> float:
    """Return how many processors `text` means, such as ``1.5``. UserError (125) if none."""
    number, unit = _split(text.strip())
    if number is None or unit or not 0.01 <= number <= 10_000:
        raise _wrong(option, text, "a number of processors such as 2 or 0.5")
    return number


def shown_size(bytes_: int) -> str:
    """Return a size as people write it."""
    for unit in ("T", "G", "M", "K"):
        if bytes_ >= SIZE_UNITS[unit] and bytes_ % SIZE_UNITS[unit] == 0:
            return f"{bytes_ // SIZE_UNITS[unit]}{unit}"
    return f"{bytes_} bytes"


def _split(text: str) -> tuple[float | None, str]:
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text[len(number) :]
    number = number.strip()
    if not number or not number.isascii() or number.strip("0123456789.") or number == ".":
        return None, unit
    try:
        value = float(number)
    except ValueError:
        return None, unit
    return (value, unit) if value != float("inf") else (None, unit)


def _wrong(option: str, text: str, wanted: str) -> UserError:
    return UserError(f"{option} {text!r}: write {wanted}", ExitCode.RUN_FAILED)
