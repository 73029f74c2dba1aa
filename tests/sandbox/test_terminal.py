"""`vfsd run` at a terminal: job control, size, modes, and no way into the caller's terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.sandbox.conftest import WAIT_S, Box, eventually, with_word

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


class Typist:
    """Somebody at a terminal who ran a command there."""

    def __init__(self, words: list[str], box: Box, **streams: object) -> None:
        self.master, slave = pty.openpty()
        self.resize(24, 80)
        self.modes = termios.tcgetattr(slave)
        self.said = b""
        self.slave = slave
        given = {"stdin": slave, "stdout": slave, "stderr": slave, **streams}
        self.process = subprocess.Popen(
            words,
            cwd=box.path,
            env={**box.environment, "TERM": "dumb"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
            **given,
        )

    def types(self, text: bytes) -> None:
        os.write(self.master, text)

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("4H", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def reads(self, pattern: bytes) -> re.Match[bytes]:
        """Wait until the terminal has shown `pattern`; take it and what came before away."""
        deadline = time.monotonic() + WAIT_S
        while (found := re.search(pattern, self.said)) is None:
            left = deadline - time.monotonic()
            if not select.select([self.master], [], [], max(0, left))[0]:
                raise AssertionError(f"{pattern!r} did not come, but {self.said!r}")
            self.said += os.read(self.master, 4096)
        self.said = self.said[found.end() :]
        return found

    def ends(self) -> int:
        return self.process.wait(WAIT_S)


@contextmanager
def at_a_terminal(box: Box, *arguments: object, **streams: object) -> Iterator[Typist]:
    typist = Typist(box.words(*arguments), box, **streams)
    try:
        yield typist
        assert termios.tcgetattr(typist.slave) == typist.modes, "the terminal is left changed"
    finally:
        if typist.process.poll() is None:
            typist.process.kill()
            typist.process.wait()
        os.close(typist.master)
        os.close(typist.slave)


def test_ctrl_c_reaches_the_command(box):
    with at_a_terminal(box, "--", "sh", "-c", "trap 'exit 9' INT; echo ready; read x") as typist:
        typist.reads(rb"ready")
        typist.types(b"\x03")
        assert typist.ends() == 9


def test_ctrl_c_without_a_trap_ends_it_with_130(box):
    with at_a_terminal(box, "--", "sh", "-c", "echo ready; read x") as typist:
        typist.reads(rb"ready")
        typist.types(b"\x03")
        assert typist.ends() == 130


def test_a_shell_has_job_control(box):
    with at_a_terminal(box, "--", "bash", "--norc", "--noprofile", "-i") as typist:
        seconds = time.time_ns()  # a number that no other sleep on this machine has
        typist.types(b"PS1='$'; sleep %d\r" % seconds)
        assert eventually(lambda: with_word(f"sleep\0{seconds}\0"))
        typist.types(b"\x1a")
        typist.reads(rb"Stopped +sleep %d" % seconds)
        typist.types(b"bg; jobs; kill %1; wait; exit 4\r")
        typist.reads(rb"Running +sleep %d" % seconds)
        assert typist.ends() == 4


def test_a_lot_of_output_arrives_whole(box):
    with at_a_terminal(box, "--", "sh", "-c", "seq 20000; echo end") as typist:
        *lines, _ = typist.reads(rb"end\r\n").string.split()
        assert lines == [b"%d" % number for number in range(1, 20001)]
        assert typist.ends() == 0


def test_typing_to_a_command_that_does_not_read_stops_nothing(box):
    script = "stty raw -echo; echo ready; while :; do echo alive; test -e stop && exit 3; done"
    with at_a_terminal(box, "--", "sh", "-c", script) as typist:
        typist.reads(rb"ready")
        os.set_blocking(typist.master, False)
        for _ in range(64):
            try:
                typist.types(b"x" * 1024)
            except BlockingIOError:
                break
        (box.path / "stop").touch()
        deadline = time.monotonic() + WAIT_S
        while typist.process.poll() is None and time.monotonic() < deadline:
            if select.select([typist.master], [], [], 0.1)[0]:
                os.read(typist.master, 65536)
        assert typist.process.poll() == 3


def test_the_caller_s_terminal_cannot_be_reached(box):
    """Neither pushed into nor found; and the one inside takes TIOCSTI only for itself."""
    script = (
        "import fcntl, os, termios\n"
        "names = {os.ttyname(fd) for fd in (0, 1, 2)}\n"
        "try:\n"
        "    fcntl.ioctl(0, termios.TIOCSTI, b'x')\n"
        "except OSError:\n"
        "    pass\n"
        "print('pts', sorted(os.listdir('/dev/pts')), names)\n"
    )
    with at_a_terminal(box, "--", "/usr/bin/python3", "-c", script) as typist:
        ours = os.ttyname(typist.slave)
        shown = typist.reads(rb"pts (\[.*?\]) (\{.*?\})")
        assert typist.ends() == 0
        assert shown[1] == b"['ptmx']"
        assert ours.encode() not in shown[2]
        # What is pushed would stand in the caller's input now.
        assert not select.select([typist.slave], [], [], 0)[0]


@pytest.mark.parametrize("only", ["stdin", "stdout"])
def test_a_lone_terminal_is_passed_but_takes_no_pushed_characters(box, only, tmp_path):
    """As in `vfsd run -- make | less`, where the keys belong to less."""
    script = (
        "import fcntl, os, sys, termios\n"
        f"fd = {0 if only == 'stdin' else 1}\n"
        "told = [os.isatty(fd)]\n"
        "for action in (lambda: fcntl.ioctl(fd, termios.TIOCSTI, b'x'),"
        " lambda: fcntl.ioctl(fd, termios.TIOCSCTTY, 1), lambda: open('/dev/tty')):\n"
        "    try:\n"
        "        action()\n"
        "        told.append('done')\n"
        "    except OSError as error:\n"
        "        told.append('refused')\n"
        "print(*told, file=open('told', 'w'))\n"
    )
    (tmp_path / "stream").touch()
    with open(tmp_path / "stream", "r+b") as stream:
        others = {"stdout": stream, "stderr": stream} if only == "stdin" else {"stdin": stream}
        with at_a_terminal(box, "--", "/usr/bin/python3", "-c", script, **others) as typist:
            assert typist.ends() == 0
    assert (box.path / "told").read_text() == "True refused refused refused\n"


def test_ctrl_c_reaches_a_command_whose_input_is_no_terminal(box):
    script = "trap 'echo trapped; exit 11' INT; echo ready; sleep 1000 & wait"
    streams = {"stdin": subprocess.DEVNULL}
    with at_a_terminal(box, "--", "sh", "-c", script, **streams) as typist:
        typist.reads(rb"ready")
        typist.types(b"\x03")
        typist.reads(rb"trapped")
        assert typist.ends() == 11


def test_a_hang_up_ends_the_command(box):
    with at_a_terminal(box, "--", "sh", "-c", "trap 'exit 12' HUP; echo ready; read x") as typist:
        typist.reads(rb"ready")
        typist.process.send_signal(signal.SIGHUP)
        assert typist.ends() == 12


def test_a_terminal_that_is_taken_away_leaves_no_process(box):
    word = f"{box.path.name}-canary"
    master, slave = pty.openpty()
    process = subprocess.Popen(
        box.words("--", "sh", "-c", f": {word}; echo ready; cat; sleep 1000"),
        cwd=box.path,
        env=box.environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
        **dict.fromkeys(("stdin", "stdout", "stderr"), slave),
    )
    os.close(slave)
    while b"ready" not in os.read(master, 4096):
        pass
    os.close(master)
    process.wait(WAIT_S)
    assert eventually(lambda: not with_word(word))


def test_in_the_background_of_a_shell_it_does_not_stop_by_itself(box):
    """Making the terminal raw from the background would stop it; here it needs no input."""
    inner = " ".join(box.words("--", "sh", "-c", "'echo from-behind; exit 13'"))
    words = ["bash", "--norc", "--noprofile", "-i"]
    typist = Typist(words, box)
    try:
        typist.types(f"PS1='$'; {inner} & wait $!; echo code-$?-\r".encode())
        typist.reads(rb"from-behind")
        typist.reads(rb"code-13-")
        typist.types(b"exit\r")
        assert typist.ends() == 0
    finally:
        if typist.process.poll() is None:
            typist.process.kill()
            typist.process.wait()
        os.close(typist.master)
        os.close(typist.slave)
