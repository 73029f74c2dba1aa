"""Cases of open(2): flags, what exists, what does not."""

import errno
import os

from tests.mounted.posix.observe import case, opened, outcome, read_file, shape, write_file


@case
def flags_on_missing(d):
    return {
        "read": opened(d / "x", os.O_RDONLY),
        "write": opened(d / "x", os.O_WRONLY),
        "truncate": opened(d / "x", os.O_RDWR | os.O_TRUNC),
        "create": opened(d / "x", os.O_RDONLY | os.O_CREAT, 0o640),
        "made": shape(d / "x"),
        "names": sorted(os.listdir(d)),
    }


@case
def exclusive(d):
    write_file(d / "f", b"data")
    os.mkdir(d / "d")
    os.symlink("nowhere", d / "l")
    new = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    seen = {name: opened(d / name, new | os.O_TRUNC) for name in ("f", "d", "l", "new")}
    return {**seen, "data": read_file(d / "f").decode(), "names": sorted(os.listdir(d))}


@case
def create_through_symlink(d):
    os.symlink("made", d / "l")
    os.symlink("nodir/made", d / "m")
    return {
        "dangling": opened(d / "l", os.O_WRONLY | os.O_CREAT),
        "no directory": opened(d / "m", os.O_WRONLY | os.O_CREAT),
        "names": sorted(os.listdir(d)),
    }


@case
def directories(d):
    os.mkdir(d / "d")
    write_file(d / "f")
    os.symlink("d", d / "l")
    return {
        "read": opened(d / "d", os.O_RDONLY),
        "write": opened(d / "d", os.O_WRONLY),
        "create": opened(d / "d", os.O_RDONLY | os.O_CREAT),
        "directory": opened(d / "d", os.O_RDONLY | os.O_DIRECTORY),
        "file as directory": opened(d / "f", os.O_RDONLY | os.O_DIRECTORY),
        "link as directory": opened(d / "l", os.O_RDONLY | os.O_DIRECTORY),
        "nofollow": opened(d / "l", os.O_RDONLY | os.O_NOFOLLOW),
        "slash after file": opened(f"{d}/f/", os.O_RDONLY),
        "below file": opened(d / "f" / "x", os.O_RDONLY | os.O_CREAT),
        "create with slash": opened(f"{d}/new/", os.O_WRONLY | os.O_CREAT),
        "read(2)": opened(d / "d", os.O_RDONLY, then=lambda fd: os.read(fd, 1)),
        "path only": opened(
            d / "l", os.O_PATH | os.O_NOFOLLOW, then=lambda fd: os.fstat(fd).st_size
        ),
    }


@case
def truncate_flag(d):
    write_file(d / "f", b"data")
    seen = {
        "outcome": opened(d / "f", os.O_WRONLY | os.O_TRUNC, then=lambda fd: os.fstat(fd).st_size),
        "after": read_file(d / "f").decode(),
    }
    write_file(d / "g", b"data")
    seen["create and truncate"] = opened(d / "g", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    seen["g"] = shape(d / "g")
    return seen


@case
def access_modes(d):
    write_file(d / "f", b"data")
    return {
        "write to reader": opened(d / "f", os.O_RDONLY, then=lambda fd: os.write(fd, b"x")),
        "read from writer": opened(d / "f", os.O_WRONLY, then=lambda fd: os.read(fd, 1)),
        "truncate reader": opened(d / "f", os.O_RDONLY, then=lambda fd: os.ftruncate(fd, 0)),
        "data": read_file(d / "f").decode(),
    }


@case
def nameless_file(d):
    """O_TMPFILE; a file system may go without it."""
    seen = opened(d, os.O_TMPFILE | os.O_RDWR, 0o600, then=lambda fd: os.fstat(fd).st_nlink)
    return {"outcome": seen, "names": os.listdir(d)}


@case
def same_file_many_times(d):
    write_file(d / "f", b"data")
    fds = [os.open(d / "f", os.O_RDWR) for _ in range(200)]
    os.write(fds[0], b"DATA")
    seen = {os.pread(fd, 10, 0).decode() for fd in fds}
    for fd in fds:
        os.close(fd)
    return {"seen": sorted(seen), "bad": outcome(os.close, fds[0]) == errno.errorcode[errno.EBADF]}
