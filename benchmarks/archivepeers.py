"""The systems that archives.py compares: how each makes its archive, and mounts it.

Each is in one of two classes: nothing compressed, or everything in the way the tool is made for.
ratarmount's archive is a tar of zstd frames, which is what it can seek in; archivemount can seek in
nothing that is compressed.

What it is not: what is measured (archiverows.py), or the trees (archivetrees.py).

Concurrency: one mount at a time.
Sources: fuse-zip(1), archivemount(1), squashfuse(1), mksquashfs(1), pzstd(1), ratarmount's README.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PLACES = ("RUNTIME_DIR", "STATE_HOME", "CACHE_HOME")
Words = list[str]

PLAIN, COMPRESSED = "plain", "compressed"


class Slow(Exception):
    """Something took longer than it is waited for."""


@dataclass(frozen=True)
class System:
    """One way to archive a tree and to mount what came out."""

    name: str
    kind: str
    """PLAIN or COMPRESSED."""
    needs: str
    ending: str
    pack: Callable[[Path, Path], Words]
    """From a directory to an archive."""
    convert: Callable[[Path, Path], Words] | None
    """From a tar to an archive; None: it is mounted as it is."""
    mount: Callable[[Path, Path], Words]

    @property
    def ours(self) -> bool:
        return self.name.startswith("vfsd")


def vfsd(*words: object) -> Words:
    return [sys.executable, "-m", "vfsd", *map(str, words)]


def shell(line: str, *words: object) -> Words:
    return ["sh", "-c", line, "sh", *map(str, words)]


def systems(ratarmount: str) -> list[System]:
    """Return them all; those whose program is missing are left out when they run."""
    return [
        *_ours(),
        *_squashfs(),
        *_zips(),
        *_tars(
            "archivemount", "archivemount", lambda a, p: ["archivemount", "-o", "readonly", a, p]
        ),
        *_tars(
            "ratarmount",
            ratarmount,
            lambda a, p: [ratarmount, "--index-file", ":memory:", a, p],
        ),
    ]


def _ours() -> Iterator[System]:
    for kind, method in ((PLAIN, "none"), (COMPRESSED, "zstd")):

        def pack(tree: Path, out: Path, method: str = method) -> Words:
            return vfsd("pack", tree, "-o", out, "--compress", method, "--quiet")

        yield System(
            f"vfsd {method}",
            kind,
            sys.executable,
            f"{method}.vfsa",
            pack,
            pack,
            lambda archive, place: vfsd("mount", place, archive),
        )


def _squashfs() -> Iterator[System]:
    for kind, method, words in (
        (PLAIN, "none", ["-noI", "-noD", "-noF", "-noX"]),
        (COMPRESSED, "zstd", ["-comp", "zstd"]),
    ):
        quiet = [*words, "-quiet", "-no-progress"]

        def pack(tree: Path, out: Path, quiet: Words = quiet) -> Words:
            return ["mksquashfs", str(tree), str(out), *quiet]

        def convert(tar: Path, out: Path, quiet: Words = quiet) -> Words:
            return shell(f'sqfstar {shlex.join(quiet)} "$2" < "$1"', tar, out)

        yield System(
            f"squashfuse {method}",
            kind,
            "squashfuse",
            f"{method}.sqfs",
            pack,
            convert,
            lambda archive, place: ["squashfuse", "-f", str(archive), str(place)],
        )


def _zips() -> Iterator[System]:
    for kind, method, level in ((PLAIN, "stored", "-0"), (COMPRESSED, "deflate", "-6")):
        option = "store" if level == "-0" else "deflate"

        def pack(tree: Path, out: Path, level: str = level) -> Words:
            return shell(f'cd "$1" && zip -q -r -y {level} "$2" .', tree, out)

        def convert(tar: Path, out: Path, option: str = option) -> Words:
            made = f'bsdtar --format zip --options zip:compression={option} -cf "$2" "@$1"'
            return shell(made, tar, out)

        yield System(
            f"fuse-zip {method}",
            kind,
            "fuse-zip",
            f"{method}.zip",
            pack,
            convert,
            lambda archive, place: ["fuse-zip", "-f", "-r", str(archive), str(place)],
        )


def _tars(name: str, needs: str, mount: Callable[[Path, Path], list[object]]) -> Iterator[System]:
    def serve(archive: Path, place: Path) -> Words:
        return list(map(str, [*mount(archive, place), "-f"]))

    yield System(
        f"{name} tar",
        PLAIN,
        needs,
        "tar",
        lambda tree, out: ["tar", "-C", str(tree), "-cf", str(out), "."],
        None,
        serve,
    )
    # archivemount expands from the start whatever it is given; gzip is what people have.
    ending, packer = ("tar.gz", "gzip") if name == "archivemount" else ("tar.zst", "pzstd -q -c")
    yield System(
        f"{name} {ending}",
        COMPRESSED,
        needs,
        ending,
        lambda tree, out: shell(f'tar -C "$1" -cf - . | {packer} > "$2"', tree, out),
        lambda tar, out: shell(f'{packer} < "$1" > "$2"', tar, out),
        serve,
    )


def surroundings(home: Path) -> dict[str, str]:
    """Return the environment of everything that is started here."""
    places = {f"XDG_{name}": str(home / name) for name in PLACES}
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **places}
    # What is installed has been compiled; pip does it, and a checkout's first start.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def run(words: Words, home: Path, limit_s: float) -> float:
    """Run a command and return how long it took. Slow, CalledProcessError."""
    start = time.perf_counter()
    with subprocess.Popen(
        words, env=surroundings(home), stdout=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            # A shell and what it started.
            os.killpg(process.pid, signal.SIGKILL)
            raise Slow from None
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return time.perf_counter() - start


@contextmanager
def mounted(
    words: Words, place: Path, home: Path, limit_s: float, *, empty: bool = False
) -> Iterator[float]:
    """Mount, give how long it took until the root was listed, and unmount. Slow."""
    for name in PLACES:
        (home / name).mkdir(mode=0o700, exist_ok=True)
    start = time.perf_counter()
    with subprocess.Popen(words, env=surroundings(home), stdout=subprocess.DEVNULL) as process:
        try:
            while not os.path.ismount(place) or not (empty or os.listdir(place)):
                if process.poll():
                    raise RuntimeError(f"{words} did not mount")
                if time.perf_counter() - start > limit_s:
                    raise Slow
                time.sleep(0.0005)
            yield time.perf_counter() - start
        finally:
            # Lazily: who was waited for too long may still be in it.
            subprocess.run(
                ["fusermount3", "-u", "-z", place], check=False, stderr=subprocess.DEVNULL
            )
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


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
