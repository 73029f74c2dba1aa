"""Cases of statvfs(3)."""

import os

from tests.mounted.posix.observe import case, outcome, write_file


@case
def statvfs(d):
    found = os.statvfs(d)
    return {
        "name": found.f_namemax,
        "blocks": 0 < found.f_bavail <= found.f_bfree <= found.f_blocks,
        "files": 0 < found.f_ffree <= found.f_files,
        "unit": found.f_frsize,
        "read-only": bool(found.f_flag & os.ST_RDONLY),
    }


@case
def statvfs_of_what_is_not_there(d):
    return {"missing": outcome(os.statvfs, d / "x")}


@case
def statvfs_follows(d):
    start = os.statvfs(d)
    write_file(d / "f", b"x" * 1_000_000)
    full = os.statvfs(d)
    os.unlink(d / "f")
    end = os.statvfs(d)
    # Others use the oracle's file system as well, so only what is sure is compared.
    return {
        "used": (start.f_bfree - full.f_bfree) * start.f_frsize >= 500_000,
        "freed": (end.f_bfree - full.f_bfree) * start.f_frsize >= 500_000,
    }
