"""Archives side by side: vfsd, squashfuse, fuse-zip, archivemount and ratarmount, in one run.

    python benchmarks/archives.py                        2,400 files
    python benchmarks/archives.py --entries 1000000      and a tree of so many
    python benchmarks/archives.py --resume FILE ...      kept in FILE; goes on where it ended

The same tree is packed for each with its own tool, once without compression and once with what the
tool is made for; then each mounts it anew for every round. *Cold* is a fresh mount: the archive's
own bytes are in the page cache, nothing of what it holds is. Medians of the rounds; compare within
one run only. What takes longer than --limit seconds is ended, and told as ``> N``; it is not tried
in further rounds.

The large tree is made as a tar, and converted from there (`pack`): a tar is mounted as it is.

What it is not: the rows of writable systems (run.py); each system (archivepeers.py), each row
(archiverows.py).

Concurrency: one mount at a time; nothing else is timed beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import machine
from archivepeers import COMPRESSED, PLAIN, REPOSITORY, Slow, System, run, surroundings, systems
from archiverows import Rows, measure_many, measure_tree
from archivetrees import make_tree, write_tar

PACK = 5
"""Limits that packing is waited for."""

MANY = ("vfsd zstd", "squashfuse zstd", "fuse-zip deflate", "archivemount tar", "ratarmount tar")
"""Who mounts the large tree, unless told otherwise: each in the way that suits it."""

Samples = dict[str, list[Rows]]
"""The rounds of each system."""


class Kept:
    """What was measured so far, in a file if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._parts: dict[str, Samples] = {}
        if path is not None and path.exists():
            self._parts = json.loads(path.read_text())

    def part(self, name: str) -> Samples:
        return self._parts.setdefault(name, {})

    def add(self, part: str, system: System, rows: Rows) -> None:
        self.part(part).setdefault(system.name, []).append(rows)
        if self._path is not None:
            self._path.write_text(json.dumps(self._parts, indent=1))


class Part:
    """One tree, measured with all systems that are wanted."""

    def __init__(self, name: str, kept: Kept, work: Path, limit_s: float) -> None:
        self.name = name
        self._kept = kept
        self._limit_s = limit_s
        self._place, self._home = work / "mount", work / "home"
        self._work = work
        self._made: dict[str, Path] = {}
        for each in (self._place, self._home):
            each.mkdir(mode=0o700, exist_ok=True)

    def round(self, number: int, system: System, source: Path, *, many: bool) -> None:
        """Measure a system, unless it was or is too slow for that."""
        rounds = self._kept.part(self.name).get(system.name, [])
        if len(rounds) > number or any(str(each).startswith(">") for each in _values(rounds)):
            return
        print(f"{self.name}: {system.name}, round {number + 1}", file=sys.stderr, flush=True)
        rows: Rows = {}
        try:
            archive = self._archive(system, source, rows, many=many)
            measure = measure_many if many else measure_tree
            rows |= measure(system, archive, self._place, self._home, self._limit_s)
        except Slow:
            packing = "pack" not in rows
            limit_s = (PACK if packing else 1) * self._limit_s
            rows["pack" if packing else "mount"] = f"> {limit_s:.0f}"
        self._kept.add(self.name, system, rows)

    def _archive(self, system: System, source: Path, rows: Rows, *, many: bool) -> Path:
        made = self._made.get(system.name)
        if made is None:
            made = self._work / f"{system.name.replace(' ', '-')}.{system.ending}"
            convert = system.convert if many else system.pack
            if convert is None:
                made, rows["pack"] = source, 0.0
            else:
                rows["pack"] = run(convert(source, made), self._home, PACK * self._limit_s)
            rows["size, MB"] = made.stat().st_size / 1e6
            self._made[system.name] = made
        return made

    def forget(self, system: System) -> None:
        """Remove an archive, for its room."""
        made = self._made.pop(system.name, None)
        if made is not None and system.convert is not None:
            made.unlink(missing_ok=True)

    def tables(self, chosen: list[System]) -> str:
        """Return the numbers as Markdown, a table for each class."""
        samples = self._kept.part(self.name)
        parts = []
        for kind in (PLAIN, COMPRESSED):
            shown = {
                each.name: _medians(samples[each.name])
                for each in chosen
                if each.kind == kind and each.name in samples
            }
            if shown:
                parts.append(f"**{self.name}, {kind}**\n\n{table(shown)}")
        return "\n\n".join(parts)


def _values(rounds: list[Rows]) -> list[float | str]:
    return [value for each in rounds for value in each.values()]


def _medians(rounds: list[Rows]) -> Rows:
    found: Rows = {}
    for row in dict.fromkeys(row for each in rounds for row in each):
        values = [each[row] for each in rounds if row in each]
        late = [value for value in values if isinstance(value, str)]
        found[row] = late[0] if late else median(map(float, values))
    return found


def table(found: dict[str, Rows]) -> str:
    """Return numbers as a Markdown table, systems side by side."""
    rows = list(dict.fromkeys(row for each in found.values() for row in each))
    lines = ["| row | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for row in rows:
        cells = [each.get(row, "") for each in found.values()]
        texts = [cell if isinstance(cell, str) else f"{cell:.3f}" for cell in cells]
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for, and print it as Markdown."""
    options = _parser().parse_args()
    wanted = options.systems.split(",")
    chosen = [
        each
        for each in systems(options.ratarmount)
        if (each.name in wanted or each.name.split()[0] in wanted) and shutil.which(each.needs)
    ]
    kept = Kept(options.resume)
    print(f"`{' '.join(['python', *sys.argv])}`\n\n{machine.describe()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="vfsd-bench-", dir="/dev/shm") as text:
        work = Path(text)
        compiled = [sys.executable, "-m", "compileall", "-q", REPOSITORY / "vfsd"]
        subprocess.run([*compiled, REPOSITORY / "providers"], env=surroundings(work), check=True)
        if options.rounds:
            part = Part("2,400 files", kept, work, options.limit)
            tree = work / "tree"
            make_tree(tree)
            for number in range(options.rounds):
                for system in chosen:
                    part.round(number, system, tree, many=False)
            for system in chosen:
                part.forget(system)
            print(part.tables(chosen), flush=True)
        if options.entries:
            part = Part(f"{options.entries:,} files", kept, work, options.limit)
            tar = work / "source.tar"
            with open(tar, "wb") as file:
                write_tar(file, options.entries)
            for system in chosen:
                if options.all or system.name in MANY:
                    part.round(0, system, tar, many=True)
                    part.forget(system)
            print(f"\n{part.tables(chosen)}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="of the small tree; 0 leaves it out")
    add("--entries", type=int, default=0, help="files of the large tree")
    add("--all", action="store_true", help="all systems for the large tree, in both classes")
    add("--limit", type=float, default=60, metavar="S", help="longest wait for one row")
    add("--resume", type=Path, metavar="FILE", help="where what was measured is kept")
    add("--systems", default="vfsd,squashfuse,fuse-zip,archivemount,ratarmount")
    add("--ratarmount", default=shutil.which("ratarmount") or "ratarmount")
    return parser


if __name__ == "__main__":
    main()
