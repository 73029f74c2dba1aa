"""A project on this machine's disk, and `vfsd run` in it.

What tools fetch is kept for all tests of the session in a cache that is bound inside, as people
do it; what they install is kept as snapshots in a store of the tests' own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sandbox.conftest import remove_settled

REPOSITORY = Path(__file__).parents[3]
TRIES = 3
SETTLED_WITHIN_S = 300.0
"""What was installed is thousands of files to be had on disk, on a machine that others use too."""
NOBODY = pwd.getpwnam("nobody")
BECOME = ("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups")
USERS = ["we", "an ordinary user"]


@dataclass(frozen=True)
class Project:
    """A directory with the files of a project."""

    path: Path
    root: Path
    """Where the store and the cache are."""
    become: tuple[str, ...] = ()
    """What starts a program as the user whose project it is."""
    options: tuple[str, ...] = ()
    """For every run."""

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)

    def own(self, *paths: Path) -> None:
        """Give the user all that the test made."""
        for path in paths if self.become else ():
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)

    @property
    def environment(self) -> dict[str, str]:
        places = {
            "XDG_RUNTIME_DIR": self.root / "run",
            "XDG_STATE_HOME": self.root / "state",
            "XDG_CACHE_HOME": self.root / "cache",
            "PYTHONPATH": REPOSITORY,
        }
        return {**os.environ, **{name: str(path) for name, path in places.items()}}

    def words(self, *arguments: object) -> list[str]:
        words = ("vfsd", "run", *self.options, *map(str, arguments))
        return [*self.become, sys.executable, "-m", *words]

    def run(self, *arguments: object) -> str:
        """Run a command, which must succeed; return what it says on standard output."""
        done = self._run(*arguments)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def fetch(self, name: str, *arguments: object) -> None:
        """Run what needs a registry, again if it fails, and keep what it wrote as `name`."""
        shared = self.root / "fetched"
        shared.mkdir(exist_ok=True)
        self.own(shared)
        caches = ("npm_config_cache=/fetched/npm", "PIP_CACHE_DIR=/fetched/pip")
        options = ["--net", "--bind", f"{shared}:/fetched", "--save", name]
        options += [word for each in caches for word in ("--env", each)]
        for _ in range(TRIES):
            done = self._run(*options, *arguments)
            if done.returncode == 0:
                return
        raise AssertionError(f"{done.stdout}\n{done.stderr}")

    def _run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*arguments),
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )


def become(user: str) -> tuple[str, ...]:
    """Return what starts a program as that one of `USERS`."""
    if user == "we":
        return ()
    if os.geteuid() != 0:
        pytest.skip("it is an ordinary user who runs these tests")
    return BECOME


@pytest.fixture(scope="session", params=USERS)
def kept(request: pytest.FixtureRequest) -> Iterator[Project]:
    """Keep the store and the cache of one user; the path of it is no project's."""
    root = Path(tempfile.mkdtemp(prefix="vfsd-toolchains-"))
    root.chmod(0o755)
    (root / "run").mkdir(mode=0o700)
    (root / "projects").mkdir()
    kept = Project(root, root, become(request.param))
    kept.own(root, root / "run", root / "projects")
    yield kept
    remove_settled(root, SETTLED_WITHIN_S)


@pytest.fixture(scope="session")
def new_project(kept: Project):
    """Make a project of a name of its own; every test that asks for the name gets the same."""

    def make(name: str, files: Mapping[str, str]) -> Project:
        path = kept.path / "projects" / name
        path.mkdir()
        (path / ".git").mkdir()  # what marks the root of a project
        project = Project(path, kept.root, kept.become)
        project.write(files)
        project.own(path, *path.rglob("*"))
        return project

    return make


@pytest.fixture(params=["kernel", "fuse"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=USERS)
def local_project(
    request: pytest.FixtureRequest, engine: str
) -> Iterator[Callable[[Mapping[str, str]], Project]]:
    """Make a project that needs no registry: by each engine, for each kind of user."""
    starter = become(request.param)
    root = Path(tempfile.mkdtemp(prefix="vfsd-toolchain-"))
    root.chmod(0o755)
    written: set[str] = set()

    def make(files: Mapping[str, str]) -> Project:
        path = root / "project"
        (path / ".git").mkdir(parents=True)
        (root / "run").mkdir(mode=0o700)
        project = Project(path, root, starter, ("--engine", engine))
        project.write(files)
        written.update(files)
        project.own(root, *root.rglob("*"))
        return project

    yield make
    # All that the tools made is in layers, and nowhere else.
    left = {str(path.relative_to(root / "project")) for path in (root / "project").rglob("*")}
    remove_settled(root, SETTLED_WITHIN_S)
    assert left - {".git"} == written


@pytest.fixture(scope="session")
def npm(kept: Project) -> None:
    """Skip where there is no npm, or no registry for it."""
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here ('scripts/setup --demo' brings it)")
    ping = [
        "npm",
        "ping",
        "--fetch-retries=1",
        "--fetch-timeout=10000",
        f"--cache={kept.root / 'npm'}",
    ]
    if subprocess.run(ping, capture_output=True, timeout=120).returncode:
        pytest.skip("npm reaches no registry")
