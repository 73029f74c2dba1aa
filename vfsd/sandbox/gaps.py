"""What a probe of this machine finds, and the remedies that several of them share.

What it is *not*: the probes (probe.py, probeclosed.py).

Concurrency: blocking; whatever is tried ends within `PROBE_S`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from typing import NamedTuple

PROBE_S = 20.0
SETTINGS = "/proc/sys"


class Finding(NamedTuple):
    """What one probe found."""

    name: str
    works: bool
    detail: str
    """What was found, in a few words."""
    remedy: str = ""
    """The command that mends it; empty where it works."""
    needed: bool = True
    """Whether mounting or running needs it; otherwise vfsd does without."""

    @property
    def status(self) -> str:
        """Return ``ok``, ``missing``, or ``warn`` for a gap that vfsd does without."""
        if self.works:
            return "ok"
        return "missing" if self.needed else "warn"


class Gap(Exception):
    """A probe failed: what was found, and the command that mends it."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy


def find(name: str, needed: bool, probe: Callable[[], str]) -> Finding:
    """Carry out one probe, which returns what it found or raises a gap."""
    try:
        return Finding(name, True, probe(), "", needed)
    except Gap as gap:
        return Finding(name, False, gap.detail, gap.remedy, needed)


def attempt(command: Sequence[str], fds: Sequence[int] = ()) -> str:
    """Run a command; return its last word on stderr if it fails, else nothing."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            pass_fds=fds,
            timeout=PROBE_S,
            check=False,
        )
    except FileNotFoundError:
        return f"{command[0]} is missing"
    except PermissionError:
        return f"{command[0]} may not be started by this user"
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {PROBE_S:g} s"
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    complaints = [line for line in lines if "dmesg" not in line]
    return complaints[-1].strip() if complaints else f"exit code {done.returncode}"


def setting(name: str, settings: str = SETTINGS) -> str:
    try:
        with open(os.path.join(settings, *name.split("."))) as source:
            return source.read().strip()
    except OSError:
        return ""


def version(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def as_root(command: str) -> str:
    return command if os.geteuid() == 0 else f"sudo {command}"


def install(package: str) -> str:
    for tool, words in (("apt-get", "install"), ("dnf", "install"), ("pacman", "-S")):
        if shutil.which(tool):
            return as_root(f"{tool} {words} {package}")
    return as_root(f"apt-get install {package}")


def upgrade() -> str:
    for tool, words in (("apt-get", "full-upgrade"), ("dnf", "upgrade"), ("pacman", "-Syu")):
        if shutil.which(tool):
            return f"{tool} {words}"
    return "apt-get full-upgrade"
