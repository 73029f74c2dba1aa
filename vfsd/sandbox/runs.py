"""The runs of this user: a directory for each, so that they can be listed, entered and ended.

A run's directory holds its record, locked by the process that waits for it for as long as it
lives, and what must be on disk for the run only. After SIGKILL the kernel lets the lock go, and
guardian.py removes the directory, or else whoever looks next (another run, `vfsd ps`).

Concurrency: short blocking calls; a directory is removed only by the holder of its lock.

Sources: flock(2); the XDG base directory specification.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from vfsd import mountinfo, xdg
from vfsd.blocks import suppress
from vfsd.errors import UserError, fail
from vfsd.exitcodes import ExitCode
from vfsd.named import NamedTuple
from vfsd.sandbox.attendant import Attendant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RECORD = "record"
RECORD_LIMIT_BYTES = 1 << 20
UNFINISHED_S = 60.0
"""How long a directory may be without a record."""


class Record(NamedTuple):
    """One living run. `pid` is vfsd's own, `init` the sandbox's first process (0: not yet)."""

    id: str
    pid: int
    init: int
    started_s: float
    engine: str
    base: str
    directory: str
    """Where the command started, inside."""
    filtered: bool
    """Whether its system calls are filtered."""
    command: tuple[str, ...]


class Run(Attendant):
    """The directory of one run, made at once, removed by `close`; `watch` hears of it before."""

    def __init__(
        self, command: Sequence[str], watch: Callable[[str], None] = lambda directory: None
    ) -> None:
        parent = _prepared()
        sweep(parent)
        while True:
            self.id = os.urandom(4).hex()
            self.directory = os.path.join(parent, self.id)
            watch(self.directory)
            with suppress(FileExistsError):
                os.mkdir(self.directory, 0o700)
                break
        self._record = Record(
            self.id, os.getpid(), 0, time.time(), "", "", "/", True, tuple(command)
        )
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(os.path.join(self.directory, RECORD), flags, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._write()

    def tell(self, engine: str, base: str) -> None:
        """Tell what the run works on, and how."""
        self._record = self._record._replace(engine=engine, base=base)
        self._write()

    def tell_start(self, directory: str, *, filtered: bool) -> None:
        """Tell where the command starts, and whether its system calls are filtered."""
        self._record = self._record._replace(directory=directory, filtered=filtered)
        self._write()

    def inside(self, init: int) -> None:
        """Tell which process is the sandbox's first."""
        self._record = self._record._replace(init=init)
        self._write()

    def close(self) -> None:
        """Remove the directory and let its lock go."""
        remove(self.directory, os.fstat(self._fd).st_dev)
        os.close(self._fd)

    def _write(self) -> None:
        *fields, command = self._record
        words = [str(each) for each in fields] + list(command)
        text = b"\0".join(map(os.fsencode, words))[:RECORD_LIMIT_BYTES]
        # A reader may come between the two: it finds zeros at the end of the last word.
        try:
            os.pwrite(self._fd, text, 0)
            os.truncate(self._fd, len(text))
        except OSError as error:
            raise fail(error.errno or 0, os.path.join(self.directory, RECORD)) from error


def living() -> list[Record]:
    """Return this user's living runs, the oldest first; what others left behind is removed."""
    parent = directory()
    if not os.path.isdir(parent):
        return []
    _check(parent)
    sweep(parent)
    found = [_read(os.path.join(parent, name, RECORD)) for name in os.listdir(parent)]
    return sorted((each for each in found if each is not None), key=lambda each: each.started_s)


def find(name: str) -> Record:
    """Return the run that `name` is the id of, or begins. UserError (5) if there is not one."""
    found = [each for each in living() if name and each.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    what = f"several runs begin with {name!r}" if found else f"no run {name!r} is there"
    raise UserError(f"{what}; 'vfsd ps' lists them", ExitCode.NOT_FOUND)


def directory() -> str:
    """Return where the directories of this user's runs are; it may not exist yet."""
    return os.path.join(xdg.runtime_directory(), "runs")


def sweep(parent: str) -> None:
    """Remove the directories of runs that are over."""
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        try:
            fd = os.open(os.path.join(path, RECORD), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            # Just being made or removed, unless it has been like that for long.
            with suppress(OSError):
                if time.time() - os.stat(path).st_mtime > UNFINISHED_S:
                    os.rmdir(path)
            continue
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_size:  # else it is about to be locked
                _detach_below(path)
                remove(path, os.fstat(fd).st_dev)
        except OSError:
            pass  # it lives, or another looks after it; a mount that stays is tried again
        finally:
            os.close(fd)


def remove(path: str, device: int) -> None:
    """Remove a directory of `device` and all that is in it, also what modes close.

    Nothing if it is gone. EBUSY for what is mounted there, which is left alone.
    """
    with suppress(FileNotFoundError, NotADirectoryError):
        status = os.lstat(path)
        if status.st_dev != device:
            raise fail(errno.EBUSY, path)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(path)
            return
        if status.st_mode & 0o700 != 0o700:
            os.chmod(path, 0o700)
        # The record last: until then another process sees whose the rest is.
        for name in sorted(os.listdir(path), key=lambda name: name == RECORD):
            remove(os.path.join(path, name), device)
        os.rmdir(path)


def _detach_below(path: str) -> None:
    below = os.fsencode(path) + b"/"
    mounts = [each.mountpoint for each in mountinfo.read() if each.mountpoint.startswith(below)]
    if mounts:
        from vfsd.sandbox.served import detach

        for each in mounts:
            detach(os.fsdecode(each))


def _read(path: str) -> Record | None:
    try:
        with open(path, "rb") as source:
            words = [os.fsdecode(word) for word in source.read(RECORD_LIMIT_BYTES).split(b"\0")]
        name, pid, init, started, engine, base, directory, filtered, *command = words
        return Record(
            *(name, int(pid), int(init), float(started), engine, base, directory),
            *(filtered == "True", tuple(command)),
        )
    except (OSError, ValueError):
        return None


def _prepared() -> str:
    path = directory()
    for each in (os.path.dirname(path), path):
        with suppress(FileExistsError):
            os.mkdir(each, 0o700)
        _check(each)
    return path


def _check(path: str) -> None:
    status = os.lstat(path)
    mine = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not mine or stat.S_IMODE(status.st_mode) & 0o077:
        raise UserError(
            f"{path} is not a directory of this user's alone, so vfsd does not trust it: remove"
            " it, or set XDG_RUNTIME_DIR to a directory of your own",
            ExitCode.REFUSED,
        )
