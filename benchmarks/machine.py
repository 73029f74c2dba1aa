"""What the numbers were measured on: commit, kernel, CPU, load; and the dated record of it.

Concurrency: reads /proc, and appends to one file.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RECORD = REPOSITORY / "docs" / "PERFORMANCE.md"


def describe() -> str:
    """Return one line: commit, kernel, CPU and how many, Python, load now."""
    load = os.getloadavg()[0]
    cpus = os.cpu_count()
    return (
        f"commit {_commit()}, Linux {platform.release()}, {cpus} x {_cpu()},"
        f" Python {platform.python_version()}, load {load:.2f}"
    )


def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def record(title: str, body: str) -> None:
    """Append a dated section with the command that made it to docs/PERFORMANCE.md."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    with open(RECORD, "a", encoding="utf-8") as page:
        page.write(f"\n## {day}: {title}\n\n`{command}`\n\n{body}\n")
