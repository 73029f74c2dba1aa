"""A terminal of its own for a sandboxed command.

The command gets a new pseudo-terminal, never ours: so it cannot push characters into our
terminal's input (TIOCSTI), and has job control, Ctrl-C and resizing as in any terminal. Ours is
raw meanwhile, and everything is passed on in both directions.

Concurrency: driven by the one loop in runner.py.

Sources: pty(7), termios(3), ioctl_tty(2).
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
import tty
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

CHUNK = 65_536


class Terminal:
    """A pseudo-terminal between our standard input and the command's."""

    def __init__(self) -> None:
        self._master, self.slave = os.openpty()
        self.covers_stdout = os.isatty(1)
        self.covers_stderr = os.isatty(2)
        self._input_ended = False
        self.resize()

    def fds(self) -> set[int]:
        """Return the fds to watch for reading."""
        return {0, self._master}

    def resize(self) -> None:
        """Give the command's terminal the size of ours."""
        with suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            if struct.unpack("4H", size)[0]:
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def pump(self, ready: Collection[int]) -> set[int]:
        """Pass on what is there; return the fds that have ended."""
        ended = set()
        if 0 in ready:
            data = os.read(0, CHUNK)
            if data:
                _write(self._master, data)
            else:
                ended.add(0)
                _write(self._master, b"\x04")  # what the end of input is to a terminal
        if self._master in ready and not self._pass_output():
            ended.add(self._master)
        return ended

    def _pass_output(self) -> bool:
        try:
            data = os.read(self._master, CHUNK)
        except OSError:
            return False  # the last holder of the slave is gone
        _write(1 if self.covers_stdout else 2, data)
        return bool(data)

    def drain(self) -> None:
        """Pass on what the command said last; nobody holds its side any more."""
        os.close(self.slave)
        while self._pass_output():
            pass
        os.close(self._master)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@contextmanager
def terminal_if_interactive() -> Iterator[Terminal | None]:
    """Give a terminal if standard input is one, with ours raw meanwhile; else None."""
    if not os.isatty(0):
        yield None
        return
    before = termios.tcgetattr(0)
    terminal = Terminal()
    # The command's terminal starts as ours was, so that its line editing is what people know.
    termios.tcsetattr(terminal.slave, termios.TCSANOW, before)
    # If output goes elsewhere, a raw terminal would still be right for input, but what others
    # write to it meanwhile would lack carriage returns.
    tty.setraw(0, termios.TCSANOW)
    try:
        yield terminal
    finally:
        sys.stdout.flush()
        termios.tcsetattr(0, termios.TCSADRAIN, before)
