"""A project of somebody's, and `vfsd` as that person types it: whoever runs the tests, or nobody.

Nothing of the person's own is used: the store, the cache and the runtime directory are in a
temporary place, which must be empty of mounts at the end.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
NOBODY = pwd.getpwnam("nobody")
BECOME = [
    *("setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"),
]
SECONDS = 120
ENGINES = ("kernel", "fuse")


@dataclass
class Person:
    """Somebody with a project; `path` is its directory."""

    root: Path
    become: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.root / "project"

    @property
    def runs(self) -> Path:
        return self.root / "run" / "vfsd" / "runs"

    def words(self, *words: object) -> list[str]:
        return [*self.become, sys.executable, "-m", "vfsd", *map(str, words)]

    def vfsd(self, *words: object, code: int = 0, **more: object) -> str:
        """Run `vfsd WORDS`, which must end with `code`; return what it prints, or says."""
        done = self.done(*words, **more)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def done(self, *words: object, **more: object) -> subprocess.CompletedProcess[str]:
        given = {
            **{"cwd": self.path, "env": self.environment, "text": True, "timeout": SECONDS},
            **({} if "input" in more else {"stdin": subprocess.DEVNULL}),
            **more,
        }
        return subprocess.run(self.words(*words), capture_output=True, check=False, **given)

    def sh(self, script: str, *options: object, **more: object) -> str:
        """Run a shell script in a sandbox, which must succeed; return what it prints."""
        return self.vfsd("run", *options, "--", "sh", "-ec", script, **more)

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        """Start `vfsd WORDS`, and return once it has printed a line, which is dropped."""
        process = subprocess.Popen(
            self.words(*words),
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,  # a line that is read takes nothing of the next with it
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    def write(self, name: str, text: str = "", mode: int = 0o644) -> Path:
        """Make a file of this person's in the project, with its directories."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        self.own()
        return path

    def own(self) -> None:
        """Give this person all that the test made."""
        if self.become:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)

    def mounts(self) -> list[str]:
        with open("/proc/self/mountinfo") as table:
            return [line for line in table if f" {self.root}/" in line]

    def close(self) -> None:
        for process in self.processes:
            with process:
                process.kill()


def picture(directory: Path) -> str:
    """Return all that there is in a directory, as text to compare."""
    rows = []
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        what = str(path.relative_to(directory)), stat.filemode(status.st_mode), status.st_mtime_ns
        content = ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        rows.append(f"{what} {content}")
    return "\n".join(rows)


def eventually(holds: Callable[[], object], what: str) -> None:
    """Return once `holds()` is true; fail when that does not come about."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about: {what}"
        time.sleep(0.02)


@pytest.fixture(params=["we", "an ordinary user"])
def person(request: pytest.FixtureRequest) -> Iterator[Person]:
    ordinary = request.param != "we"
    if ordinary and os.geteuid() != 0:
        pytest.skip("it is an ordinary user who runs these tests")
    with tempfile.TemporaryDirectory(prefix="vfsd-engines-", ignore_cleanup_errors=True) as place:
        # What the project's path leads through is entered by others, too.
        root = Path(place)
        root.chmod(0o755)
        for name in ("project", "home"):
            (root / name).mkdir()
        (root / "run").mkdir(mode=0o700)
        names = {"XDG_RUNTIME_DIR": "run", "XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache"}
        made = Person(root, BECOME if ordinary else [])
        made.environment = {
            **os.environ,
            **{name: str(root / part) for name, part in names.items()},
            "HOME": str(root / "home"),
            "PYTHONPATH": str(REPOSITORY),
        }
        made.own()
        yield made
        made.close()
        eventually(lambda: not made.mounts(), "every mount is gone")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)
