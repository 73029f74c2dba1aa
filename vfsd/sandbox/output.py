"""A limit on what a command may say.

Its standard output and standard error are pipes then, and what comes through is passed on up to
the limit, to the byte. After that the pipes are closed, so that a command that goes on writing
ends by SIGPIPE, and the run is ended.

What it is *not*: a terminal's relay (terminal.py). With a limit the command gets no terminal.

Concurrency: an attendant; never waits for who reads our output.

Source: pipe(7), PIPE_BUF: what poll says can be written without waiting.
"""

from __future__ import annotations

import os
import select

from vfsd.exitcodes import ExitCode
from vfsd.sandbox.attendant import Attendant
from vfsd.sandbox.limits import shown_size
from vfsd.sandbox.spawning import pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vfsd.sandbox.attendant import Running

CHUNK_BYTES = select.PIPE_BUF
TURN_CHUNKS = 64
"""How much is passed on before others have their turn."""


class OutputLimit(Attendant):
    """Passes on what the command says, as long as it may."""

    def __init__(self, limit_bytes: int, say: Callable[[str], None]) -> None:
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes
        self._say = say
        self._run: Running | None = None
        self._readers: dict[int, int] = {}
        self._writers: dict[int, int] = {}
        self._waiting: set[int] = set()
        self._exceeded = False

    def streams(self) -> Mapping[int, int]:
        """Put pipes in the places of the two streams."""
        for number in (1, 2):
            self._readers[number], self._writers[number] = pipe()
            os.set_blocking(self._readers[number], False)
        return self._writers

    def started(self, run: Running, bwrap: int) -> None:
        """The command has its ends; ours are to be the only others."""
        self._run = run
        for fd in self._writers.values():
            os.close(fd)
        self._writers = {}

    def interests(self) -> Mapping[int, int]:
        """Return what is to be read, or where there must be room first."""
        return {
            **{fd: select.POLLIN for n, fd in self._readers.items() if n not in self._waiting},
            **dict.fromkeys(self._waiting & self._readers.keys(), select.POLLOUT),
        }

    def pump(self, ready: Mapping[int, int]) -> None:
        """Pass on what is there and can be taken."""
        for number, reader in list(self._readers.items()):
            if reader in ready or number in ready:
                for _ in range(TURN_CHUNKS):
                    if not self._pass_on(number, wait=False):
                        break

    def ended(self, code: int) -> int:
        """Pass on what was said last; nobody holds the other ends any more."""
        for number in list(self._readers):
            while self._pass_on(number, wait=True):
                pass
        if not self._exceeded:
            return code
        self._say(f"the command said more than {shown_size(self._limit_bytes)} and was ended")
        return ExitCode.RUN_OUTPUT

    def abandoned(self) -> None:
        """Close what is open."""
        for fd in (*self._readers.values(), *self._writers.values()):
            os.close(fd)
        self._readers, self._writers = {}, {}

    def _pass_on(self, number: int, *, wait: bool) -> bool:
        """Pass one chunk on; False if there is none, or no room for it."""
        reader = self._readers.get(number)
        if reader is None:
            return False
        if not _has_room(number, wait=wait):
            self._waiting.add(number)
            return False
        self._waiting.discard(number)
        try:
            # One byte more than allowed tells that there is more.
            data = os.read(reader, min(CHUNK_BYTES, self._left_bytes + 1))
        except BlockingIOError:
            return False
        allowed, beyond = data[: self._left_bytes], data[self._left_bytes :]
        self._left_bytes -= len(allowed)
        try:
            while allowed:
                allowed = allowed[os.write(number, allowed) :]
        except OSError:  # nobody reads it; the command learns it as if it wrote there itself
            data = b""
        if beyond:
            self._stop()
        elif not data:
            os.close(self._readers.pop(number))
        return bool(data) and not beyond

    def _stop(self) -> None:
        self._exceeded = True
        self.abandoned()
        if self._run is not None:
            self._run.end(ExitCode.RUN_OUTPUT)


def _has_room(number: int, *, wait: bool) -> bool:
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    return bool(poll.poll(None if wait else 0))
