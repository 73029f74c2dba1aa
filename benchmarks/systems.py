"""A system under test: how it is started, recognised as live, and always unmounted.

Which systems there are stands in catalogue.py.

Only what was started here is stopped or unmounted: a daemon by its own process, a mount by
its own path.

Concurrency: one mount is started or stopped at a time; all of them are up during a run.
Sources: proc_pid_mountinfo(5), fusermount3(1), umount(8).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType

from measure import Placement, RowFailedError

REPOSITORY = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 10.0


class StartError(Exception):
    """A system did not come up; the text says what it said last."""


@dataclass(frozen=True, slots=True)
class Site:
    """The directories of one system, all on tmpfs."""

    root: Path

    @property
    def mountpoint(self) -> Path:
        """Where it is mounted."""
        return self.root / "mount"

    @property
    def upper(self) -> Path:
        """Its writable backing directory, where it has one."""
        return self.root / "upper"

    @property
    def lower(self) -> Path:
        """An empty read-only layer for those that want one."""
        return self.root / "lower"

    @property
    def work(self) -> Path:
        """The work directory of overlay file systems."""
        return self.root / "work"

    def make(self) -> None:
        """Make all of them."""
        for path in (self.mountpoint, self.upper, self.lower, self.work):
            path.mkdir(parents=True)


class Asked(Enum):
    """When a system takes part in a run that does not name its systems."""

    ALWAYS = "always"
    IN_FULL = "in a full run"
    BY_NAME = "never"


@dataclass(frozen=True, slots=True)
class System:
    """A file system to measure. `command` starts its daemon; None: the kernel serves it.

    `missing` says why it cannot be run here; `excluded` gives, by row, why a row is left out.
    `asked` says when it takes part.
    """

    name: str
    language: str
    missing: Callable[[], str | None]
    command: Callable[[Site], list[str]] | None = None
    mount_kernel: Callable[[Site], list[str]] | None = None
    excluded: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    asked: Asked = Asked.ALWAYS
    layered: bool = False
    """It writes over what a read-only layer holds."""


@dataclass(slots=True)
class Mounted:
    """A running system; work is done below `directory`; `pid` is its daemon's, if any."""

    system: System
    site: Site
    directory: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The daemon's process id; None when the kernel serves it."""
        return self.process.pid if self.process else None

    def requests(self) -> dict[str, int]:
        """Return how many requests of each kind vfsd answered so far; empty for the others.

        Raises `RowFailedError` if vfsd does not tell.
        """
        if self.system.language != "vfsd":
            return {}
        done = subprocess.run(
            [sys.executable, "-m", "vfsd", "status", "--json", str(self.directory)],
            cwd=REPOSITORY,
            capture_output=True,
            check=False,
            timeout=30,
        )
        if done.returncode:
            raise RowFailedError(f"vfsd status: {done.stderr.decode(errors='replace').strip()}")
        return find_requests(json.loads(done.stdout))


def find_requests(status: object) -> dict[str, int]:
    """Return the `requests` object wherever it stands in what `vfsd status --json` printed."""
    if isinstance(status, dict):
        requests = status.get("requests")
        if isinstance(requests, dict):
            return {kind: count for kind, count in requests.items() if isinstance(count, int)}
        status = list(status.values())
    if isinstance(status, list):
        for part in status:
            if found := find_requests(part):
                return found
    return {}


@contextmanager
def running(
    system: System, root: Path, placement: Placement, lay: Callable[[Path], None] | None = None
) -> Iterator[Mounted]:
    """Start `system` with its directories below `root`; stop and unmount it on every way out.

    `lay` fills a directory with what is to be in its read-only layer. Raises `StartError` when
    it does not come up.
    """
    site = Site(root)
    site.make()
    if system.layered and lay is not None:
        lay(site.lower)
    if system.command is None and system.mount_kernel is None:
        yield Mounted(system, site, site.upper)
        return
    process = None
    try:
        if system.command:
            process = _start(system.command(site), site, placement)
        elif system.mount_kernel:
            done = subprocess.run(system.mount_kernel(site), capture_output=True, check=False)
            if done.returncode:
                raise StartError(done.stderr.decode(errors="replace").strip())
        _wait_until_mounted(site, process)
        yield Mounted(system, site, site.mountpoint, process)
    finally:
        _stop(site, process)


def _start(command: list[str], site: Site, placement: Placement) -> subprocess.Popen[bytes]:
    ours = os.sched_getaffinity(0)
    # Inherited by the daemon and every thread it will start.
    os.sched_setaffinity(0, placement.daemon)
    try:
        with open(site.root / "log", "wb") as log:
            # A session of its own: Ctrl-C must reach the benchmark, which then unmounts.
            return subprocess.Popen(
                command,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    finally:
        os.sched_setaffinity(0, ours)


def is_mounted(path: Path) -> bool:
    """Say whether something is mounted exactly there, without asking what is mounted."""
    wanted = str(path)
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        return any(line.split()[4] == wanted for line in table)


def _wait_until_mounted(site: Site, process: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process and process.poll() is not None:
            break
        if is_mounted(site.mountpoint):
            # Blocks until the daemon answers: the mount may be there before it serves.
            os.statvfs(site.mountpoint)
            return
        time.sleep(0.02)
    lines = (site.root / "log").read_text(errors="replace").strip().splitlines()
    raise StartError(lines[-1] if lines else f"nothing said in {START_SECONDS:.0f} s")


def _stop(site: Site, process: subprocess.Popen[bytes] | None) -> None:
    unmount = ["umount"] if os.geteuid() == 0 else ["fusermount3", "-u"]
    deadline = time.monotonic() + STOP_SECONDS
    while is_mounted(site.mountpoint) and time.monotonic() < deadline:
        # Busy for a moment is usual: a process that worked there is still ending.
        done = subprocess.run([*unmount, str(site.mountpoint)], capture_output=True, check=False)
        if done.returncode:
            time.sleep(0.1)
    if process:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if is_mounted(site.mountpoint):
        lazy = [*unmount, "-l" if unmount[0] == "umount" else "-z", str(site.mountpoint)]
        subprocess.run(lazy, capture_output=True, check=False)
