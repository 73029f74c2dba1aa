"""A vfsd mount for tests: served by another process, and held to leave nothing behind.

What counts as left behind: an entry in mountinfo, a daemon that still runs or ends with a
failure, a WARNING or ERROR that the test did not expect, and fds that the daemon did not have
when its mount became live.

Sources: proc_pid_mountinfo(5), proc_pid_fd(5), prctl(2) for PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PREFIX = "vfsd-test-"
START_SECONDS = 30
END_SECONDS = 15
PR_SET_PDEATHSIG = 1

_ALARMING = re.compile(r" (WARNING|ERROR|CRITICAL) |^Traceback |^\S*(Warning|Error): ", re.M)
_libc = ctypes.CDLL(None)


class VfsdMount:
    """One `vfsd mount --foreground`; `path` is the mountpoint."""

    def __init__(
        self,
        *options: str,
        expected_logs: tuple[str, ...] = (),
        packages: Path | None = None,
        state: Path | None = None,
    ) -> None:
        """Mount and return when the mount is live.

        `expected_logs` are patterns of lines; the daemon also imports from `packages`, and
        keeps its state in `state` if it is not to be its own.
        """
        # Not below pytest's own directory, which other users may not enter.
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.root.chmod(0o755)
        self.path = self.root / "mount"
        self.expected_logs = list(expected_logs)
        self.log_path = self.root / "log"
        for name in ("mount", "run", "state"):
            (self.root / name).mkdir(mode=0o700)
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "JOURNAL_STREAM"},
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "XDG_STATE_HOME": str(state or self.root / "state"),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "PYTHONPATH": ":".join(
                str(each) for each in (REPOSITORY, packages, os.environ.get("PYTHONPATH")) if each
            ),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vfsd", "mount", str(self.path), *options, "--foreground"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.environment,
            cwd=self.root,
            preexec_fn=_die_with_parent,
        )
        self._log = b""
        try:
            self._wait_live()
        except BaseException:
            self._destroy()
            raise
        self.fds_at_start = self.fd_count()

    def log(self) -> str:
        """Return what the daemon wrote to stderr so far."""
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        while select.select([fd], [], [], 0)[0] and (piece := os.read(fd, 65536)):
            self._log += piece
        return self._log.decode(errors="replace")

    def fd_count(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def vfsd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line against this mount's runtime directory."""
        return subprocess.run(
            [sys.executable, "-m", "vfsd", *arguments],
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def close(self) -> list[str]:
        """Unmount, end, and return a sentence for each thing left behind."""
        left: list[str] = []
        try:
            if self.process.poll() is not None:
                left.append(f"the daemon ended by itself with {self.process.returncode}")
            else:
                left.extend(self._check_fds())
                done = self.vfsd("unmount", str(self.path))
                if done.returncode:
                    left.append(f"vfsd unmount gave {done.returncode}: {done.stderr}")
                else:
                    left.extend(self._check_end())
            left.extend(f"still mounted: {each}" for each in mounts_below(self.root))
            left.extend(f"logged: {line}" for line in self._alarms())
        finally:
            self._destroy()
        return left

    def _wait_live(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        assert self.process.stderr is not None
        while f"vfsd: mounted at {self.path}\n" not in self.log():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the mount did not become live: {self.log()}")
            select.select([self.process.stderr], [], [], 0.1)

    def _check_fds(self) -> list[str]:
        # The kernel sends the last releases after close(2) has returned.
        deadline = time.monotonic() + END_SECONDS
        while (count := self.fd_count()) > self.fds_at_start:
            if time.monotonic() > deadline:
                return [f"the daemon has {count} fds, {self.fds_at_start} at its start"]
            time.sleep(0.02)
        return []

    def _check_end(self) -> list[str]:
        try:
            code = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return [f"the daemon still runs {END_SECONDS} s after vfsd unmount"]
        return [f"the daemon ended with {code}"] if code else []

    def _alarms(self) -> list[str]:
        lines = [line for line in self.log().splitlines() if _ALARMING.search(line)]
        return [
            line
            for line in lines
            if not any(re.search(pattern, line) for pattern in self.expected_logs)
        ]

    def _destroy(self) -> None:
        for point in mounts_below(self.root):
            detach(point)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stderr is not None:
            self.log()
            self.process.stderr.close()
        shutil.rmtree(self.root, ignore_errors=True)


def mounts_below(root: Path) -> list[str]:
    """Return the mountpoints below `root`, the innermost first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        points = [line.split()[4] for line in table]
    return sorted((each for each in points if each.startswith(f"{root}/")), reverse=True)


def detach(point: str) -> None:
    """Take a mount away whatever its state, without touching what is in it."""
    subprocess.run(
        ["fusermount3", "-u", "-z", "--", point], capture_output=True, timeout=30, check=False
    )


def sweep_dead_mounts() -> None:
    """Clear mounts that daemons of earlier test runs left dead; live ones may be another run's."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        lines = [line.split() for line in table]
    temporary = tempfile.gettempdir()
    for fields in lines:
        point = fields[4]
        ours = re.match(rf"{re.escape(temporary)}/({PREFIX}|pytest-of-)", point)
        if ours and any(each.startswith("fuse") for each in fields) and _is_dead(point):
            detach(point)


def _is_dead(point: str) -> bool:
    # In a child with a time limit, since looking at a mount that hangs would hang as well.
    looked = subprocess.run(
        ["timeout", "2", "stat", "--file-system", point],
        capture_output=True,
        text=True,
        check=False,
    )
    return looked.returncode != 0 and "not connected" in looked.stderr


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
