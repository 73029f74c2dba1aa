"""Cases of times: which call moves which, and setting them."""

import os

from tests.mounted.posix.observe import LONG_AGO_NS, case, moved_times, outcome, write_file
from tests.mounted.posix.syscalls import (
    AT_SYMLINK_NOFOLLOW,
    EXCHANGE,
    UTIME_NOW,
    UTIME_OMIT,
    renameat2,
    utimensat,
)


@case
def making(d):
    os.mkdir(d / "p")
    parent = [d / "p"]
    write_file(d / "outside")
    return {
        "create": moved_times(parent, lambda: write_file(d / "p" / "f")),
        "open existing": moved_times(
            [*parent, d / "p" / "f"],
            lambda: os.close(os.open(d / "p" / "f", os.O_RDWR | os.O_CREAT)),
        ),
        "mkdir": moved_times(parent, lambda: os.mkdir(d / "p" / "d")),
        "symlink": moved_times(parent, lambda: os.symlink("x", d / "p" / "l")),
        "mkfifo": moved_times(parent, lambda: os.mkfifo(d / "p" / "q")),
        "link": moved_times(
            [*parent, d / "outside", d], lambda: os.link(d / "outside", d / "p" / "h")
        ),
        "failed mkdir": moved_times(parent, lambda: os.mkdir(d / "p" / "f")),
    }


@case
def removing(d):
    os.makedirs(d / "p" / "d")
    write_file(d / "p" / "f")
    write_file(d / "p" / "g")
    os.link(d / "p" / "g", d / "h")
    fd = os.open(d / "p" / "f", os.O_RDONLY)
    seen = {
        "unlink": moved_times([d / "p", fd], lambda: os.unlink(d / "p" / "f")),
        "unlink one of two": moved_times([d / "p", d / "h"], lambda: os.unlink(d / "p" / "g")),
        "rmdir": moved_times([d, d / "p"], lambda: os.rmdir(d / "p" / "d")),
        "failed unlink": moved_times([d / "p"], lambda: os.unlink(d / "p" / "x")),
        "failed rmdir": moved_times([d, d / "p"], lambda: os.rmdir(d / "h")),
    }
    os.close(fd)
    return seen


@case
def renaming(d):
    os.mkdir(d / "p")
    os.makedirs(d / "q" / "sub")
    write_file(d / "p" / "f")
    write_file(d / "p" / "g")
    p, q = d / "p", d / "q"
    fd = os.open(p / "g", os.O_RDONLY)
    seen = {
        "within": moved_times([p, p / "f"], lambda: os.rename(p / "f", p / "e")),
        "file across": moved_times([p, q, d], lambda: os.rename(p / "e", q / "e")),
        "directory across": moved_times([p, q], lambda: os.rename(q / "sub", p / "sub")),
        "replacing": moved_times([p, q, fd], lambda: os.rename(q / "e", p / "g")),
        "exchange": moved_times([p, q], lambda: renameat2(p / "g", p / "sub", EXCHANGE)),
        "same": moved_times([p, p / "g"], lambda: os.rename(p / "g", p / "g")),
        "failed": moved_times([p], lambda: os.rename(p / "x", p / "y")),
    }
    os.close(fd)
    fd = os.open(p / "sub", os.O_RDONLY)
    seen["the moved one"] = moved_times([fd], lambda: os.rename(p / "sub", p / "moved"))
    os.close(fd)
    return seen


@case
def data(d):
    write_file(d / "f", b"0123456789")
    f = d / "f"
    fd = os.open(f, os.O_RDWR)
    seen = {
        "write": moved_times([f, d], lambda: os.pwrite(fd, b"x", 0)),
        "append": moved_times([f], lambda: os.pwrite(fd, b"x", 50)),
        "empty write": moved_times([f], lambda: os.pwrite(fd, b"", 0)),
        "read": moved_times([f], lambda: os.pread(fd, 5, 0)),
        "truncate": moved_times([f], lambda: os.truncate(f, 5)),
        "truncate same": moved_times([f], lambda: os.truncate(f, 5)),
        "ftruncate same": moved_times([f], lambda: os.ftruncate(fd, 5)),
        "extend": moved_times([f], lambda: os.ftruncate(fd, 500)),
        "open trunc": moved_times([f], lambda: os.close(os.open(f, os.O_WRONLY | os.O_TRUNC))),
        "open trunc empty": moved_times(
            [f], lambda: os.close(os.open(f, os.O_WRONLY | os.O_TRUNC))
        ),
        "fsync": moved_times([f], lambda: os.fsync(fd)),
    }
    os.close(fd)
    return seen


@case
def attributes(d):
    write_file(d / "f")
    os.mkdir(d / "d")
    os.symlink("f", d / "l")
    uid, gid = os.getuid(), os.getgid()
    seen = {}
    for name in ("f", "d"):
        path = d / name
        seen[name] = [
            moved_times([path, d], lambda p=path: os.chmod(p, 0o700)),
            moved_times([path], lambda p=path: os.chmod(p, 0o700)),
            moved_times([path], lambda p=path: os.chown(p, uid, gid)),
            moved_times([path], lambda p=path: os.chown(p, -1, -1)),
            moved_times([path], lambda p=path: os.utime(p, ns=(5, LONG_AGO_NS))),
            moved_times([path], lambda p=path: os.stat(p).st_size),
            moved_times([path], lambda p=path: os.access(p, os.R_OK)),
        ]
    seen["l"] = [
        moved_times([d / "l", d / "f"], lambda: os.lchown(d / "l", uid, gid)),
        moved_times([d / "l"], lambda: os.readlink(d / "l")),
        moved_times([d / "d"], lambda: os.listdir(d / "d")),
    ]
    return seen


@case
def setting(d):
    write_file(d / "f")
    os.symlink("f", d / "l")

    def now(path):
        found = os.lstat(path)
        return [found.st_atime_ns, found.st_mtime_ns]

    seen = {}
    for atime, mtime in ((0, 0), (1, 999_999_999), (LONG_AGO_NS + 1, 4_000_000_000_123_456_789)):
        os.utime(d / "f", ns=(atime, mtime))
        seen[f"{atime} {mtime}"] = now(d / "f")
    for ns in (-1, -1_000_000_001):
        seen[f"before 1970: {ns}"] = [outcome(os.utime, d / "f", ns=(ns, ns)), now(d / "f")]
    os.utime(d / "f", ns=(10, 20))
    seen["omit atime"] = [utimensat(d / "f", (0, UTIME_OMIT), (7, 8)), now(d / "f")]
    seen["omit mtime"] = [utimensat(d / "f", (9, 9), (0, UTIME_OMIT)), now(d / "f")]
    seen["omit both"] = [utimensat(d / "f", (0, UTIME_OMIT), (0, UTIME_OMIT)), now(d / "f")]
    utimensat(d / "f", (0, UTIME_OMIT), (0, UTIME_NOW))
    seen["mtime now"] = [now(d / "f")[0], now(d / "f")[1] > LONG_AGO_NS]
    seen["too many ns"] = outcome(utimensat, d / "f", (0, 1_000_000_000), (0, 0))
    os.utime(d / "f", ns=(1, 2))
    utimensat(d / "l", (3, 0), (4, 0), AT_SYMLINK_NOFOLLOW)
    seen["link"] = [now(d / "l"), now(d / "f")]
    os.utime(d / "l", ns=(5, 6))
    seen["through link"] = [now(d / "l")[1], now(d / "f")]  # following a link reads it
    seen["missing"] = outcome(os.utime, d / "x")
    return seen


@case
def new_files_have_one_time(d):
    write_file(d / "f")
    os.mkdir(d / "d")
    os.symlink("x", d / "l")
    seen = {}
    for name in "dl":
        found = os.lstat(d / name)
        seen[name] = found.st_atime_ns == found.st_mtime_ns == found.st_ctime_ns
    return seen
