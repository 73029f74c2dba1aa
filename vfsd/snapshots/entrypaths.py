"""Where an archive's entry may go: a path from the root that leads nowhere else.

What it is *not*: the walk there, in which no symlink is followed either (unpack.py).

Concurrency: pure functions.
"""

from __future__ import annotations

from vfsd.attributes import PATH_MAX
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.quoting import shown


def checked_path(name: bytes) -> bytes:
    """Return the path of an entry from the root, without ``.``. UserError if it leads out."""
    if name.startswith(b"/"):
        raise refused(name, "its name is absolute")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise refused(name, "its name leads out by '..'")
    path = b"/".join(parts)
    if b"\0" in path or len(path) >= PATH_MAX:
        raise refused(name[:80], "its name is too long, or holds a NUL")
    return path


def refused(path: bytes, why: str) -> UserError:
    """Make the error that names an entry and why it is refused."""
    return UserError(f"the archive's {shown(path)} is refused: {why}", ExitCode.DAMAGED)
