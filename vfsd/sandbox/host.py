"""What a sandbox needs to know of this machine: its root directory, its bwrap.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import os

from vfsd.blocks import suppress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.spec import ETC_ALWAYS, ETC_COPIED, ETC_NETWORK, PROC_EMPTIED, Root

TOP_NAMES = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
COPY_LIMIT_BYTES = 1 << 20


def look_at_root() -> Root:
    """Return what the root directory has around /usr."""
    links = {}
    directories = []
    for name in TOP_NAMES:
        if os.path.islink(name):
            links[name] = os.readlink(name)
        elif os.path.isdir(name):
            directories.append(name)
    etc = tuple(name for name in (*ETC_ALWAYS, *ETC_NETWORK) if os.path.exists(name))
    copies = {}
    for name in ETC_COPIED:
        with suppress(OSError), open(name, "rb") as source:
            copies[name] = source.read(COPY_LIMIT_BYTES)
    proc = tuple(name for name in PROC_EMPTIED if os.path.exists(name))
    return Root(links, tuple(directories), etc, copies, proc)


def find_bwrap() -> str:
    """Return bwrap's path. UserError (125) if there is none."""
    # Not shutil.which: importing shutil takes longer than all that is done here.
    for directory in os.environ.get("PATH", os.defpath).split(":"):
        candidate = os.path.join(directory, "bwrap")
        absolute = directory.startswith("/")
        if absolute and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise UserError(
        "bwrap is missing; 'apt-get install bubblewrap' as root brings it", ExitCode.RUN_FAILED
    )
