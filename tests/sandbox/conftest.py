"""One mounted tree for all tests of the sandbox, and `vfsd run` in a fresh directory of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mounted.daemon import VfsdMount

WAIT_S = 20.0


@dataclass(frozen=True)
class Box:
    """A directory of the tree, and `vfsd run` as a person there uses it."""

    path: Path
    mount: Path
    environment: dict[str, str]
    mode: tuple[str, ...] = ("--write",)

    def words(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "vfsd", "run", *self.mode, *map(str, arguments)]

    def run(
        self, *arguments: object, stdin: bytes | int = subprocess.DEVNULL, **more: object
    ) -> subprocess.CompletedProcess[bytes]:
        fed = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
        options = {"cwd": self.path, "env": self.environment, **fed, **more}
        return subprocess.run(self.words(*arguments), capture_output=True, timeout=60, **options)

    def shell(self, script: str, *options: object) -> str:
        """Run a shell script inside, which must succeed; return what it says."""
        done = self.run(*options, "--", "sh", "-ec", script)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def start(self, *arguments: object, **more: object) -> subprocess.Popen[bytes]:
        """Start a command that says "ready" when it is, and return then."""
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "cwd": self.path,
            "env": self.environment,
            **more,
        }
        process = subprocess.Popen(self.words(*arguments), **options)
        if options["stdout"] is subprocess.PIPE:
            assert process.stdout.readline() == b"ready\n"
        return process


@pytest.fixture(scope="session")
def tree() -> Iterator[VfsdMount]:
    mount = VfsdMount()
    yield mount
    left = mount.close()
    assert not left, "\n".join(left)


@pytest.fixture
def box(tree: VfsdMount, request: pytest.FixtureRequest) -> Box:
    path = tree.path / f"{request.node.name[:80]}-{time.monotonic_ns()}".replace("/", "_")
    path.mkdir()
    return Box(path, tree.path, tree.environment)


@pytest.fixture
def own_project(tree: VfsdMount) -> Iterator[Callable[[list[int]], Box]]:
    """Make a project of a user's own, for `vfsd run` as it is without options: with a layer."""
    root = Path(tempfile.mkdtemp(prefix="vfsd-project-"))
    root.chmod(0o755)

    def make(owner: list[int]) -> Box:
        environment = {**tree.environment, "HOME": str(root / "home")}
        for name in ("project", "project/.git", "home", "runtime", "state", "cache"):
            (root / name).mkdir(mode=0o700)
        for name in ("RUNTIME_DIR", "STATE_HOME", "CACHE_HOME"):
            environment[f"XDG_{name}"] = str(root / name.partition("_")[0].lower())
        for path in (root, *root.rglob("*")):
            if owner:
                os.chown(path, *owner)
        return Box(root / "project", root, environment, ())

    yield make
    shutil.rmtree(root)


def with_word(word: str) -> list[int]:
    """Return the processes of this machine that have `word` in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                line = Path("/proc", name, "cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in line:
                found.append(int(name))
    return found


def remove_settled(root: Path, within_s: float = WAIT_S) -> None:
    """Remove all of it, once nobody settles a snapshot in a store there any more."""
    assert eventually(lambda: not with_word(str(root)), within_s)
    shutil.rmtree(root)


def eventually(condition: object, within_s: float = WAIT_S) -> bool:
    """Wait until `condition()` holds; False if it does not come to that."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
