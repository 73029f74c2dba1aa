"""Code of two checkouts, measured in turn in processes of their own, without a kernel.

What is measured stands in handlers.py and copyups.py: each has a `measure` that returns the CPU
microseconds of each of its kinds. The least of the rounds counts: a busy machine hardly shows.

Concurrency: one process at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import machine
from table import Sheet, markdown, show

Times = dict[str, float]


def main(script: str, title: str, kind: str, measure: Callable[[], Times]) -> int:
    """Measure, print, and record if that is asked for; return the exit code.

    `script` is the file of the caller, which is started anew for each round.
    """
    parser = argparse.ArgumentParser(description=f"{title}, in one process.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--against", metavar="DIR", type=Path, help="another checkout")
    parser.add_argument("--record", metavar="TITLE", help="append to docs/PERFORMANCE.md")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        print(json.dumps(measure()))
        return 0
    places = [machine.REPOSITORY, *([options.against] if options.against else [])]
    taken: list[list[Times]] = [[] for _ in places]
    for _ in range(options.rounds):
        for place, rounds in zip(places, taken, strict=True):
            rounds.append(_one_round(script, place))
    best = [{kind: min(each[kind] for each in rounds) for kind in rounds[0]} for rounds in taken]
    lines = [
        [kind, *(f"{each[kind]:.2f}" for each in best)]
        + ([f"{best[0][kind] / best[1][kind]:.2f}"] if options.against else [])
        for kind in best[0]
    ]
    header = [kind, "µs", *(["against", "ratio"] if options.against else [])]
    sheet = Sheet(title, header, lines, [])
    print(machine.describe() + "\n")
    show(sheet)
    if options.record:
        machine.record(options.record, f"{machine.describe()}\n\n{markdown(sheet)}")
    return 0


def _one_round(script: str, place: Path) -> Times:
    """Measure the code in a checkout, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", script, "--once"],
        env={**os.environ, "PYTHONPATH": f"{place}:{Path(__file__).parent}"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: Times = json.loads(done.stdout)
    return found
