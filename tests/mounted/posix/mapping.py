"""Cases of mmap(2): private and shared, and what read and write see of it."""

import errno
import mmap
import os

from tests.mounted.posix.observe import case, in_child, outcome, read_file, write_file


@case
def private(d):
    write_file(d / "f", b"0123456789")
    fd = os.open(d / "f", os.O_RDWR)
    with mmap.mmap(fd, 10, flags=mmap.MAP_PRIVATE) as area:
        area[0:2] = b"XY"
        seen = {"area": area[:].decode(), "file": read_file(d / "f").decode()}
    os.close(fd)
    return seen


@case
def shared(d):
    write_file(d / "f", b"0" * 10_000)
    fd = os.open(d / "f", os.O_RDWR)
    with mmap.mmap(fd, 10_000, flags=mmap.MAP_SHARED) as area:
        area[0:5] = b"first"
        area[9_990:9_995] = b"later"
        area.flush()
        seen = {"read": os.pread(fd, 5, 0).decode()}
        os.pwrite(fd, b"written", 100)
        seen["area"] = area[100:107].decode()
    os.close(fd)
    data = read_file(d / "f")
    return {**seen, "data": [data[:5].decode(), data[9_990:9_995].decode(), len(data)]}


@case
def shared_between_processes(d):
    write_file(d / "f", bytes(4096))
    fd = os.open(d / "f", os.O_RDWR)
    with mmap.mmap(fd, 4096, flags=mmap.MAP_SHARED) as area:

        def child():
            mine = os.open(d / "f", os.O_RDWR)
            with mmap.mmap(mine, 4096, flags=mmap.MAP_SHARED) as other:
                other[10:14] = b"true"
            return "ok"

        seen = {"child": in_child(child), "area": area[10:14].decode()}
    os.close(fd)
    return seen


@case
def outlives_close_and_unlink(d):
    write_file(d / "f", b"still here")
    fd = os.open(d / "f", os.O_RDWR)
    with mmap.mmap(fd, 10, flags=mmap.MAP_SHARED) as area:
        os.close(fd)
        os.unlink(d / "f")
        area[0:1] = b"S"
        return {"area": area[:].decode(), "names": os.listdir(d)}


@case
def reader_cannot_map_writable(d):
    write_file(d / "f", b"data")
    fd = os.open(d / "f", os.O_RDONLY)
    seen = {"shared": outcome(lambda: mmap.mmap(fd, 4, flags=mmap.MAP_SHARED).close())}
    seen["private"] = outcome(lambda: mmap.mmap(fd, 4, flags=mmap.MAP_PRIVATE).close())
    os.close(fd)
    return seen


@case
def extended_under_a_map(d):
    write_file(d / "f", b"a" * 100)
    fd = os.open(d / "f", os.O_RDWR)
    with mmap.mmap(fd, 100, flags=mmap.MAP_SHARED) as area:
        os.ftruncate(fd, 50)
        os.ftruncate(fd, 100)
        seen = {"area": area[40:60].hex(), "read": os.pread(fd, 20, 40).hex()}
    os.close(fd)
    return seen


@case
def executed(d):
    """A program and its private pages run from the file system."""
    with open("/bin/true", "rb") as source:
        write_file(d / "program", source.read(), 0o755)
    return {
        "status": os.waitstatus_to_exitcode(os.spawnv(os.P_WAIT, d / "program", ["program"]) << 8)
    }


@case
def busy_text(d):
    with open("/bin/sleep", "rb") as source:
        write_file(d / "program", source.read(), 0o755)
    pid = os.spawnv(os.P_NOWAIT, d / "program", ["program", "30"])
    while os.readlink(f"/proc/{pid}/exe") != f"{d}/program":
        pass
    seen = {
        "write": outcome(os.open, d / "program", os.O_WRONLY),
        "unlink": outcome(os.unlink, d / "program"),
    }
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return seen


def dirtied(d, flags=os.O_RDWR):
    """Map a file of two pages shared, and change both."""
    write_file(d / "f", b"0" * 8192)
    fd = os.open(d / "f", flags)
    try:
        area = mmap.mmap(fd, 8192, flags=mmap.MAP_SHARED)
    finally:
        os.close(fd)
    area[0:5] = b"first"
    area[8187:8192] = b"later"
    return area


def seen_of(path):
    data = read_file(path)
    return {
        "size": len(data),
        "parts": [data[:5].decode(), data[8187:8192].decode(), data[8192:].decode()],
    }


@case
def written_back_by_an_appender(d):
    """The pages that one process changed go back by the handle of another, which appends."""
    with dirtied(d) as area:

        def append():
            fd = os.open(d / "f", os.O_RDWR | os.O_APPEND)
            try:
                area = mmap.mmap(fd, 4096, flags=mmap.MAP_SHARED)
            except OSError as error:
                return errno.errorcode[error.errno]
            os.write(fd, b"tail")
            os.fsync(fd)
            os.write(fd, b"more")
            area.close()
            return "ok"

        seen = {"child": in_child(append), "area": area[0:5].decode()}
    return {**seen, **seen_of(d / "f")}


@case
def changed_by_an_appender(d):
    try:
        area = dirtied(d, os.O_RDWR | os.O_APPEND)
    except OSError as error:
        return {"map": errno.errorcode[error.errno], **seen_of(d / "f")}
    with area:
        fd = os.open(d / "f", os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"tail")
        area.flush()
        area[0:5] = b"FIRST"
        os.write(fd, b"more")
        area.flush()
        os.close(fd)
    return {"map": "ok", **seen_of(d / "f")}


@case
def written_back_keeps_setuid(d):
    with dirtied(d) as area:
        os.chmod(d / "f", 0o4755)
        area.flush()
    return {"mode": oct(os.stat(d / "f").st_mode), **seen_of(d / "f")}
