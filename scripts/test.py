"""Run all tests, on both processors where that is possible.

Two halves run at once, each in a mount namespace of its own, so that neither meets the mounts of
the other; whoever may not make such a namespace runs them in one piece. The output of the second
half follows that of the first.

usage: scripts/test.py [pytest's arguments, which run in one piece]
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
FIRST = ("tests/cli", "tests/mounted", "tests/sandbox")
"""They take about as long as all others together."""
PYTEST = [sys.executable, "-m", "pytest"]
APART = ["unshare", "--mount", "--propagation", "private"]


def main() -> int:
    """Return the worst exit code of pytest's."""
    if sys.argv[1:] or not _can_be_apart():
        return subprocess.run([*PYTEST, *sys.argv[1:]], cwd=ROOT, check=False).returncode
    others = [f"--ignore={each}" for each in FIRST]
    # Ctrl-C ends the halves by itself, and their end is waited for.
    signal.signal(signal.SIGINT, lambda *_: None)
    with tempfile.TemporaryFile() as told:
        second = _start([*others, "tests"], told)
        first = _start(list(FIRST), None)
        halves = (first, second)
        # Whoever ends us ends both: each then takes its mounts away.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _: _end(halves, number))
        try:
            codes = [each.wait() for each in halves]
        finally:
            told.seek(0)
            sys.stdout.buffer.write(told.read())
            sys.stdout.flush()
    return max(code if code >= 0 else 128 - code for code in codes)


def _can_be_apart() -> bool:
    if (os.cpu_count() or 1) < 2:
        return False
    try:
        return subprocess.run([*APART, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _start(words: list[str], output: IO[bytes] | None) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*APART, *PYTEST, *words], cwd=ROOT, stdout=output)


def _end(halves: tuple[subprocess.Popen[bytes], ...], number: int) -> None:
    for each in halves:
        if each.poll() is None:
            each.send_signal(number)


if __name__ == "__main__":
    sys.exit(main())
