"""A person at a terminal: a pseudo-terminal whose other side the test reads and types at.

The process under test leads a session of its own on it, as a login shell does, and everything
it may write is read all the time, so that nothing waits for room.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time

SECONDS = 60


class Typist:
    """Start `words` on a new terminal; streams given as options are not the terminal's."""

    def __init__(self, words: list[str], **options: object) -> None:
        self.master, self.slave = os.openpty()
        self.seen = b""
        self.resize(24, 80)
        given = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave, **options}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *words] if "stdin" not in options else words,
            start_new_session="stdin" in options,
            **given,
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def modes(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def look(self, seconds: float) -> bool:
        """Take in what has been written since; say whether there was anything."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.seen += os.read(self.master, 65_536)
        return True

    def wait_for(self, text: str) -> str:
        """Return all that was seen once `text` is in it; forget it then."""
        deadline = time.monotonic() + SECONDS
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.seen!r}"
            self.look(0.1)
        seen, self.seen = self.seen, b""
        return seen.decode(errors="replace")

    def end(self) -> int:
        """Return the exit code."""
        deadline = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it still runs: {self.seen!r}"
            self.look(0.02)
        while self.look(0):
            pass
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)
