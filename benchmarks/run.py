"""Time vfsd beside tmpfs and its peers on real work: `python benchmarks/run.py --quick`.

This file reads the command line and prints; the loop is in experiment.py, what is timed in
rows.py, on what in catalogue.py, what is made of the numbers in report.py.

Concurrency: none; one command runs at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import machine
import report
from catalogue import SYSTEMS, choose
from corpus import Corpus
from dotplot import dotplot
from experiment import Results, layer_of_rounds, run_rounds, say, start_all
from measure import Placement, middle
from rows import ROWS, select
from table import markdown, show
from workspace import workspace


def main() -> int:
    """Run the benchmark the command line asks for; return its exit code."""
    options = parse(sys.argv[1:])
    try:
        rows = select(options.rows)
        systems = choose(options.systems, full=options.full)
    except KeyError as error:
        say(f"there is no {error}; --help lists the names")
        return 2
    placement = Placement.named(options.pin)
    files = options.files or (20_000 if options.full else 2_000)
    rounds = options.rounds or (5 if options.full else 3)
    started = time.monotonic()
    try:
        with workspace() as root, ExitStack() as stack:
            corpus = Corpus(root / "corpus", files, environment(root))
            say(f"making the inputs in {root}")
            corpus.make({row.corpus for row in rows} - {""})
            lay = layer_of_rounds(corpus, rows, rounds)
            live, missing = start_all(systems, root, placement, stack, lay)
            if not live:
                return 1
            os.sched_setaffinity(0, placement.client)
            before = machine.describe()
            results = run_rounds(rows, live, corpus, rounds)
    except KeyboardInterrupt:
        say("interrupted; everything is unmounted and removed")
        return 130
    results.missing_systems = missing
    seconds = time.monotonic() - started
    caption = (
        f"{before} (at the end {os.getloadavg()[0]:.2f}). Interleaved rounds: {rounds};"
        f" client and daemon placement: {options.pin}; {seconds:.0f} s in all."
    )
    sheets = report.sheets(rows, systems, results, files)
    print(caption + "\n")
    for sheet in sheets:
        show(sheet)
    if options.plot:
        titles = {row.name: row.title.format(files=f"{files:,}") for row in rows}
        options.plot.write_text(dotplot(times_of(results, titles), before))
    if options.json:
        write_json(options.json, caption, results)
    if options.record:
        machine.record(options.record, "\n".join([caption, "", *map(markdown, sheets)]))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Time vfsd, tmpfs and peers side by side.",
        epilog=f"rows: {', '.join(row.name for row in ROWS)}; "
        f"systems: {', '.join(system.name for system in SYSTEMS)}",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="2,000 files, 3 rounds (the default)")
    size.add_argument("--full", action="store_true", help="20,000 files, 5 rounds")
    parser.add_argument("--rows", help="comma-separated; default: all")
    parser.add_argument("--systems", help="comma-separated; default: all that are installed")
    parser.add_argument("--rounds", type=int, help="how often each row is timed")
    parser.add_argument("--files", type=int, help="how many files the tree has")
    parser.add_argument(
        "--pin",
        choices=["same", "apart", "free"],
        default="free",
        help="which CPUs client and daemon run on (default: free)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every sample to FILE")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write a picture (SVG) to FILE")
    parser.add_argument(
        "--record", metavar="TITLE", help="append the tables to docs/PERFORMANCE.md"
    )
    return parser.parse_args(arguments)


def environment(root: Path) -> dict[str, str]:
    """Return the environment of the timed commands: nothing personal changes what they do."""
    return {
        **os.environ,
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "bench",
        "GIT_AUTHOR_EMAIL": "bench@example.org",
        "GIT_COMMITTER_NAME": "bench",
        "GIT_COMMITTER_EMAIL": "bench@example.org",
        "npm_config_cache": str(root / "corpus" / "npm-cache"),
        "npm_config_update_notifier": "false",
        # Without addresses in the lock file, an offline install cannot find the cached files.
        "npm_config_omit_lockfile_registry_resolved": "false",
    }


def times_of(results: Results, titles: dict[str, str]) -> list[tuple[str, dict[str, float]]]:
    """Return each row's title with the systems' median times."""
    return [
        (
            title,
            {name: middle(taken) for (key, name), taken in results.samples.items() if key == row},
        )
        for row, title in titles.items()
    ]


def write_json(path: Path, caption: str, results: Results) -> None:
    """Write every sample, so that other questions can be asked of the same run."""
    samples = [
        {"row": row, "system": system, **asdict(sample)}
        for (row, system), taken in results.samples.items()
        for sample in taken
    ]
    skipped = [
        {"row": row, "system": system, "reason": reason}
        for (row, system), reason in results.skipped.items()
    ]
    document = {
        "caption": caption,
        "samples": samples,
        "skipped": skipped,
        "missing_systems": results.missing_systems,
        "missing_rows": results.missing_rows,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
