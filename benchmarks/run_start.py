"""How long `vfsd run -- true` takes before and after the command, beside bwrap alone.

Three rows, interleaved so that a busy moment falls on all of them: Python doing nothing, bwrap
with the very options that vfsd renders, and `vfsd run`. The middle one is the floor.

    python benchmarks/run_start.py [ROUNDS]

Concurrency: one thread; each round waits for its process.
"""

from __future__ import annotations

import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vfsd.sandbox.host import find_bwrap, look_at_root  # noqa: E402
from vfsd.sandbox.spawning import OptionFiles  # noqa: E402
from vfsd.sandbox.spec import Bind, Policy, render, starting  # noqa: E402

VFSD = [str(Path(sys.executable).with_name("vfsd"))]
"""The program as it is installed beside this Python."""


def bare(directory: str) -> None:
    """Run bwrap as vfsd would, and nothing around it."""
    policy = Policy(("true",), Bind(directory, directory, writable=True), directory)
    with OptionFiles(render(policy, look_at_root(), os.environ)) as (words, fds):
        command = [find_bwrap(), *words, "--", *starting(policy)]
        subprocess.run(command, pass_fds=fds, check=True)


def measure(rounds: int, directory: str) -> dict[str, list[float]]:
    """Return milliseconds per round of each row."""
    rows = {
        "python -c pass": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        "bwrap, same options": lambda: bare(directory),
        "vfsd run -- true": lambda: subprocess.run(
            [*VFSD, "run", "--", "true"], cwd=directory, check=True
        ),
    }
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, once in rows.items():
            start = time.perf_counter()
            once()
            taken[name].append((time.perf_counter() - start) * 1000)
    return taken


def main() -> int:
    """Mount, measure, print, unmount."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    os.environ["PYTHONPATH"] = str(ROOT)
    # As an installation is, also where Python is told to write no bytecode.
    compileall.compile_dir(ROOT / "vfsd", quiet=1)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([*VFSD, "mount", place], check=True)
        try:
            measure(1, place)
            for name, taken in measure(rounds, place).items():
                print(f"{name:<22}{statistics.median(taken):7.1f} ms (best {min(taken):.1f})")
        finally:
            subprocess.run([*VFSD, "unmount", place], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
