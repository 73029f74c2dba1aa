"""A mount to run sandboxes on, and `vfsd run` as a person types it.

Nothing here waits for a time to pass: a test learns that something has happened from a FIFO in
the tree, from output, or by looking again and again until `SECONDS` are over.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.mounted.daemon import VfsdMount

SECONDS = 30

MODES = {
    "write": ("--write",),
    "kernel": ("--engine", "kernel"),
}
"""How the command gets its tree: as it is, or with a layer over it."""


@dataclass
class Box:
    """A fresh directory in a mount; commands run there."""

    directory: Path
    environment: dict[str, str]
    mode: tuple[str, ...] = MODES["write"]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def words(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "vfsd", "run", "--quiet", *self.mode, *arguments]

    def run(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run `vfsd run ARGUMENTS` to its end."""
        given = {
            "cwd": self.directory,
            "env": self.environment,
            "capture_output": True,
            "text": True,
            "timeout": SECONDS,
            **({} if "input" in options else {"stdin": subprocess.DEVNULL}),
            **options,
        }
        return subprocess.run(self.words(*arguments), **given)

    def sh(self, script: str, *options: str, **more: object) -> str:
        """Run a shell script inside, which must succeed, and return what it prints."""
        done = self.run(*options, "--", "sh", "-c", script, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, script: str, *options: str, **more: object) -> str:
        """Run a Python script inside, likewise."""
        done = self.run(*options, "--", "/usr/bin/python3", "-c", script, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        """Start `vfsd run ARGUMENTS`; the test waits for it, or else it is killed."""
        given = {
            "cwd": self.directory,
            "env": self.environment,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **options,
        }
        return self.keep(subprocess.Popen(self.words(*arguments), **given))

    def keep(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            with process:
                process.kill()

    def refused(self, *arguments: str, **options: object) -> str:
        """Run what vfsd itself must refuse, with 125 and one sentence; return the sentence."""
        done = self.run(*arguments, **options)
        lines = done.stderr.splitlines()
        assert done.returncode == 125, done
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("vfsd: ")
        assert done.stdout == ""
        return lines[0]


def eventually(holds: Callable[[], object], what: str) -> None:
    """Return once `holds()` is true; fail after `SECONDS`."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about: {what}"
        time.sleep(0.01)


def processes_with(marker: str) -> list[int]:
    """Return the pids of all processes of this machine with `marker` among their arguments."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", name, "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in words:
            found.append(int(name))
    return found


def running_with(marker: str) -> list[int]:
    """Return those of them that are `vfsd run` itself."""
    found = []
    for pid in processes_with(marker):
        with suppress(OSError):  # it has ended meanwhile
            if "python" in os.readlink(f"/proc/{pid}/exe"):
                found.append(pid)
    return found


@pytest.fixture(scope="package")
def mount() -> Iterator[VfsdMount]:
    """One mount for all of these tests; each works in a directory of its own."""
    mount = VfsdMount("-o", "size=64M")
    yield mount
    left = mount.close()
    assert not left, "\n".join(left)


@pytest.fixture
def box(mount: VfsdMount, request: pytest.FixtureRequest) -> Iterator[Box]:
    """A test has it in another mode by `parametrize("box", [...], indirect=True)`."""
    directory = mount.path / uuid.uuid4().hex
    directory.mkdir()
    mode = MODES[getattr(request, "param", "write")]
    box = Box(directory, dict(mount.environment), mode)
    yield box
    box.close()


@pytest.fixture
def marker(box: Box) -> Iterator[str]:
    """A word for a command's arguments; the end fails if a process still has it."""
    word = f"marker-{uuid.uuid4().hex}"
    yield word
    box.close()
    eventually(lambda: not processes_with(word), f"no process with {word} is left")
