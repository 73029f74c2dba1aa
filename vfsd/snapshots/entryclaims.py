"""What an archive's entry may claim: a path that leads nowhere else, an owner, a time.

What it is *not*: the walk there, in which no symlink is followed either (unpack.py).

Concurrency: pure functions.
"""

from __future__ import annotations

from vfsd.attributes import PATH_MAX, Stat
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.quoting import shown
from vfsd.snapshots.tarformat import TarEntry

ID_MAX = (1 << 32) - 2
_TIME_MAX_NS = 1 << 62


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


def checked_stat(entry: TarEntry, path: bytes) -> Stat:
    """Return the attributes of a new file; UserError for an owner that is none."""
    if not 0 <= entry.uid <= ID_MAX or not 0 <= entry.gid <= ID_MAX:
        raise refused(path, f"there is no owner {entry.uid}:{entry.gid}")
    time_ns = max(-_TIME_MAX_NS, min(entry.mtime_ns, _TIME_MAX_NS))
    return Stat(
        *(entry.mode, 1, entry.uid, entry.gid, 0, entry.size, 0), *(time_ns, time_ns, time_ns)
    )


def refused(path: bytes, why: str) -> UserError:
    """Make the error that names an entry and why it is refused."""
    return UserError(f"the archive's {shown(path)} is refused: {why}", ExitCode.DAMAGED)
