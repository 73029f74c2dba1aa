"""What `vfsd run` costs: its start, keeping and forking a large layer, many forks, real tools.

Rows of one group are interleaved, so that a busy moment falls on all of them, and compared as
ratios or differences within this run. What is bare runs on tmpfs, without any sandbox.

    python benchmarks/runs.py [--rounds N] [--only JOB] [GROUP ...]

Groups: start layer forks tools npm

`tools` and `npm` need node, npm and the registry, once. Leaves nothing behind.

Concurrency: one thread; each round waits for its process, but for the forks at once.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jobs import prepared  # noqa: E402

from vfsd.sandbox.host import find_bwrap, look_at_root  # noqa: E402
from vfsd.sandbox.spawning import OptionFiles  # noqa: E402
from vfsd.sandbox.spec import Bind, Policy, render, starting  # noqa: E402

VFSD = [str(Path(sys.executable).with_name("vfsd"))]
"""The program as it is installed beside this Python."""
FILES, PER_DIRECTORY = 30_000, 10
FORKS = 50
GENERATE = (
    "import os\n"
    f"for number in range({FILES // PER_DIRECTORY}):\n"
    "    os.makedirs(f'node_modules/{number % 100}/{number}')\n"
    f"    for file in range({PER_DIRECTORY}):\n"
    "        with open(f'node_modules/{number % 100}/{number}/{file}.js', 'w') as f:\n"
    "            f.write('module.exports = 1\\n')\n"
)


class Bench:
    """A place for projects on tmpfs, and a store of its own."""

    def __init__(self, place: Path, rounds: int, only: list[str]) -> None:
        self.place, self.rounds, self.only = place, rounds, only
        self.project = place / "project"
        self.project.mkdir()
        for name, part in (("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run")):
            (place / part).mkdir(mode=0o700)
            os.environ[name] = str(place / part)
        os.environ["PYTHONPATH"] = str(ROOT)

    def vfsd(self, *words: str, cwd: Path | None = None) -> None:
        done = subprocess.run(
            [*VFSD, *words], cwd=cwd or self.project, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"vfsd {' '.join(words)} ended with {done.returncode}: {done.stderr}")

    def bare(self, *words: str, cwd: Path | None = None) -> None:
        subprocess.run(words, cwd=cwd or self.project, check=True, capture_output=True)

    def compare(
        self,
        rows: dict[str, Callable[[], None]],
        before: Callable[[], None] = lambda: None,
        rounds: int | None = None,
    ) -> dict[str, float]:
        """Return the median of each row, in ms, and print it with the best."""
        taken: dict[str, list[float]] = {name: [] for name in rows}
        for number in range((rounds or self.rounds) + 1):
            for name, once in rows.items():
                before()
                start = time.perf_counter()
                once()
                if number:  # the first warms up
                    taken[name].append((time.perf_counter() - start) * 1000)
        medians = {name: statistics.median(each) for name, each in taken.items()}
        for name, each in taken.items():
            print(f"  {name:<36}{medians[name]:9.1f} ms   (best {min(each):.1f})", flush=True)
        return medians


def start(bench: Bench) -> None:
    """`vfsd run -- true`, beside Python's own start and bwrap with the same namespaces."""

    def bwrap() -> None:
        here = str(bench.project)
        policy = Policy(("true",), Bind(here, here, writable=True), here)
        with OptionFiles(render(policy, look_at_root(), os.environ)) as (words, fds):
            command = [find_bwrap(), *words, "--", *starting(policy)]
            subprocess.run(command, pass_fds=fds, check=True)

    medians = bench.compare(
        {
            "python -c pass": lambda: bench.bare(sys.executable, "-c", "pass"),
            "bwrap, same options": bwrap,
            "vfsd run -- true": lambda: bench.vfsd("run", "--", "true"),
            "vfsd run --engine fuse -- true": lambda: bench.vfsd(
                "run", "--engine", "fuse", "--", "true"
            ),
        }
    )
    more = medians["vfsd run -- true"] - medians["bwrap, same options"]
    print(f"  over bwrap: {more:+.1f} ms, of it Python {medians['python -c pass']:.1f}; aim +35")


def layer(bench: Bench) -> None:
    """--save of a large node_modules, and --from it: how much more than without."""
    generate = ("--", "/usr/bin/python3", "-c", GENERATE)
    place = bench.place / "state" / "layer"

    def clear() -> None:
        shutil.rmtree(place, ignore_errors=True)

    rounds = min(bench.rounds, 7)
    medians = bench.compare(
        {
            "make it, in a layer on this disk": lambda: bench.vfsd(
                "run", "--quiet", "--layer", str(place), *generate
            ),
            "make it, and --save": lambda: bench.vfsd(
                "run", "--quiet", "--save", "big", "--replace", *generate
            ),
        },
        clear,
        rounds,
    )
    clear()
    saved = medians["make it, and --save"] - medians["make it, in a layer on this disk"]
    bench.vfsd("gc")
    medians = bench.compare(
        {
            "run -- true": lambda: bench.vfsd("run", "--", "true"),
            "run --from big -- true": lambda: bench.vfsd("run", "--from", "big", "--", "true"),
        }
    )
    forked = medians["run --from big -- true"] - medians["run -- true"]
    print(f"  {FILES:,} files: --save {saved:+.1f} ms, --from {forked:+.1f} ms; aim +50 each")


def forks(bench: Bench) -> None:
    """Many forks of one snapshot at once: time and memory for each."""
    bench.vfsd("run", "--save", "warm", "--", "touch", "file")
    words = [*VFSD, "run", "--quiet", "--from", "warm", "--", "sh", "-c", "echo up; exec sleep 100"]
    begin = time.perf_counter()
    running = [
        subprocess.Popen(words, cwd=bench.project, stdout=subprocess.PIPE) for _ in range(FORKS)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == b"up\n"
    taken_s = time.perf_counter() - begin
    pss_kib = sum(_pss_kib(pid) for each in running for pid in _family(each.pid))
    for each in running:
        each.terminate()
    for each in running:
        each.communicate()
    each_ms, each_mib = taken_s * 1000 / FORKS, pss_kib / 1024 / FORKS
    print(f"  {FORKS} at once: {each_ms:.1f} ms and {each_mib:.1f} MiB (PSS) for each")


def tools(bench: Bench) -> None:
    """Compilers and test runners, forked from a warm snapshot, beside the same bare on tmpfs."""
    jobs = list(prepared(bench.project))
    bench.vfsd("run", "--save", "warm", "--replace", "--", "true")
    for name, script in jobs:
        if bench.only and not any(word in name for word in bench.only):
            continue
        words = ("sh", "-c", script)
        rows = {
            f"{name}, bare": lambda words=words: bench.bare(*words),
            f"{name}, forked": lambda words=words: bench.vfsd(
                "run", "--quiet", "--from", "warm", "--", *words
            ),
        }
        medians = list(bench.compare(rows).values())
        print(f"  {name}: {medians[1] / medians[0]:.3f}x; aim 1.05")


def npm(bench: Bench) -> None:
    """`npm ci` with a warm cache, which is bound into the sandbox."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "demo" / "ts-project" / name, bench.project)
    cache = bench.place / "npm"
    words = ("npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--cache")
    bench.bare(*words, str(cache))

    def clear() -> None:
        shutil.rmtree(bench.project / "node_modules", ignore_errors=True)

    inside = ("run", "--quiet", "--net", "--bind", f"{cache}:/home/user/cache", "--")
    medians = list(
        bench.compare(
            {
                "npm ci, bare": lambda: bench.bare(*words, str(cache)),
                "npm ci, vfsd run": lambda: bench.vfsd(*inside, *words, "/home/user/cache"),
            },
            clear,
        ).values()
    )
    print(f"  npm ci: {medians[1] / medians[0]:.3f}x; aim 1.1")


GROUPS = {"start": start, "layer": layer, "forks": forks, "tools": tools, "npm": npm}


def _family(pid: int) -> Iterator[int]:
    yield pid
    for thread in os.listdir(f"/proc/{pid}/task"):
        for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
            yield from _family(int(child))


def _pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


@contextmanager
def _tmpfs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vfsd-bench-", dir="/dev/shm") as place:
        yield Path(place)


def main() -> int:
    """Run the groups that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="WORD",
        help="of `tools`, jobs with this in their name",
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    given = parser.parse_args()
    # As an installation is, also where Python is told to write no bytecode.
    compileall.compile_dir(ROOT / "vfsd", quiet=1)
    for name in given.groups or GROUPS:
        print(f"{name}: {GROUPS[name].__doc__}")
        with _tmpfs() as place:
            GROUPS[name](Bench(place, given.rounds, given.only))
    return 0


if __name__ == "__main__":
    sys.exit(main())
