"""A place to run the real command line: its own runtime and state directories, and a clean end."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Place:
    """A scratch directory with a mountpoint `mount`, and `vfsd` as a person runs it."""

    root: Path
    mount: Path
    environment: dict[str, str]
    user: list[str] = field(default_factory=list)

    def vfsd(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.user, sys.executable, "-m", "vfsd", *map(str, arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=self.root,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def refused(self, code: int, *arguments: object) -> str:
        """Run what must fail with `code` and one sentence; return the sentence."""
        done = self.vfsd(*arguments, check=False)
        lines = done.stderr.strip().splitlines()
        assert done.returncode == code, done.stderr
        assert len(lines) == 1, done.stderr
        assert lines[0].startswith("vfsd: ")
        return lines[0]

    def status(self) -> dict[str, Any]:
        """Return what `vfsd status --json` says of this place's mount."""
        (described,) = json.loads(self.vfsd("status", "--json", self.mount).stdout)
        return described

    def log(self) -> str:
        return "".join(path.read_text() for path in self.root.glob("state/vfsd/log/*.log"))


def mounted_below(root: Path) -> list[str]:
    with open("/proc/self/mountinfo", "rb") as table:  # as bytes: a name may hold a "\r"
        points = [os.fsdecode(line.split(b" ")[4]) for line in table]
    return [point for point in points if point.startswith(f"{root}/")]


def make_place(root: Path) -> Place:
    for name in ("mount", "run", "state"):
        (root / name).mkdir(mode=0o700)
    environment = {
        **os.environ,
        "XDG_RUNTIME_DIR": str(root / "run"),
        "XDG_STATE_HOME": str(root / "state"),
        "XDG_CACHE_HOME": str(root / "cache"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return Place(root, root / "mount", environment)


@pytest.fixture
def place(tmp_path):
    place = make_place(tmp_path)
    yield place
    left = mounted_below(tmp_path)
    for point in left:
        subprocess.run(["fusermount3", "-u", "-z", point], check=False)
    assert not left, f"left mounted: {left}"


@pytest.fixture
def mounted(place):
    """A place with an empty memory tree at `mount`, unmounted at the end."""
    place.vfsd("mount", place.mount)
    yield place
    place.vfsd("unmount", place.mount)


@pytest.fixture
def third_party(place):
    """Register a provider as somebody else's package would: a module and its metadata."""

    def register(name: str, source: str) -> None:
        packages = place.root / "packages"
        info = packages / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (packages / f"{name}_provider.py").write_text(textwrap.dedent(source))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(
            f"[vfsd.providers]\n{name} = {name}_provider:Provided\n"
        )
        place.environment["PYTHONPATH"] += f":{packages}"

    return register
