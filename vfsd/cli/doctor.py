"""`vfsd doctor`: what this machine lacks, and the one command that mends each gap.

Concurrency: one thread.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping

from vfsd.exitcodes import ExitCode
from vfsd.sandbox.gaps import Finding
from vfsd.sandbox.probe import findings

WORDS = {"ok": "ok", "warn": "without", "missing": "MISSING"}
SIGNS = {"ok": "✓", "warn": "–", "missing": "✗"}  # noqa: RUF001
"""Instead of words, on a terminal that can show them."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd doctor`: 0 if mounting and running will work, else 6."""
    parser = argparse.ArgumentParser(
        prog="vfsd doctor",
        description="Try out what vfsd needs of this machine and say what mends each gap.",
        epilog="Exit code 0: 'vfsd mount' and 'vfsd run' will work. 6: something they need is "
        "missing. What is only marked 'without' is not needed.",
    )
    parser.add_argument("--json", action="store_true", help="as a JSON array")
    given = parser.parse_args(arguments)
    marks = SIGNS if sys.stdout.isatty() and _shows_signs() else WORDS
    found = []
    for finding in findings():
        found.append(finding)
        if not given.json:
            print(_text(finding, marks), flush=True)
    if given.json:
        print(
            json.dumps(
                [{**finding._asdict(), "status": finding.status} for finding in found], indent=2
            )
        )
    missing = any(finding.needed and not finding.works for finding in found)
    return ExitCode.UNAVAILABLE if missing else ExitCode.OK


def _shows_signs() -> bool:
    try:
        "".join(SIGNS.values()).encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True


def _text(finding: Finding, marks: Mapping[str, str]) -> str:
    width = max(len(mark) for mark in marks.values()) + 1
    line = f"{marks[finding.status]:<{width}}{finding.name:<18}{finding.detail}"
    return line if finding.works else f"{line}\n{'':{width}}mend it with:     {finding.remedy}"
