"""How the install tests call the project's own scripts: as a person would, in a clean directory.

`environment` leaves out what an outer `make` or pytest set, so that a test run from
`make test` sees what a person's shell gives.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_A_PERSONS = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTEST_CURRENT_TEST", "PYTHONPATH")


def environment(**more: str) -> dict[str, str]:
    """Return the environment with this Python's vfsd first on the path."""
    kept = {name: value for name, value in os.environ.items() if name not in NOT_A_PERSONS}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    return {**kept, **more}


def run(
    *command: str | Path, cwd: Path = ROOT, timeout_s: float = 300, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with stderr in its output; the caller looks at the result."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
