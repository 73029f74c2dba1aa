"""Where a user's own files are: caches, configuration, what lasts, and what lasts for a session.

What it is *not*: the proof that the directory of sockets and runs is closed to all others
(vfsd/runtime.py).

Concurrency: pure, but for the environment. `vfsd run` imports this on its way, so it imports
nothing that costs time.

Source: the XDG base directory specification.
"""

from __future__ import annotations

import os

from vfsd.blocks import suppress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

CACHE = "XDG_CACHE_HOME"
CONFIG = "XDG_CONFIG_HOME"
STATE = "XDG_STATE_HOME"

_BELOW_HOME = {CACHE: ".cache", CONFIG: ".config", STATE: ".local/state"}


def find(variable: str) -> str | None:
    """Return the directory that one of the variables means; None without a home directory.

    It may not exist yet.
    """
    named = os.environ.get(variable, "")
    # The specification has a relative path ignored.
    if named.startswith("/"):
        return named
    home = os.path.expanduser("~")
    return os.path.join(home, _BELOW_HOME[variable]) if home.startswith("/") else None


def need(variable: str, what: str) -> str:
    """Return the same. UserError (USAGE) that says that there is no place to keep `what`."""
    found = find(variable)
    if found is None:
        raise UserError(
            f"there is no home directory to keep {what} in; set {variable}", ExitCode.USAGE
        )
    return found


def runtime_directory() -> str:
    """Return where this user's sockets and runs are; it may not exist yet.

    `$XDG_RUNTIME_DIR` counts only if it is the user's own: sudo leaves it as it was.
    """
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    if named.startswith("/"):
        with suppress(OSError):
            if os.stat(named).st_uid == os.geteuid():
                return os.path.join(named, "vfsd")
    return "/run/vfsd" if os.geteuid() == 0 else f"/tmp/vfsd-{os.geteuid()}"
