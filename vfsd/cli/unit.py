"""The unit of `vfsd service`: where its text is, what it becomes for this installation.

Concurrency: short blocking calls.

Source: systemd.unit(5), "unit file load path"; systemd.service(5), "command lines".
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from vfsd import xdg
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

NAME = "vfsd@.service"
INSTALLED = "/usr/local/bin/vfsd"
"""The command in the text as it is shipped."""


def text() -> str:
    """Return the unit for this installation of vfsd. UserError if it was not shipped."""
    here = Path(__file__).resolve().parent.parent
    # In a wheel it lies beside the code, in a checkout above it.
    for path in (here / "systemd" / NAME, here.parent / "systemd" / NAME):
        if path.exists():
            return path.read_text().replace(INSTALLED, command())
    raise UserError(f"this installation has no {NAME}; install vfsd again", ExitCode.UNAVAILABLE)


def command() -> str:
    """Return the command line that runs this vfsd, as a unit has to write it."""
    program = os.path.abspath(sys.argv[0])
    if os.path.basename(program) == "__main__.py":
        return f"{_quoted(sys.executable)} -m vfsd"
    return _quoted(program)


def directory() -> Path:
    """Return where this user's own units are; it may not exist yet."""
    return Path(xdg.need(xdg.CONFIG, "units"), "systemd", "user")


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != path or " " in path else path
