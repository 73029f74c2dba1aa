"""A file as standard input, of which the command gets the content and not the file.

Whoever has a file open for reading can open it again for writing by way of /proc/self/fd, if its
mode lets them, and its owner can change the mode by way of what is open. A command in a sandbox
is of the caller's uid: `vfsd run -- cmd <file` would give it the file to change. So where it could
do that, it gets a pipe. At the end the file stands where the command stopped to read, so that
in `while read line; do vfsd run -- cmd; done <list` the loop goes on with the next line.

What it is *not*: anything for standard output. What the command may write, it may damage.

Concurrency: an attendant; reading a file does not wait long.

Sources: proc(5), "/proc/pid/fd"; fchmod(2); ioctl(2), FIONREAD.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
import sys

from vfsd.blocks import suppress
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.spawning import pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from vfsd.sandbox.attendant import Running

CHUNK_BYTES = 65_536
FIONREAD = 0x541B
TURN_CHUNKS = 16
"""How much is passed on before others have their turn."""


def given_file() -> list[GivenFile]:
    """Return what stands between standard input and the command, if anything has to."""
    status = os.fstat(0)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        return []
    if fcntl.fcntl(0, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
        return []
    mine = status.st_uid == os.geteuid() or os.access("/proc/self/fd/0", os.W_OK)
    read_only = bool(os.fstatvfs(0).f_flag & os.ST_RDONLY) and stat.S_ISREG(status.st_mode)
    return [GivenFile()] if mine and not read_only else []


class GivenFile(Attendant):
    """Passes on what a file holds. `reader` is the end of a pipe for the command."""

    def __init__(self) -> None:
        self._at = os.lseek(0, 0, os.SEEK_CUR)
        self._chunk = b""
        # The reader stays open: it tells what was not read, and no write fails.
        self.reader, self._writer = pipe()
        os.set_blocking(self._writer, False)

    def streams(self) -> Mapping[int, int]:
        """Put the pipe in the place of standard input."""
        return {0: self.reader}

    def started(self, run: Running, bwrap: int) -> None:
        """Have something in the pipe when the command looks."""
        self.pump({self._writer: select.POLLOUT})

    def interests(self) -> Mapping[int, int]:
        """Return where there must be room first."""
        return {self._writer: select.POLLOUT} if self._writer >= 0 else {}

    def pump(self, ready: Mapping[int, int]) -> None:
        """Pass on what can be taken."""
        if self._writer < 0 or self._writer not in ready:
            return
        with suppress(BlockingIOError):
            for _ in range(TURN_CHUNKS):
                if not self._chunk:
                    self._chunk = self._next()
                if not self._chunk:
                    self._close_writer()
                    return
                written = os.write(self._writer, self._chunk)
                self._at += written
                self._chunk = self._chunk[written:]

    def ended(self, code: int) -> int:
        """Leave the file where the command stopped to read."""
        unread = fcntl.ioctl(self.reader, FIONREAD, bytes(4))
        with suppress(OSError):
            os.lseek(0, self._at - int.from_bytes(unread, sys.byteorder), os.SEEK_SET)
        self.abandoned()
        return code

    def abandoned(self) -> None:
        """Close what is open."""
        self._close_writer()
        if self.reader >= 0:
            os.close(self.reader)
            self.reader = -1

    def _next(self) -> bytes:
        try:
            return os.pread(0, CHUNK_BYTES, self._at)
        except OSError:  # a bad disk: all that there is to tell is the end
            return b""

    def _close_writer(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
