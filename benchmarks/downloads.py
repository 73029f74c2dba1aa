"""What pip gives, kept in the user's cache: ratarmount, pyfuse3's own example, py-spy, and sources.

None of it becomes part of this project or of its environment: ratarmount lives in a virtual
environment of its own, the example is unpacked from pyfuse3's source distribution and run in
place. What cannot be had is said, and the benchmark goes on without it.

Concurrency: called before anything is timed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RATARMOUNT = "1.3.0"
PY_SPY = "0.4.3"
DOWNLOAD_SECONDS = 300


def cache_directory() -> Path:
    """Return where downloads are kept between runs (XDG base directories)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "vfsd-benchmarks"


@cache
def ratarmount_missing() -> str | None:
    """Install ratarmount unless it is there; return why it cannot be used, else None."""
    program = _ratarmount()
    if program.exists():
        return None
    return _install(program, f"ratarmount=={RATARMOUNT}")


def ratarmount_command(overlay: Path, source: Path, mountpoint: Path) -> list[str]:
    """Return how ratarmount serves the empty `source`, writes going to `overlay`."""
    return [str(_ratarmount()), "-f", "-w", str(overlay), str(source), str(mountpoint)]


def _ratarmount() -> Path:
    return cache_directory() / f"ratarmount-{RATARMOUNT}" / "bin" / "ratarmount"


@cache
def py_spy_missing() -> str | None:
    """Install py-spy, which profiles, unless it is there; return why it cannot be used."""
    return None if py_spy().exists() else _install(py_spy(), f"py-spy=={PY_SPY}")


def py_spy() -> Path:
    """Return where py-spy is, once `py_spy_missing` said that it is there."""
    return cache_directory() / f"py-spy-{PY_SPY}" / "bin" / "py-spy"


def _install(program: Path, requirement: str) -> str | None:
    environment = program.parent.parent
    failure = _run([sys.executable, "-m", "venv", str(environment)]) or _run(
        [str(environment / "bin" / "pip"), "install", "--quiet", requirement]
    )
    return failure and f"pip cannot install it: {failure}"


@cache
def example_missing() -> str | None:
    """Fetch pyfuse3's source unless it is there; return why it cannot be used, else None."""
    try:
        example = _example()
    except PackageNotFoundError:
        return "pyfuse3 is not installed"
    if example.exists():
        return None
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    requirement = f"pyfuse3=={version('pyfuse3')}"
    fetch = ["download", "--quiet", "--no-deps", "--no-binary=:all:", "--dest", str(directory)]
    failure = _run([sys.executable, "-m", "pip", *fetch, requirement])
    if failure:
        return f"pip cannot fetch it: {failure}"
    for source in directory.glob(f"pyfuse3-{version('pyfuse3')}*.tar.gz"):
        with tarfile.open(source) as archive:
            archive.extractall(directory, filter="data")
    return None if example.exists() else "the source distribution holds no example"


def example_command(mountpoint: Path) -> list[str]:
    """Return how the example serves a file system in memory at `mountpoint`."""
    return [sys.executable, str(_example()), str(mountpoint)]


def _example() -> Path:
    return cache_directory() / f"pyfuse3-{version('pyfuse3')}" / "examples" / "tmpfs.py"


def fetched(requirement: str, folders: Sequence[str], target: Path) -> str | None:
    """Copy folders of a source distribution to `target`; return why that cannot be, else None."""
    name, _, wanted = requirement.partition("==")
    kept = cache_directory() / "sources" / requirement
    if not kept.is_dir():
        kept.mkdir(parents=True)
        # Only this one as source: pip asks it for its metadata, with tools that have to run.
        fetch = ["download", "--quiet", "--no-deps", f"--no-binary={name}"]
        failure = _run([sys.executable, "-m", "pip", *fetch, "--dest", str(kept), requirement])
        if failure:
            kept.rmdir()
            return f"pip cannot fetch {name} {wanted}: {failure}"
    with tarfile.open(next(kept.glob("*.tar.gz"))) as archive:
        for member in archive.getmembers():
            inner = member.name.partition("/")[2]
            if any(inner.startswith(f"{folder}/") for folder in folders):
                archive.extract(member.replace(name=inner, deep=False), target, filter="data")
    return None


def _run(command: list[str]) -> str | None:
    """Run `command`; return None if it worked, else the last line it said."""
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {error.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None
