"""Running the `vfsd` command as a user does, in a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: bytes
    err: str


def vfsd(*words: str | bytes | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Done:
    """Run `vfsd WORDS` in `cwd`; the store is there, too, unless `env` says otherwise."""
    surroundings = {**os.environ, "XDG_STATE_HOME": str(cwd / "state"), **(env or {})}
    done = subprocess.run(
        [sys.executable, "-m", "vfsd", *words],
        cwd=cwd,
        env=surroundings,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        check=False,
        timeout=120,
    )
    return Done(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def on_a_terminal(*words: str | bytes, cwd: Path, env: Mapping[str, str]) -> bytes:
    """Run `vfsd WORDS` with a terminal as its output, and return what that got."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "vfsd", *words],
        cwd=cwd,
        env={**os.environ, "TERM": "xterm", **env},
        stdin=subprocess.DEVNULL,
        stdout=terminal,
    ) as child:
        os.close(terminal)
        got = b""
        try:
            while more := os.read(controller, 1 << 16):
                got += more
        except OSError:  # EIO: the other side is closed
            pass
        os.close(controller)
    assert child.returncode == 0
    return got
