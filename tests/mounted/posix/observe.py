"""What a case sees, as plain JSON values, so that two file systems can be compared.

A case returns a dict; each value is an outcome (a value, ``"ok"`` or an errno's name). What
may differ between two healthy file systems (inode numbers, sizes of directories, clocks) is
never part of one.

Concurrency: each case runs in a process of its own.
"""

import errno
import json
import os
import stat
import time

TICK_SECONDS = 0.012
"""Longer than a tick of the coarse clock that stamps files (4 ms at 250 Hz, 10 at 100)."""

LONG_AGO_NS = 1_000_000_000_000_000_000

CASES = {}


def case(function=None, *, root=False):
    """Make a function ``fn(directory) -> dict`` a case; `root`: it needs to be root."""
    if function is None:
        return lambda inner: case(inner, root=root)
    name = f"{function.__module__.rpartition('.')[2]}_{function.__name__}"
    assert name not in CASES, name
    CASES[name] = function
    function.root = root
    return function


def outcome(function, *arguments, **keywords):
    """Call, and return what came out: the value, ``"ok"`` for None, or the errno's name."""
    try:
        value = function(*arguments, **keywords)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "ok" if value is None else plain(value)


def plain(value):
    if isinstance(value, bytes):
        return value.decode("latin-1") if len(value) <= 256 else f"{len(value)} bytes"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return value


def opened(path, flags, mode=0o644, then=None):
    """Return the outcome of open, and of `then(fd)` if it worked; the fd is closed."""

    def act():
        fd = os.open(path, flags, mode)
        try:
            return None if then is None else then(fd)
        finally:
            os.close(fd)

    return outcome(act)


def write_file(path, data=b"", mode=0o644):
    """Make or replace a file, with exactly `mode`."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def read_file(path):
    with open(path, "rb", buffering=0) as file:
        return file.read()


def shape(path):
    """Return the attributes of `path` that any two file systems share."""
    return shape_of(os.lstat(path))


def shape_of(found):
    kind = stat.S_IFMT(found.st_mode)
    names = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "directory",
        stat.S_IFLNK: "symlink",
        stat.S_IFIFO: "fifo",
        stat.S_IFSOCK: "socket",
        stat.S_IFCHR: "char",
        stat.S_IFBLK: "block",
    }
    return {
        "kind": names[kind],
        "mode": oct(stat.S_IMODE(found.st_mode)),
        "links": found.st_nlink,
        "owner": [found.st_uid, found.st_gid],
        "size": None if kind == stat.S_IFDIR else found.st_size,
        "rdev": found.st_rdev,
    }


def moved_times(paths, act):
    """Run `act` and return, per path, which of mtime and ctime it moved, and its outcome.

    A path that is gone afterwards is reported as such; an int is an open fd.
    """
    for path in paths:
        if isinstance(path, int):
            os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
        else:
            os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS), follow_symlinks=False)
    before = [_times(path) for path in paths]
    time.sleep(TICK_SECONDS)
    result = {"outcome": outcome(act)}
    for path, old in zip(paths, before, strict=True):
        try:
            new = _times(path)
        except FileNotFoundError:
            result[os.path.basename(path)] = "gone"
            continue
        moved = [name for name in old if new[name] != old[name]]
        assert all(new[name] > old[name] for name in moved), (old, new)
        result["fd" if isinstance(path, int) else os.path.basename(path)] = moved
    return result


def _times(path):
    found = os.fstat(path) if isinstance(path, int) else os.lstat(path)
    return {"mtime": found.st_mtime_ns, "ctime": found.st_ctime_ns}


def as_user(act, uid=54321, gid=54322, groups=()):
    """Run `act` in a child that is an ordinary user, and return what it returned."""

    def become():
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)

    return in_child(act, become)


def in_child(act, before=lambda: None):
    """Run `before` and `act` in a child process, and return what `act` returned."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            before()
            os.write(writer, json.dumps(act()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child failed with wait status {status}"
    return json.loads(answer)
