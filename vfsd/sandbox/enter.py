"""The same as enter.c, in Python, for an installation without the compiled program.

A script that stands alone: `python3 -I -S enter.py STATUS PLACE UPPER LOWER... -- PROGRAM ...`,
see enter.c for what it does and why. It takes 10 ms longer to start, most of it Python's own.

Concurrency: one thread, which a user namespace requires.

Sources: as for enter.c.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

CLONE_NEWNS, CLONE_NEWUSER = 0x0002_0000, 0x1000_0000
MS_NOSUID, MS_NODEV = 2, 4
NAMESPACE, OPEN_LOWER, PLACE_TMPFS, MAKE_DIRECTORIES, MOUNT_OVERLAY, START = range(1, 7)
OPTIONS_BYTES = 4096

libc = ctypes.CDLL(None, use_errno=True)


def _called(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _mount(source: str, target: str, kind: str, options: str) -> None:
    flags = ctypes.c_ulong(MS_NOSUID | MS_NODEV)
    words = [os.fsencode(word) for word in (source, target, kind)]
    _called(libc.mount(*words, flags, os.fsencode(options)))


def _unshare() -> None:
    _called(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))


def _enter_as_user() -> None:
    uid, gid = os.geteuid(), os.getegid()
    _unshare()
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1\n"),
        ("gid_map", f"{gid} {gid} 1\n"),
    ):
        with open(f"/proc/self/{name}", "w") as target:
            target.write(text)


def _enter_as_root() -> None:
    pid = os.getpid()
    reader, writer = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        code = 1
        try:
            os.close(writer)
            if os.read(reader, 1):
                for name in ("uid_map", "gid_map"):
                    with open(f"/proc/self/{name}") as known:
                        rows = [line.split() for line in known]
                    lines = "".join(f"{inside} {inside} {count}\n" for inside, _, count in rows)
                    with open(f"/proc/{pid}/{name}", "w") as target:
                        target.write(lines)
                code = 0
        finally:
            os._exit(code)
    os.close(reader)
    try:
        _unshare()
        os.write(writer, b"-")
    finally:
        os.close(writer)
        _, outcome = os.waitpid(mapper, 0)
    if outcome:
        raise PermissionError(errno.EPERM, "the ids cannot be mapped")


def _make_directories(place: str, below: os.stat_result) -> None:
    os.chdir(place)
    made = not os.path.isdir("tree")
    for name in ("tree", "work", "merged"):
        with suppress(FileExistsError):
            os.mkdir(name, 0o755)
    if made:
        os.chmod("tree", below.st_mode & 0o7777)
        os.utime("tree", ns=(below.st_atime_ns, below.st_mtime_ns))


def main(arguments: Sequence[str]) -> NoReturn:
    """Mount and start, or tell on the status fd what failed and end with 125."""
    status, place, upper, *rest = arguments
    lowers, words = rest[: rest.index("--")], rest[rest.index("--") + 1 :]
    step = NAMESPACE
    try:
        _enter_as_root() if os.geteuid() == 0 else _enter_as_user()
        step = OPEN_LOWER
        fds = [os.open(lower, os.O_PATH | os.O_DIRECTORY) for lower in lowers]
        step = PLACE_TMPFS
        if upper != "directory":
            _mount("tmpfs", place, "tmpfs", upper)
        step = MAKE_DIRECTORIES
        _make_directories(place, os.fstat(fds[0]))
        step = MOUNT_OVERLAY
        options = "upperdir=tree,workdir=work,userxattr"
        options += ",volatile" if upper == "directory" else ""
        options += ",lowerdir=" + ":".join(f"/proc/self/fd/{fd}" for fd in fds)
        if len(options) >= OPTIONS_BYTES:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        _mount("overlay", "merged", "overlay", options)
        step = START
        os.chdir("/")
        # Python ignores these; the command is to have them as they were.
        import signal

        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.execve(words[0], [os.path.basename(words[0]), *words[1:]], {})
    except OSError as error:
        told = f'{{ "engine-step": {step}, "engine-errno": {error.errno} }}\n'
        os.write(int(status), told.encode())
        os._exit(125)


if __name__ == "__main__":
    main(sys.argv[1:])
