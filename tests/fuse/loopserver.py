"""Starts tests/fuse/loopfs.py on a fresh mountpoint, talks to it, and sees that it ends.

What it is *not*: the file system itself (loopfs.py) or what is asserted (test_servingloop*.py).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

PROGRAM = Path(__file__).with_name("loopfs.py")
HANG_S = 60
"""What would hang for ever fails after so long; nothing that works takes a tenth of it."""


class Server:
    """A running loopfs with a control connection."""

    def __init__(
        self,
        loop: str,
        mountpoint: Path,
        process: subprocess.Popen,
        control: socket.socket,
        answers: IO[str],
    ):
        self.loop = loop
        self.mountpoint = mountpoint
        self.process = process
        self._control = control
        self._answers = answers

    def ask(self, word: str = "report") -> dict:
        """Send a word, wait for the answer: the counts at that moment."""
        self._control.sendall(json.dumps(word).encode() + b"\n")
        return json.loads(self._answers.readline())

    def tell(self, word: str) -> None:
        """Send a word that may be the last one; do not wait."""
        self._control.sendall(json.dumps(word).encode() + b"\n")

    def wait(self) -> dict:
        """Wait until serving ended by itself; return how it ended and the final counts."""
        out, errors = self.process.communicate(timeout=HANG_S)
        assert self.process.returncode == 0, errors
        return {**json.loads(out), "errors": errors}

    def finish(self) -> dict:
        """Terminate it and return the final counts."""
        self.tell("terminate")
        return self.wait()


@contextmanager
def serving(tmp_path: Path, loop: str, **settings: object) -> Iterator[Server]:
    """Serve a mount below `tmp_path`; nothing of it is left afterwards, whatever happened."""
    mountpoint, control_path = tmp_path / "mount", tmp_path / "control"
    mountpoint.mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            "-Werror",
            str(PROGRAM),
            str(mountpoint),
            str(control_path),
            json.dumps({"loop": loop, **settings}),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])},
    )
    control = socket.socket(socket.AF_UNIX)
    control.settimeout(HANG_S)
    try:
        while control.connect_ex(str(control_path)) and process.poll() is None:
            pass
        with control.makefile("r") as answers:
            yield Server(loop, mountpoint, process, control, answers)
    finally:
        control.close()
        process.kill()
        process.communicate()
        if os.path.ismount(mountpoint) or _is_stale(mountpoint):
            subprocess.run(["fusermount3", "-u", "-z", str(mountpoint)], check=True)


def _is_stale(mountpoint: Path) -> bool:
    try:
        os.stat(mountpoint)
    except OSError:
        return True
    return False
