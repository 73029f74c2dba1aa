"""A probe of where snapshots are kept: can a layer stand there, with what it has removed?

Concurrency: blocking, see gaps.py. What it makes it removes again.

Source: Linux overlayfs.rst, "whiteouts": a character device 0/0, which an overlayfs does not take.
"""

from __future__ import annotations

import os
import stat
import tempfile

from vfsd import xdg
from vfsd.sandbox.gaps import Gap

ELSEWHERE = f"export {xdg.STATE}=DIR   # a directory of yours on another file system"


def store() -> str:
    """Make a whiteout where the store is, or where it will be made."""
    state = xdg.find(xdg.STATE)
    if state is None:
        raise Gap("there is no home directory to keep snapshots in", ELSEWHERE)
    wanted = there = os.path.join(state, "vfsd", "store")
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    try:
        with tempfile.TemporaryDirectory(prefix=".vfsd-", dir=there) as place:
            os.mknod(os.path.join(place, "whiteout"), stat.S_IFCHR, 0)
    except OSError as error:
        raise Gap(f"no layer can be kept in {there}: {error.strerror}", ELSEWHERE) from None
    return f"layers can be kept in {wanted}"
