"""Typing into an interactive bash on a terminal, to see what its completion really does."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

SECONDS_MAX = 30


def typed_into_bash(typed: str, *, setup: Path, cwd: Path) -> str:
    """Return what bash printed once the commands in `typed`, with tabs, were carried out.

    `vfsd` is a function that prints its arguments, each in angle brackets.
    """
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), "TERM": "dumb", "INPUTRC": "/dev/null"},
        start_new_session=True,
    ) as child:
        os.close(terminal)
        prepare = f"PS1=; source {setup}; vfsd() {{ printf '<%s>' \"$@\"; echo; }}; echo re''ady\n"
        os.write(controller, prepare.encode())
        said = _until(controller, "ready\r\n")
        os.write(controller, typed.encode() + b"echo do''ne\n")
        said = _until(controller, "done\r\n")
        os.write(controller, b"exit\n")
        child.wait(SECONDS_MAX)
    os.close(controller)
    return said


def _until(controller: int, end: str) -> str:
    said, deadline = "", time.monotonic() + SECONDS_MAX
    while end not in said:
        assert time.monotonic() < deadline, said
        if select.select([controller], [], [], 1)[0]:
            said += os.read(controller, 65536).decode(errors="replace")
    return said
