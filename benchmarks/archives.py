"""Archives side by side: vfsd, squashfuse, fuse-zip, archivemount and ratarmount, in one run.

    python benchmarks/archives.py                       2,400 files
    python benchmarks/archives.py --entries 1000000     and a tree of so many, to mount and list

The same tree is packed for each with its own tool; then each mounts it anew for every round, and
the rows are timed by one small program. *Cold* is a fresh mount: the archive's own bytes are in the
page cache, nothing of what it holds is. Medians of the rounds; compare within one run only.

What it is not: the rows of writable systems (run.py).

Concurrency: one mount at a time; nothing else is timed beside it.
Sources: fuse-zip(1), archivemount(1), squashfuse(1), ratarmount's README.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import machine

REPOSITORY = Path(__file__).resolve().parent.parent
WAIT_S = 600.0
FILES = 2_400
PLACES = ("RUNTIME_DIR", "STATE_HOME", "CACHE_HOME")

CLIENT = r"""
import json, os, random, sys, time
top = sys.argv[1]
rows, files, clock = {}, [], time.perf_counter
start = clock()
for folder, folders, names in os.walk(top):
    for name in names:
        path = f"{folder}/{name}"
        os.lstat(path)
        files.append(path)
rows["find and stat, cold"] = clock() - start
for row in ("read all, cold", "read all, warm"):
    start = clock()
    for path in files:
        with open(path, "rb") as file:
            file.read()
    rows[row] = clock() - start
print(json.dumps(rows))
"""
RANDOM = r"""
import os, random, sys, time
path, chance = sys.argv[1], random.Random(1)
fd = os.open(path, os.O_RDONLY)
pages = os.fstat(fd).st_size // 4096
start = time.perf_counter()
for _ in range(2000):
    os.pread(fd, 4096, chance.randrange(pages) * 4096)
print(time.perf_counter() - start)
"""


class System:
    """One way to pack a tree and to mount what came out."""

    def __init__(
        self, name: str, needs: str, ending: str, pack: Callable, mount: Callable, daemon: str = ""
    ) -> None:
        self.name = name
        self.needs = needs
        self.ending = ending
        self.pack = pack
        self.mount = mount
        self.daemon = daemon or name.split()[0]


def vfsd(*words: object) -> list[str]:
    return [sys.executable, "-m", "vfsd", *map(str, words)]


def systems(ratarmount: str) -> list[System]:
    """Return them all; those whose program is missing are left out when they run."""

    def ours(method: str) -> Callable:
        return lambda tree, out: vfsd("pack", tree, "-o", out, "--compress", method, "--quiet")

    def serve(archive: Path, place: Path) -> list[str]:
        return vfsd("mount", place, archive)

    return [
        System("vfsd zstd", sys.executable, "zstd.vfsa", ours("zstd"), serve),
        System("vfsd none", sys.executable, "none.vfsa", ours("none"), serve),
        System(
            "squashfuse",
            "squashfuse",
            "sqfs",
            lambda tree, out: ["mksquashfs", tree, out, "-comp", "zstd", "-quiet", "-no-progress"],
            lambda archive, place: ["squashfuse", archive, place],
        ),
        System(
            "fuse-zip",
            "fuse-zip",
            "zip",
            lambda tree, out: ["sh", "-c", f"cd {tree} && zip -q -r -y {out} ."],
            lambda archive, place: ["fuse-zip", "-r", archive, place],
        ),
        System(
            "archivemount",
            "archivemount",
            "tar",
            lambda tree, out: ["tar", "-C", tree, "-cf", out, "."],
            lambda archive, place: ["archivemount", "-o", "readonly", archive, place],
        ),
        System(
            "ratarmount",
            ratarmount,
            "tar",
            lambda tree, out: ["tar", "-C", tree, "-cf", out, "."],
            lambda archive, place: [ratarmount, "--index-file", ":memory:", archive, place],
        ),
    ]


def surroundings(home: Path) -> dict[str, str]:
    """Return the environment of everything that is started here."""
    places = {f"XDG_{name}": str(home / name) for name in PLACES}
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **places}


@contextmanager
def mounted(
    system: System, archive: Path, place: Path, home: Path, *, empty: bool = False
) -> Iterator[float]:
    """Mount, give how long it took until the root answered, and unmount."""
    environment = surroundings(home)
    for name in PLACES:
        (home / name).mkdir(mode=0o700, exist_ok=True)
    words = list(map(str, system.mount(archive, place)))
    start = time.perf_counter()
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:
        while not os.path.ismount(place) or not (empty or list(os.scandir(place))):
            if process.poll() or time.perf_counter() - start > WAIT_S:
                raise RuntimeError(f"{system.name} did not mount")
            time.sleep(0.0005)
        took = time.perf_counter() - start
        try:
            yield took
        finally:
            subprocess.run(["fusermount3", "-u", place], check=True)
            process.wait()


def rss_of(place: Path) -> int:
    """Return the resident bytes of what serves a mountpoint: the largest that names it."""
    found = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError, IndexError):
                if os.fsencode(place) in (process / "cmdline").read_bytes().split(b"\0"):
                    text = (process / "status").read_text()
                    found = max(found, int(text.split("VmRSS:")[1].split()[0]) * 1024)
    return found


def python(script: str, *words: object, home: Path = REPOSITORY) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        check=True,
        capture_output=True,
        text=True,
        env=surroundings(home),
    )
    return done.stdout


def make_tree(root: Path, files: int) -> None:
    """Make files of the sizes and words of source code, and one large one to seek in."""
    chance = random.Random(7)
    words = [
        bytes(chance.choices(b"abcdefghijklmnop_", k=chance.randrange(2, 12))) for _ in range(900)
    ]
    for number in range(files):
        folder = root / f"package{number // 40:03}" / ("lib" if number % 3 else "test")
        folder.mkdir(parents=True, exist_ok=True)
        size = int(chance.lognormvariate(8.0, 1.2))
        text = b" ".join(chance.choices(words, k=max(1, size // 7)))
        (folder / f"module{number}.js").write_bytes(text)
    (root / "large.bin").write_bytes(b"".join(chance.randbytes(4096) for _ in range(8192)))


ATTACH = r"""
import os, sys, time
from vfsd.client import connect
place, archive, inner = sys.argv[1:]
with connect(place) as client:
    start = time.perf_counter()
    client.attach(archive, "at")
    os.stat(f"{place}/at/{inner}")
    print(time.perf_counter() - start)
    client.detach("at", lazy=True)
"""


def attach_s(archive: Path, inner: str, place: Path, home: Path) -> float:
    """Return how long a daemon that runs takes to attach an archive, until a look in it."""
    empty = System("vfsd", "", "", vfsd, lambda _, at: vfsd("mount", at, "-o", "mode=0755"))
    with mounted(empty, archive, place, home, empty=True):
        return float(python(ATTACH, place, archive, inner, home=home))
    raise AssertionError


def measure(system: System, archive: Path, place: Path, home: Path) -> dict[str, float]:
    with mounted(system, archive, place, home) as took:
        rows = {"mount": took, **json.loads(python(CLIENT, place))}
    if system.name.startswith("vfsd"):
        rows["attach, in a daemon that runs"] = attach_s(archive, "large.bin", place, home)
    return rows


def measure_random(system: System, archive: Path, place: Path, home: Path) -> float:
    with mounted(system, archive, place, home):
        return float(python(RANDOM, place / "large.bin"))
    raise AssertionError


def small(chosen: list[System], rounds: int) -> dict[str, dict[str, float]]:
    """Measure the tree of 2,400 files."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="vfsd-bench-", dir="/dev/shm") as text:
        work = Path(text)
        tree, place, home = work / "tree", work / "mount", work / "home"
        for each in (tree, place, home):
            each.mkdir(mode=0o700)
        make_tree(tree, FILES)
        samples: dict[str, list[dict[str, float]]] = {}
        for system in chosen:
            archive = work / f"{system.name.split()[0]}.{system.ending}"
            start = time.perf_counter()
            subprocess.run(
                list(map(str, system.pack(tree, archive))),
                check=True,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                stdout=subprocess.DEVNULL,
            )
            found[system.name] = {
                "pack": time.perf_counter() - start,
                "size, MB": archive.stat().st_size / 1e6,
            }
        for _ in range(rounds):
            for system in chosen:
                archive = work / f"{system.name.split()[0]}.{system.ending}"
                rows = measure(system, archive, place, home)
                rows["random 4 KiB, 2,000 of them"] = measure_random(system, archive, place, home)
                samples.setdefault(system.name, []).append(rows)
        for name, rounds_of in samples.items():
            for row in rounds_of[0]:
                found[name][row] = median(each[row] for each in rounds_of)
    return found


def names_of(entries: int) -> Iterator[str]:
    for number in range(entries):
        yield f"d{number // 100_000:02}/e{number // 1000 % 100:02}/file{number % 1000:03}"


def large(chosen: list[System], entries: int, rounds: int) -> dict[str, dict[str, float]]:
    """Measure how a tree of very many small files is mounted, and one directory listed."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="vfsd-bench-", dir="/dev/shm") as text:
        work = Path(text)
        place, home = work / "mount", work / "home"
        place.mkdir()
        home.mkdir(mode=0o700)
        for system in chosen:
            if system.name == "vfsd none":
                continue
            archive = work / f"{system.name.split()[0]}.{system.ending}"
            if not archive.exists():
                write_large(system, archive, entries)
            samples = []
            for _ in range(rounds):
                with mounted(system, archive, place, home) as took:
                    start = time.perf_counter()
                    listed = len(list(os.scandir(place / "d00" / "e50")))
                    took_ls = time.perf_counter() - start
                    assert listed == 1000
                    samples.append((took, took_ls, rss_of(place) / (1 << 20)))
                attached = 0.0
                if system.name.startswith("vfsd"):
                    attached = attach_s(archive, "d00/e50", place, home)
            found[system.name] = {
                "mount": median(each[0] for each in samples),
                **({"attach, in a daemon that runs": attached} if attached else {}),
                "ls of one directory": median(each[1] for each in samples),
                "RSS after it, MiB": median(each[2] for each in samples),
                "size, MB": archive.stat().st_size / 1e6,
            }
            if system.ending != "tar":
                archive.unlink()
    return found


def write_large(system: System, archive: Path, entries: int) -> None:
    """Write the tree as an archive, without making it on a disk first."""
    if system.ending.endswith("vfsa"):
        write_vfsa(archive, entries)
    elif system.ending == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name in names_of(entries):
                file.writestr(name, name)
    else:
        tar = archive.parent / "large.tar"
        with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as file:
            for name in names_of(entries):
                info = tarfile.TarInfo(name)
                info.size = len(name)
                file.addfile(info, io.BytesIO(name.encode()))
                file.members.clear()
        if system.ending == "sqfs":
            words = ["sqfstar", "-comp", "zstd", "-quiet", "-no-progress", archive]
            with open(tar, "rb") as source:
                subprocess.run(words, stdin=source, check=True, stdout=subprocess.DEVNULL)
            tar.unlink()
        else:
            tar.rename(archive)


def write_vfsa(archive: Path, entries: int) -> None:
    sys.path.insert(0, str(REPOSITORY))
    from vfsd.archive.outfile import OutFile
    from vfsd.archive.writer import ArchiveWriter, Attributes

    attributes = Attributes(0o100644)
    with OutFile(archive) as out, ArchiveWriter(out.fd) as writer:
        for name in names_of(entries):
            writer.add_file(name.encode(), attributes, [name.encode()], unique=True)
        writer.finish()
        out.commit()


def table(found: dict[str, dict[str, float]]) -> str:
    """Return the numbers as a Markdown table, systems side by side."""
    names = list(found)
    rows = list(dict.fromkeys(row for each in found.values() for row in each))
    lines = ["| row | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = [f"{found[name][row]:.3f}" if row in found[name] else "" for name in names]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run what the command line asks for, and print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--entries", type=int, default=0)
    parser.add_argument("--systems", default="vfsd,squashfuse,fuse-zip,archivemount,ratarmount")
    parser.add_argument("--ratarmount", default=shutil.which("ratarmount") or "ratarmount")
    options = parser.parse_args()
    wanted = options.systems.split(",")
    chosen = [
        each
        for each in systems(options.ratarmount)
        if each.name.split()[0] in wanted and shutil.which(each.needs)
    ]
    print(f"`{' '.join(['python', *sys.argv])}`\n\n{machine.describe()}\n", flush=True)
    print(table(small(chosen, options.rounds)), flush=True)
    if options.entries:
        print(f"\n{options.entries:,} entries:\n")
        print(table(large(chosen, options.entries, options.rounds)))


if __name__ == "__main__":
    main()
