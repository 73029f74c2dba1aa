"""The kernel's overlayfs over given layers: the oracle for what a chain of layers shows.

Mounted in a child with a mount namespace of its own, which is left alive while it is looked at
through /proc/PID/root; nothing of it is seen elsewhere or left behind.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def overlay(place: Path, lowers: Sequence[Path], upper: Path | None = None) -> Iterator[Path]:
    """Mount `lowers`, top first, at a new directory in `place`; yield where it can be seen."""
    point = place / "overlay"
    point.mkdir()
    options = "userxattr,lowerdir=" + ":".join(map(str, lowers))
    if upper is not None:
        work = place / "overlay-work"
        work.mkdir()
        options += f",upperdir={upper},workdir={work}"
    script = 'mount -t overlay overlay -o "$1" "$2" && echo ready && read -r line'
    child = subprocess.Popen(
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-ec",
            script,
            "sh",
            options,
            point,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin
    assert child.stdout
    try:
        assert child.stdout.readline() == b"ready\n"
        yield Path(f"/proc/{child.pid}/root{os.path.abspath(point)}")
    finally:
        child.stdin.close()
        child.wait()
        child.stdout.close()
        point.rmdir()
