"""What the benchmarks work on: made once per run, on tmpfs, the same bytes every time.

A tree as an archive, a git repository of it, a C project, an npm project with its cache
filled, a block of bytes for sequential writing. How they are used stands in rows.py.

Concurrency: made before anything is timed; read only afterwards.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

SEED = 20_240_229
CHUNK_MIB = 64
SOURCES = 50
# Real packages with real dependencies (some 90 of them), small enough to install in seconds.
PIP_WHEELS = (
    "pygments==2.18.0",
    "setuptools==75.6.0",
    "pip==24.3.1",
    "jinja2==3.1.4",
    "rich==13.9.4",
)
NPM_DEPENDENCIES = {"eslint": "9.17.0", "typescript": "5.7.2"}
MTIME = 1_700_000_000


class Corpus:
    """The inputs below `root`, a directory on tmpfs; `missing` says which could not be had."""

    def __init__(self, root: Path, files: int, environment: dict[str, str]) -> None:
        self.root = root
        self.files = files
        self.environment = environment
        self.missing: dict[str, str] = {}
        self.archive = root / "tree.tar"
        self.repository = root / "tree.git"
        self.sources = root / "sources"
        self.npm_project = root / "npm-project"
        self.npm_cache = root / "npm-cache"
        self.chunk = root / "chunk"
        self.wheels = root / "wheels"
        self.tiny = root / "tiny"

    def make(self, wanted: set[str]) -> None:
        """Make the inputs named in `wanted`; the archive and the small ones always."""
        self.root.mkdir(parents=True)
        make_archive(self.archive, self.files)
        (self.tiny / "tree").mkdir(parents=True)
        (self.tiny / "tree" / "file").write_bytes(b"tiny\n")
        (self.tiny / "old").mkdir()
        (self.tiny / "old" / "file").write_bytes(b"tiny\n")
        (self.tiny / "big").write_bytes(bytes(8192))
        makers = {
            "chunk": self._make_chunk,
            "git": self._make_repository,
            "gcc": self._make_sources,
            "npm": self._make_npm_project,
            "pip": self._make_wheels,
        }
        for name in sorted(wanted):
            makers[name]()

    def lay(self, place: Path) -> None:
        """Unpack the archive's tree as `old` in the directory `place`, which is made."""
        place.mkdir(parents=True)
        self._run(["tar", "-xf", str(self.archive)], place)
        (place / "tree").rename(place / "old")

    def _make_chunk(self) -> None:
        self.chunk.write_bytes(random.Random(SEED).randbytes(CHUNK_MIB << 20))

    def _make_repository(self) -> None:
        if shutil.which("git") is None:
            self.missing["git"] = "git is not installed"
            return
        tree = self.root / "git-tree"
        tree.mkdir()
        archive = self.root / "git-tree.tar"
        make_archive(archive, min(self.files, 2_000))
        self._run(["tar", "-xf", str(archive)], tree)
        self._run(["git", "init", "--quiet", "--initial-branch=main"], tree)
        self._run(["git", "add", "--all"], tree)
        self._run(["git", "commit", "--quiet", "--message=tree"], tree)
        self._run(["git", "clone", "--quiet", "--bare", str(tree), str(self.repository)], tree)
        self._run(["git", "repack", "-a", "-d", "--quiet"], self.repository)
        shutil.rmtree(tree)
        archive.unlink()

    def _make_sources(self) -> None:
        if shutil.which("gcc") is None or shutil.which("make") is None:
            self.missing["gcc"] = "gcc or make is not installed"
            return
        self.sources.mkdir()
        for name, text in c_project(SOURCES).items():
            (self.sources / name).write_text(text)

    def _make_npm_project(self) -> None:
        if shutil.which("npm") is None:
            self.missing["npm"] = "npm is not installed"
            return
        self.npm_project.mkdir()
        manifest = {"name": "bench", "version": "1.0.0", "dependencies": NPM_DEPENDENCIES}
        (self.npm_project / "package.json").write_text(json.dumps(manifest))
        try:
            # Fills the cache and writes the lock file that `npm ci` needs.
            self._run(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"])
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            self.missing["npm"] = "npm cannot reach a registry"
        shutil.rmtree(self.npm_project / "node_modules", ignore_errors=True)

    def _make_wheels(self) -> None:
        self.wheels.mkdir()
        download = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download"]
        wanted = ["--quiet", "--only-binary=:all:", "--dest", str(self.wheels), *PIP_WHEELS]
        try:
            self._run([*download, *wanted], self.wheels)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            self.missing["pip"] = "pip cannot reach a registry"

    def _run(self, command: list[str], cwd: Path | None = None) -> None:
        subprocess.run(
            command,
            cwd=cwd or self.npm_project,
            env=self.environment,
            check=True,
            timeout=180,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )


def make_archive(path: Path, files: int) -> None:
    """Write a tar of `files` regular files: nested, of sizes as source trees have them.

    Sizes are log-normal (median 3 KiB, at most 256 KiB); a tenth as many directories, up to
    six deep; some executables and a symlink per fifty files.
    """
    generator = random.Random(SEED)
    directories = ["tree"]
    block = generator.randbytes(1 << 20)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(_member("tree", tarfile.DIRTYPE, 0o755))
        for number in range(files):
            if number % 10 == 0:
                parent = generator.choice(directories)
                while parent.count("/") >= 6:
                    parent = generator.choice(directories)
                directories.append(f"{parent}/dir{number:05}")
                archive.addfile(_member(directories[-1], tarfile.DIRTYPE, 0o755))
            # Mostly the newest directory, as real archives are written directory by directory.
            parent = directories[-1] if number % 4 else generator.choice(directories)
            size = min(int(generator.lognormvariate(8.0, 1.3)), 256 << 10)
            start = generator.randrange(len(block) - size)
            member = _member(
                f"{parent}/file{number:05}.c", tarfile.REGTYPE, 0o755 if number % 20 == 0 else 0o644
            )
            member.size = size
            archive.addfile(member, io.BytesIO(block[start : start + size]))
            if number % 50 == 49:
                link = _member(f"{parent}/link{number:05}", tarfile.SYMTYPE, 0o777)
                link.linkname = f"file{number:05}.c"
                archive.addfile(link)


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = kind, mode, MTIME
    return member


def c_project(count: int) -> dict[str, str]:
    """Return a C project of `count` files by name: a Makefile, a header, and who uses it."""
    header = "#pragma once\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
    header += "".join(f"int part{number}(int value);\n" for number in range(count - 1))
    files = {"parts.h": header}
    for number in range(count - 1):
        branches = "".join(
            f"    if (value % {divisor} == 0) {{ value = value * {divisor + number} + 1; }}\n"
            for divisor in range(2, 22)
        )
        files[f"part{number}.c"] = (
            f'#include "parts.h"\nint part{number}(int value) {{\n{branches}'
            f'    char text[32];\n    snprintf(text, sizeof text, "%d", value);\n'
            f"    return (int)strlen(text) + value;\n}}\n"
        )
    calls = "".join(f"    value = part{number}(value) % 1000;\n" for number in range(count - 1))
    files["main.c"] = (
        f'#include "parts.h"\nint main(void) {{\n    int value = 7;\n{calls}'
        f'    printf("%d\\n", value);\n    return 0;\n}}\n'
    )
    files["Makefile"] = (
        "OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\n"
        "program: $(OBJECTS)\n\tgcc -o $@ $(OBJECTS)\n"
        "%.o: %.c parts.h\n\tgcc -O1 -c -o $@ $<\n"
    )
    return files
