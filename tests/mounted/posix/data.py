"""Cases of data: read, write, append, holes, truncation."""

import fcntl
import os
import random

from tests.mounted.posix.observe import case, in_child, opened, outcome, read_file, write_file
from tests.mounted.posix.syscalls import fallocate


@case
def offsets(d):
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    seen = {
        "write": os.write(fd, b"0123456789"),
        "position": os.lseek(fd, 0, os.SEEK_CUR),
        "pwrite": os.pwrite(fd, b"XY", 4),
        "position after pwrite": os.lseek(fd, 0, os.SEEK_CUR),
        "pread": os.pread(fd, 4, 3).decode(),
        "past the end": os.pread(fd, 4, 10).decode(),
        "far": os.pread(fd, 4, 1 << 50).decode(),
        "negative": outcome(os.lseek, fd, -1, os.SEEK_SET),
        "from the end": os.lseek(fd, -3, os.SEEK_END),
        "read": os.read(fd, 100).decode(),
        "empty write": os.pwrite(fd, b"", 1000),
        "size": os.fstat(fd).st_size,
        "vectors": os.pwritev(fd, [b"ab", b"", b"cd"], 10),
        "whole": read_file(d / "f").decode(),
    }
    os.close(fd)
    return seen


@case
def holes(d):
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, b"a", 0)
    os.pwrite(fd, b"z", 10_000_000)
    data = read_file(d / "f")
    seen = {
        "size": os.fstat(fd).st_size,
        "zeros": data.count(0),
        "sparse": os.fstat(fd).st_blocks * 512 < 1_000_000,
        "data from 0": outcome(os.lseek, fd, 0, os.SEEK_DATA),
        "hole at the end": outcome(os.lseek, fd, 10_000_000, os.SEEK_HOLE),
        "data past the end": outcome(os.lseek, fd, 20_000_000, os.SEEK_DATA),
        "hole past the end": outcome(os.lseek, fd, 20_000_000, os.SEEK_HOLE),
    }
    os.close(fd)
    return seen


@case
def far_out(d):
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    seen = {
        "1 TiB": outcome(os.pwrite, fd, b"end", 1 << 40),
        "size": os.fstat(fd).st_size,
        "there": os.pread(fd, 10, (1 << 40) - 2).hex(),
        "cheap": os.fstat(fd).st_blocks * 512 <= 1 << 21,
        "shrunk": outcome(os.ftruncate, fd, 5),
        "data": read_file(d / "f").hex(),
        "past the largest offset": outcome(os.pwrite, fd, b"x", (1 << 63) - 1),
    }
    os.close(fd)
    return seen


@case
def truncation(d):
    write_file(d / "f", b"0123456789")
    seen = {}
    for size in (20, 5, 5, 0, 3, 70_000, 1):
        seen[f"to {size}"] = outcome(os.truncate, d / "f", size)
        data = read_file(d / "f")
        seen[f"after {size}"] = [len(data), data.rstrip(b"\0").decode()]
    seen["negative"] = opened(d / "f", os.O_RDWR, then=lambda fd: os.ftruncate(fd, -1))
    os.mkdir(d / "d")
    seen["directory"] = outcome(os.truncate, d / "d", 0)
    seen["missing"] = outcome(os.truncate, d / "x", 0)
    return seen


@case
def append_by_two_fds(d):
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    one, two = os.open(d / "f", flags), os.open(d / "f", flags)
    for number in range(5):
        os.write(one, b"a%d" % number)
        os.write(two, b"b%d" % number)
    seen = {"pwrite": os.pwrite(one, b"END", 0), "position": os.lseek(two, 0, os.SEEK_CUR)}
    os.truncate(d / "f", 4)
    os.write(two, b"cut")
    os.close(one)
    os.close(two)
    return {**seen, "data": read_file(d / "f").decode()}


@case
def append_by_two_processes(d):
    """No line is lost or torn, whoever comes first."""
    lines = 300
    go_reader, go_writer = os.pipe()
    children = []
    for letter in (b"a", b"b"):
        pid = os.fork()
        if pid == 0:
            os.close(go_writer)
            os.read(go_reader, 1)
            fd = os.open(d / "f", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for _ in range(lines):
                os.write(fd, letter * 99 + b"\n")
            os._exit(0)
        children.append(pid)
    os.close(go_writer)
    os.close(go_reader)
    statuses = [os.waitpid(pid, 0)[1] for pid in children]
    found = read_file(d / "f").splitlines()
    whole = [line for line in found if line in (b"a" * 99, b"b" * 99)]
    return {"statuses": statuses, "lines": len(found), "whole": len(whole)}


@case
def random_writes(d):
    chance = random.Random(11)
    expected = bytearray(400_000)
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    for _ in range(100):
        offset, size = chance.randrange(300_000), chance.choice((1, 100, 4096, 90_000))
        piece = chance.randbytes(size)
        expected[offset : offset + size] = piece
        os.pwrite(fd, piece, offset)
    size = os.fstat(fd).st_size
    os.close(fd)
    return {"size": size, "right": read_file(d / "f") == bytes(expected[:size])}


@case
def shared_position(d):
    """dup and fork share the file position."""
    write_file(d / "f", b"0123456789")
    fd = os.open(d / "f", os.O_RDONLY)
    other = os.dup(fd)
    seen = {"one": os.read(fd, 3).decode(), "two": os.read(other, 3).decode()}
    seen["child"] = in_child(lambda: os.read(fd, 2).decode())
    seen["parent"] = os.read(fd, 10).decode()
    os.close(other)
    os.close(fd)
    return seen


@case
def direct_io(d):
    """O_DIRECT may be refused, but data is never wrong."""
    write_file(d / "f", b"x" * 8192)
    result = opened(d / "f", os.O_RDONLY | os.O_DIRECT)
    return {"outcome": result in ("ok", "EINVAL"), "data": len(read_file(d / "f"))}


@case
def preallocation(d):
    """fallocate is there, or refused without harm."""
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"data")
    seen = {"allocate": outcome(fallocate, fd, 0, 0, 8192), "size": os.fstat(fd).st_size}
    seen["keep size"] = outcome(fallocate, fd, 1, 0, 65536)
    seen["punch"] = outcome(fallocate, fd, 3, 0, 2)
    seen["data"] = os.pread(fd, 4, 0).hex()
    seen["posix"] = outcome(os.posix_fallocate, fd, 0, 20_000)
    seen["size then"] = os.fstat(fd).st_size
    os.close(fd)
    return seen


@case
def copying(d):
    write_file(d / "f", bytes(range(256)) * 1000)
    source, target = os.open(d / "f", os.O_RDONLY), os.open(d / "g", os.O_RDWR | os.O_CREAT)
    sent = 0
    while count := os.sendfile(target, source, sent, 100_000):
        sent += count
    copied = os.copy_file_range(source, target, 1000, 0, 500)
    seen = {"sent": sent, "copied": copied, "right": os.pread(target, 500, 500) != b""}
    seen["same"] = read_file(d / "g")[1000:] == read_file(d / "f")[1000:]
    os.close(source)
    os.close(target)
    return seen


@case
def syncing(d):
    fd = os.open(d / "f", os.O_RDWR | os.O_CREAT)
    os.write(fd, b"data")
    seen = {"fsync": outcome(os.fsync, fd), "fdatasync": outcome(os.fdatasync, fd)}
    seen["pipe flags"] = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    os.close(fd)
    directory = os.open(d, os.O_RDONLY)
    seen["directory"] = outcome(os.fsync, directory)
    os.close(directory)
    return seen
