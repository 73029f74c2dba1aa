"""What a sandbox needs to know of this machine: its root directory, its bwrap, its user.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import os
import shutil

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.spec import ETC_ALWAYS, ETC_NETWORK, Root

TOP_NAMES = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


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
    return Root(links, tuple(directories), etc)


def find_bwrap() -> str:
    """Return bwrap's path. UserError if there is none."""
    found = shutil.which("bwrap")
    if found is None:
        raise UserError(
            "bwrap is missing; 'apt-get install bubblewrap' as root brings it",
            ExitCode.RUN_FAILED,
        )
    return found
