"""A terminal of its own for a sandboxed command.

Where standard input and output are a terminal, the command gets a new pseudo-terminal, never
ours: so it cannot push characters into our terminal's input (TIOCSTI) or read what is typed
later, and has job control, Ctrl-C and resizing as in any terminal. Ours is raw meanwhile, and
everything is passed on in both directions.

Where only one of them is a terminal (`vfsd run -- make | less`), it is passed as it is, but is
not the command's controlling terminal, which TIOCSTI requires; a relay would take the keys that
are meant for `less`.

Concurrency: driven by the one loop in runner.py.

Sources: pty(7), termios(3), ioctl_tty(2).
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

CHUNK_BYTES = 65_536


class Terminal:
    """A pseudo-terminal between ours and the command's standard streams."""

    def __init__(self) -> None:
        # Imported here: most runs have no terminal.
        import termios

        try:
            self._master, self.slave = os.openpty()
        except OSError as error:
            raise UserError(
                f"no terminal can be made for the command ({error.strerror}); mount devpts at "
                "/dev/pts, or run it without one, as in 'vfsd run -- CMD | cat'",
                ExitCode.RUN_FAILED,
            ) from error
        os.set_blocking(self._master, False)
        self.covers = tuple(fd for fd in (0, 1, 2) if os.isatty(fd))
        """The standard streams that it stands in for."""
        self._modes = termios.tcgetattr(0)
        # It starts as ours is, so that its line editing is what people know.
        termios.tcsetattr(self.slave, termios.TCSANOW, self._modes)
        self._raw = False
        self._typed = b""
        self._input_open = True
        self._master_open = True
        self.resize()
        self.take()

    def close_slave(self) -> None:
        """Leave the command's side to the command, so that its end can be seen."""
        os.close(self.slave)
        self.slave = -1

    def close(self) -> None:
        """Give our terminal back as it was."""
        self.release()
        if self.slave >= 0:
            self.close_slave()
        os.close(self._master)

    def resize(self) -> None:
        """Give the command's terminal the size of ours; the kernel tells the command."""
        import fcntl
        import termios

        with suppress(OSError):
            size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def take(self) -> None:
        """Make ours raw, unless we are in the background, where that would stop us."""
        import termios
        import tty

        with suppress(OSError, termios.error):
            if not self._raw and _in_foreground():
                tty.setraw(0, termios.TCSANOW)
                self._raw = True

    def release(self) -> None:
        """Undo `take`."""
        import termios

        with suppress(OSError, termios.error):
            if self._raw and _in_foreground():
                termios.tcsetattr(0, termios.TCSADRAIN, self._modes)
        self._raw = False

    def interests(self) -> dict[int, int]:
        """Return the fds to poll, and for what."""
        wanted = {}
        if self._master_open:
            wanted[self._master] = select.POLLIN | (select.POLLOUT if self._typed else 0)
            # One piece at a time: a command that reads nothing must not make us block.
            if self._input_open and not self._typed:
                wanted[0] = select.POLLIN
        return wanted

    def pump(self, ready: Mapping[int, int]) -> None:
        """Pass on what is there, in both directions."""
        if self._typed and ready.get(self._master, 0) & select.POLLOUT:
            self._pass_input()
        if 0 in ready:
            self._read_input()
        if ready.get(self._master, 0) & ~select.POLLOUT:
            self._pass_output()

    def drain(self) -> None:
        """Pass on what the command said last; nobody holds its side any more."""
        while self._pass_output():
            pass

    def _read_input(self) -> None:
        # In the background the kernel stops us in this read, and `fg` brings us back here.
        self.take()
        try:
            self._typed = os.read(0, CHUNK_BYTES)
        except OSError:
            self._typed = b""
        if self._typed:
            self._pass_input()
        else:
            self._input_open = False

    def _pass_input(self) -> None:
        with suppress(BlockingIOError):
            self._typed = self._typed[os.write(self._master, self._typed) :]

    def _pass_output(self) -> bool:
        try:
            data = os.read(self._master, CHUNK_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # the last holder of the other side is gone
            data = b""
        self._master_open = bool(data)
        with suppress(OSError):  # our terminal is gone; SIGHUP tells
            while data:
                data = data[os.write(1, data) :]
        return self._master_open


def _in_foreground() -> bool:
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return True  # not our controlling terminal, so nothing can stop us


@contextmanager
def terminal_if_interactive() -> Iterator[Terminal | None]:
    """Give a terminal if standard input and output are one, with ours raw meanwhile; else None."""
    if not (os.isatty(0) and os.isatty(1)):
        yield None
        return
    terminal = Terminal()
    try:
        yield terminal
    finally:
        terminal.close()
