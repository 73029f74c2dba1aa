"""The file that an archive is read from: bytes by offset, never beyond its end, never mixed.

The file is read with `preadv`, not mapped: a mapped file that somebody truncates, or whose disk
fails, would kill the process with SIGBUS.

**Replaced or changed.** The open file is the one that is served, whatever happens to its name.
If it is changed in place (another size or modification time), every later read raises
`Changed`. If only its change time moves (chmod, rename, or a write whose time was set back),
`generation` goes up: whoever believed bytes that were verified earlier verifies them again.
Each read looks at the times after it has read, so what was read before a change is never
joined with what is read after it.

Concurrency: `read` is a plain call. After `hurry` it raises `NotCached` where it would have to
wait for a disk; the caller then lets a thread call `warm` and tries again, so that all state is
changed by one thread.

Source: readv(2), `RWF_NOWAIT`.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module

from vfsd.archive.damage import Changed, Damage
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

WARM_BYTES = 1 << 20


def open_regular(path: str | bytes | os.PathLike[str]) -> int:
    """Open a regular file for reading. OSError; UserError if it is something else."""
    # O_NONBLOCK: a FIFO must not hold the reader up until it is seen to be one.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat_module.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise UserError(f"{os.fsdecode(path)} is not a regular file", ExitCode.USAGE)


class NotCached(Exception):
    """The bytes are not in the page cache, and the caller did not want to wait."""

    def __init__(self, offset: int, size: int) -> None:
        super().__init__(offset, size)
        self.offset = offset
        self.size = size


def beyond(offset: int, size: int) -> Damage:
    """Return the complaint about bytes that are told to be where the archive has none."""
    return Damage(f"{size} bytes are told to stand beyond the archive's end", offset)


class Source:
    """An open file, of which `start` up to `end` is the archive."""

    def __init__(self, fd: int) -> None:
        """Take over `fd`, which `close` closes; the whole file is the archive until narrowed."""
        self.fd = fd
        self.start = 0
        self._flags = 0
        stat = os.fstat(fd)
        self.end = stat.st_size
        self._identity = stat.st_size, stat.st_mtime_ns
        self._ctime_ns = stat.st_ctime_ns
        self.generation = 0
        self.unlinked = stat.st_nlink == 0
        self.changed = False

    @classmethod
    def open(cls, path: str | bytes | os.PathLike[str]) -> Source:
        """Open a regular file. OSError; UserError if it is something else."""
        return cls(open_regular(path))

    @property
    def length(self) -> int:
        """How many bytes the archive has."""
        return self.end - self.start

    def narrow(self, start: int, length: int) -> None:
        """From now on the archive is `length` bytes from `start` of the file."""
        self.start, self.end = start, start + length

    def hurry(self) -> None:
        """From now on raise `NotCached` instead of waiting for a disk."""
        self._flags = os.RWF_NOWAIT

    def close(self) -> None:
        """Close the file; once."""
        fd, self.fd = self.fd, -1
        os.close(fd)

    def read(self, offset: int, size: int) -> bytearray:
        """Return exactly `size` bytes. Damage if they are not all in the archive; Changed."""
        if offset < 0 or size < 0 or offset + size > self.end - self.start:
            raise beyond(offset, size)
        buffer = bytearray(size)
        self.read_into(memoryview(buffer), offset)
        return buffer

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill `view` from `offset`. Damage if that is not all in the archive; Changed.

        After an exception it holds anything.
        """
        size = len(view)
        if offset < 0 or offset + size > self.end - self.start:
            raise beyond(offset, size)
        if self.changed:
            raise Changed
        done = 0
        while done < size:
            count = self._read_some(view[done:] if done else view, offset + done)
            if count == 0:
                break
            done += count
        stat = os.fstat(self.fd)
        if stat.st_ctime_ns != self._ctime_ns:
            self._note_change(stat)
        if done < size:
            raise Damage("the file is shorter than it was", offset + done)

    def _read_some(self, view: memoryview, offset: int) -> int:
        try:
            return os.preadv(self.fd, (view,), self.start + offset, self._flags)
        except BlockingIOError:
            raise NotCached(offset, len(view)) from None
        except OSError as error:
            if not self._flags or error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            self._flags = 0
            return self._read_some(view, offset)

    def _note_change(self, stat: os.stat_result) -> None:
        if (stat.st_size, stat.st_mtime_ns) != self._identity:
            self.changed = True
            raise Changed
        self.unlinked = stat.st_nlink == 0
        self._ctime_ns = stat.st_ctime_ns
        self.generation += 1

    def has_changed(self) -> bool:
        """Say whether the file is another one than when it was opened."""
        stat = os.fstat(self.fd)
        return (stat.st_size, stat.st_mtime_ns) != self._identity

    def warm(self, offset: int, size: int) -> None:
        """Bring bytes into the page cache, waiting for the disk; for any thread. OSError."""
        left, at = size, self.start + offset
        buffer = bytearray(min(size, WARM_BYTES))
        while left > 0:
            count = os.preadv(self.fd, [memoryview(buffer)[: min(left, WARM_BYTES)]], at)
            if count == 0:
                return
            left -= count
            at += count
