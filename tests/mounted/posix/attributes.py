"""Cases of chmod, chown and truncation as root: bits that go and bits that stay."""

import os

from tests.mounted.posix.observe import (
    as_user,
    case,
    in_child,
    moved_times,
    opened,
    outcome,
    shape,
    write_file,
)


@case
def chmod(d):
    write_file(d / "f")
    os.mkdir(d / "d")
    os.symlink("f", d / "l")
    seen = {}
    for mode in (0, 0o777, 0o644, 0o4755, 0o2711, 0o1777, 0o7777):
        for name in "fd":
            os.chmod(d / name, mode)
            seen[f"{name} {mode:o}"] = shape(d / name)["mode"]
    os.chmod(d / "l", 0o600)
    seen["through link"] = [shape(d / "f")["mode"], shape(d / "l")["mode"]]
    seen["missing"] = outcome(os.chmod, d / "x", 0o600)
    return seen


@case(root=True)
def chown(d):
    write_file(d / "f")
    os.symlink("f", d / "l")
    seen = {}
    for uid, gid in ((1, 2), (-1, 3), (4, -1), (-1, -1), (0, 0), (4294967294, 65534)):
        os.chown(d / "f", uid, gid)
        seen[f"{uid} {gid}"] = shape(d / "f")["owner"]
    os.lchown(d / "l", 7, 8)
    seen["link"] = [shape(d / "l")["owner"], shape(d / "f")["owner"]]
    os.chown(d / "l", 9, 10)
    seen["through link"] = [shape(d / "l")["owner"], shape(d / "f")["owner"]]
    return seen


@case(root=True)
def chown_drops_set_ids(d):
    seen = {}
    os.mkdir(d / "d")
    write_file(d / "f")
    for name in "fd":
        for mode in (0o6755, 0o6745, 0o4644, 0o2644, 0o7777):
            os.chmod(d / name, mode)
            os.chown(d / name, 5, 6)
            seen[f"{name} {mode:o}"] = shape(d / name)["mode"]
            os.chmod(d / name, mode)
            os.chown(d / name, -1, -1)
            seen[f"{name} {mode:o} none"] = shape(d / name)["mode"]
    return seen


@case(root=True)
def write_drops_set_ids_of_users(d):
    seen = {}
    for mode in (0o6777, 0o2666, 0o4666):
        for name, run in (("root", in_child), ("user", as_user)):
            for what, act in (
                ("write", lambda: opened(d / "f", os.O_WRONLY, then=lambda fd: os.write(fd, b"x"))),
                ("truncate", lambda: outcome(os.truncate, d / "f", 1)),
                ("open trunc", lambda: opened(d / "f", os.O_WRONLY | os.O_TRUNC)),
            ):
                write_file(d / "f", b"data", mode)
                result = run(act)
                seen[f"{what} {mode:o} by {name}"] = [result, shape(d / "f")["mode"]]
    return seen


@case
def fd_calls(d):
    write_file(d / "f", b"data")
    fd = os.open(d / "f", os.O_RDWR)
    os.unlink(d / "f")
    seen = {
        "fchmod": outcome(os.fchmod, fd, 0o640),
        "ftruncate": outcome(os.ftruncate, fd, 2),
        "futimes": outcome(os.utime, fd, ns=(1, 2)),
        "mode": oct(os.fstat(fd).st_mode),
        "size": os.fstat(fd).st_size,
        "times": [os.fstat(fd).st_atime_ns, os.fstat(fd).st_mtime_ns],
        "links": os.fstat(fd).st_nlink,
        "ctime": moved_times([fd], lambda: os.fchmod(fd, 0o600)),
    }
    os.close(fd)
    return seen


@case
def inode_numbers(d):
    write_file(d / "f")
    os.mkdir(d / "d")
    number = os.stat(d / "f").st_ino
    fd = os.open(d / "f", os.O_RDONLY)
    seen = {"fstat": os.fstat(fd).st_ino == number}
    os.rename(d / "f", d / "d" / "g")
    seen["renamed"] = os.stat(d / "d" / "g").st_ino == number == os.fstat(fd).st_ino
    os.unlink(d / "d" / "g")
    write_file(d / "f")
    seen["new file"] = os.stat(d / "f").st_ino != number
    seen["unlinked"] = os.fstat(fd).st_ino == number
    os.close(fd)
    seen["device"] = os.stat(d).st_dev == os.stat(d / "d").st_dev
    return seen


@case
def blocks(d):
    write_file(d / "f", b"x" * 100_000)
    found = os.stat(d / "f")
    return {"room": 100_000 <= found.st_blocks * 512 <= 200_000, "unit": found.st_blksize >= 512}
