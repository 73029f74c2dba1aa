"""The rows of the table: what is done on each file system, and what must be there before.

Each row is a shell script of ordinary tools, run in a directory of its own on the system
under test. The inputs come from corpus.py; the clock is in measure.py.

*Cold* means: the kernel's caches of names, attributes and data are dropped just before, so a
FUSE daemon is asked for everything again, while its own memory (or the tmpfs below it) stays.
tmpfs has no colder state than warm. *Warm* means: the same script ran once just before. For
the third time it asks for less: the kernel takes a directory's time of access for unknown once it
has listed it, and asks for it at the next stat (196 requests for 200 directories).

Concurrency: rows of one system run in order; a later row finds what an earlier one left.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from corpus import CHUNK_MIB, Corpus
from measure import drop_caches, run_script

SEQUENTIAL_MIB = 1024
APPENDS = 200
RANDOM_CALLS = 10_000

Script = Callable[[Corpus], str]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `needs` names what must exist before: `tree`, `big` or `clone`, each made untimed by the
    row of that script when an earlier row did not leave it. `corpus` names the optional input
    (see `Corpus.make`). `warm` says how often the script ran before, `cold` that the caches were
    dropped, as above. A row with `lower` works on the tree `old`, which a read-only layer held
    before the system was started.
    """

    name: str
    title: str
    script: Script
    needs: str = ""
    corpus: str = ""
    before: str = ""
    warm: int = 0
    cold: bool = False
    lower: bool = False

    def prepare(self, corpus: Corpus, place: Path) -> None:
        """Bring `place` into the state that the row starts from; untimed."""
        place.mkdir(exist_ok=True)
        environment = corpus.environment
        if self.needs and not (place / self.needs).exists():
            run_script(MAKERS[self.needs](corpus), place, environment)
        if self.before:
            run_script(self.before, place, environment)
        for _ in range(self.warm):
            run_script(self.script(corpus), place, environment)
        if self.cold:
            drop_caches()
            # The tools themselves were dropped too, and their loading is not to be timed.
            run_script(self.script(corpus), corpus.tiny, environment)


def _unpack(corpus: Corpus) -> str:
    return f"tar -xf {quote(str(corpus.archive))}"


def _stat_all(_corpus: Corpus) -> str:
    return "find tree -print0 | xargs -0 stat --format=%s"


def _read_all(_corpus: Corpus) -> str:
    return "find tree -type f -print0 | xargs -0 cat"


def _stat_lower(_corpus: Corpus) -> str:
    return "find old -print0 | xargs -0 stat --format=%s"


def _read_lower(_corpus: Corpus) -> str:
    return "find old -type f -print0 | xargs -0 cat"


def _append_lower(_corpus: Corpus) -> str:
    return f'find old -type f | sort | head -n {APPENDS} | while read f; do echo more >> "$f"; done'


def _write_big(corpus: Corpus) -> str:
    count = SEQUENTIAL_MIB // CHUNK_MIB
    copy = f"dd if={quote(str(corpus.chunk))} bs=1M status=none"
    return f"n=0; while [ $n -lt {count} ]; do {copy}; n=$((n+1)); done > big"


def _read_big(_corpus: Corpus) -> str:
    return "dd if=big of=/dev/null bs=1M status=none"


def _random(call: str) -> Script:
    """Return a script that makes calls of 4 KiB at random places of `big`, whose seed is fixed."""
    text = (
        "import os, random; r = random.Random(7); fd = os.open('big', os.O_RDWR);"
        " n = os.fstat(fd).st_size // 4096; b = bytes(range(256)) * 16\n"
        f"for _ in range(min(n, {RANDOM_CALLS})): at = r.randrange(n) * 4096; {call}"
    )
    return lambda _corpus: f"{quote(sys.executable)} -S -E -c {quote(text)}"


def _clone(corpus: Corpus) -> str:
    return f"git clone --quiet --no-hardlinks {quote(str(corpus.repository))} clone"


def _status(_corpus: Corpus) -> str:
    # Only the second one is alike each time, and only in a later second: git reads again what
    # changed in the second its index is of, so that a fast clone would be the more to read.
    return "git -C clone status"


def _npm_ci(corpus: Corpus) -> str:
    project = quote(str(corpus.npm_project))
    return (
        f"mkdir npm; cd npm; cp {project}/package.json {project}/package-lock.json .;"
        " npm ci --offline --no-audit --no-fund --ignore-scripts --loglevel=error"
    )


def _pip(corpus: Corpus) -> str:
    wheels = quote(str(corpus.wheels))
    return (
        f"{quote(sys.executable)} -m pip --disable-pip-version-check install --quiet --no-index"
        f" --no-cache-dir --find-links {wheels} --target pip {wheels}/*.whl"
    )


def _build(corpus: Corpus) -> str:
    return f"cp -r {quote(str(corpus.sources))} build; make --silent -j2 -C build; build/program"


MAKERS: dict[str, Script] = {"tree": _unpack, "big": _write_big, "clone": _clone}

ROWS = (
    Row("unpack", "unpack {files} files", _unpack, before="rm -rf tree"),
    Row("stat-cold", "find | xargs stat, cold", _stat_all, needs="tree", cold=True),
    Row("stat-warm", "find | xargs stat, warm", _stat_all, needs="tree", warm=1),
    Row("stat-again", "find | xargs stat, third time", _stat_all, needs="tree", warm=2),
    Row("read-cold", "read all, cold", _read_all, needs="tree", cold=True),
    Row("read-warm", "read all, warm", _read_all, needs="tree", warm=1),
    Row("copy", "cp -r", lambda _: "cp -r tree copy", needs="tree", before="rm -rf copy"),
    Row("remove", "rm -rf", lambda _: "rm -rf tree", needs="tree"),
    Row("write-seq", "write 1 GiB", _write_big, corpus="chunk", before="rm -f big"),
    Row("read-seq-cold", "read 1 GiB, cold", _read_big, needs="big", corpus="chunk", cold=True),
    Row("read-seq-warm", "read 1 GiB, warm", _read_big, needs="big", corpus="chunk", warm=1),
    Row(
        "read-random",
        "read 4 KiB at random, cold",
        _random("os.pread(fd, 4096, at)"),
        needs="big",
        corpus="chunk",
        cold=True,
    ),
    Row(
        "write-random",
        "write 4 KiB at random",
        _random("os.pwrite(fd, b, at)"),
        needs="big",
        corpus="chunk",
    ),
    Row("git-clone", "git clone", _clone, corpus="git", before="rm -rf clone big"),
    Row(
        "git-status",
        "git status, warm",
        _status,
        needs="clone",
        corpus="git",
        before="sleep 1.1",
        warm=1,
    ),
    Row("npm-ci", "npm ci", _npm_ci, corpus="npm", before="rm -rf npm"),
    Row("pip-install", "pip install", _pip, corpus="pip", before="rm -rf pip"),
    Row("stat-lower", "stat a lower tree, cold", _stat_lower, cold=True, lower=True),
    Row("read-lower", "read a lower tree, cold", _read_lower, cold=True, lower=True),
    Row("append-lower", "append to 200 lower files", _append_lower, lower=True),
    Row("remove-lower", "rm -rf of a lower tree", lambda _: "rm -rf old", lower=True),
    Row("gcc-build", "gcc, 50 files", _build, corpus="gcc", before="rm -rf build"),
)


def select(names: str | None) -> tuple[Row, ...]:
    """Return the rows in the comma-separated `names` (None: all). KeyError for a wrong one."""
    if names is None:
        return ROWS
    known = {row.name: row for row in ROWS}
    return tuple(known[name] for name in names.split(","))
