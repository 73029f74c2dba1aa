"""At a terminal: the command has one of its own, and ours is as it was afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from .conftest import eventually, processes_with, running_with
from .typist import Typist

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


@pytest.fixture
def at_terminal(box) -> Iterator[Callable[..., Typist]]:
    """Start `vfsd run ARGUMENTS` as a person at a terminal does; its modes must come back."""
    typists = []

    def start(*arguments: str, **options: object) -> Typist:
        given = {"cwd": box.directory, "env": {**box.environment, "PS1": "$ "}, **options}
        typist = Typist(box.words(*arguments), **given)
        typists.append(typist)
        return typist

    yield start
    for typist in typists:
        typist.close()


def test_it_has_a_terminal_of_its_own(at_terminal):
    script = "tty; test -t 0 && test -t 1 && test -t 2 && echo x >/dev/tty && stat -L -c %t:%T -"
    typist = at_terminal("--", "sh", "-c", script)
    seen = typist.wait_for("x\r\n")
    assert seen.startswith("/dev/"), seen
    assert typist.end() == 0
    ours = os.stat(typist.slave).st_rdev
    assert typist.seen.strip() != f"{os.major(ours):x}:{os.minor(ours):x}".encode()


def test_the_exit_code(at_terminal):
    typist = at_terminal("--", "sh", "-c", "exit 42")
    assert (typist.end(), typist.seen) == (42, b"")


def test_what_is_written_last_is_not_lost(at_terminal):
    typist = at_terminal("--", "sh", "-c", "seq 20000; echo the end")
    assert typist.end() == 0
    assert typist.seen.endswith(b"\r\n20000\r\nthe end\r\n")
    assert typist.seen.count(b"\n") == 20_001


def test_it_has_our_size_and_follows_it(at_terminal):
    script = 'stty size; trap "stty size; exit" WINCH; echo up; while :; do sleep 0.01; done'
    typist = at_terminal("--", "sh", "-c", script)
    assert "24 80\r\n" in typist.wait_for("up")
    typist.resize(40, 132)
    typist.wait_for("40 132\r\n")
    assert typist.end() == 0


def test_what_is_typed_arrives_and_is_echoed_once(at_terminal):
    typist = at_terminal("--", "sh", "-c", "echo up; read line; echo got:$line")
    typist.wait_for("up\r\n")
    typist.type("hello\r")
    assert typist.wait_for("got:hello\r\n") == "hello\r\ngot:hello\r\n"
    assert typist.end() == 0


def test_the_end_of_input_is_typed_as_anywhere(at_terminal):
    typist = at_terminal("--", "sh", "-c", "echo up; cat; echo over")
    typist.wait_for("up\r\n")
    typist.type("\x04")
    typist.wait_for("over\r\n")
    assert typist.end() == 0


def test_an_interrupt_reaches_the_foreground_job_only(at_terminal):
    script = "trap 'echo shell lives' INT; sh -c 'echo up; exec sleep 1000'; echo code $?"
    typist = at_terminal("--", "sh", "-c", script)
    typist.wait_for("up\r\n")
    typist.type("\x03")
    assert "code 130" in typist.wait_for("code 130\r\n")
    assert typist.end() == 0


@pytest.mark.parametrize("shell", [["bash", "--norc", "-i"], ["sh", "-i"]], ids=["bash", "sh"])
def test_job_control_works(at_terminal, shell):
    typist = at_terminal("--env", "PS1=> ", "--", *shell)
    assert "job control" not in typist.wait_for("> ")
    typist.type("sh -c 'echo u''p; exec sleep 1000'\r")
    typist.wait_for("up\r\n")
    typist.type("\x1a")
    typist.wait_for("> ")
    typist.type("jobs; kill %1; fg; echo af''ter\r")
    assert "Stopped" in typist.wait_for("after\r\n")
    typist.type("exit 7\r")
    assert typist.end() == 7


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT"])
def test_our_modes_come_back_also_after_a_signal(at_terminal, marker, name):
    typist = at_terminal("--", "sh", "-c", f": {marker}; ulimit -c 0; echo up; exec sleep 1000")
    typist.wait_for("up\r\n")
    raw = typist.modes()
    (ours,) = running_with(marker)
    os.kill(ours, getattr(signal, f"SIG{name}"))
    assert typist.end() == 128 + getattr(signal, f"SIG{name}")
    fresh = Typist(["true"])
    fresh.end()
    assert typist.modes() == fresh.modes()
    assert typist.modes() != raw
    fresh.close()


def test_our_modes_come_back_when_nothing_could_be_started(at_terminal):
    fresh = Typist(["true"])
    fresh.end()
    typist = at_terminal("--chdir", "/no/such/place", "--", "true")
    assert typist.end() == 125
    assert typist.modes() == fresh.modes()
    fresh.close()


PUSH = """
import fcntl, sys, termios
for fd in (0, 1, 2):
    for character in b"pushed":
        try:
            fcntl.ioctl(fd, termios.TIOCSTI, bytes([character]))
        except OSError:
            pass
"""


def test_characters_cannot_be_pushed_into_our_terminal(at_terminal):
    typist = at_terminal("--", "/usr/bin/python3", "-c", PUSH)
    typist.end()
    os.set_blocking(typist.slave, False)
    with pytest.raises(BlockingIOError):
        os.read(typist.slave, 100)


@pytest.mark.parametrize("streams", [["stdin"], ["stdout"], ["stdin", "stderr"]], ids="+".join)
def test_nor_where_only_some_streams_are_a_terminal(at_terminal, streams):
    typist = at_terminal(
        "--", "/usr/bin/python3", "-c", PUSH, **dict.fromkeys(streams, subprocess.DEVNULL)
    )
    typist.end()
    os.set_blocking(typist.slave, False)
    with pytest.raises(BlockingIOError):
        os.read(typist.slave, 100)


def test_output_elsewhere_while_input_is_a_terminal(at_terminal, tmp_path):
    with open(tmp_path / "out", "wb") as out:
        typist = at_terminal("--", "sh", "-c", "read line; echo got:$line", stdout=out)
        typist.type("hello\n")
        assert typist.end() == 0
    assert (tmp_path / "out").read_bytes() == b"got:hello\n"


def test_errors_elsewhere_while_the_rest_is_a_terminal(at_terminal, tmp_path):
    with open(tmp_path / "err", "wb") as err:
        typist = at_terminal("--", "sh", "-c", "echo shown; echo kept >&2", stderr=err)
        typist.wait_for("shown\r\n")
        assert typist.end() == 0
    assert (tmp_path / "err").read_bytes() == b"kept\n"


def test_more_is_typed_than_the_command_reads(at_terminal):
    """Nobody takes it; signals and the end are passed on all the same."""
    typist = at_terminal("--", "sh", "-c", "stty raw; echo up; read line <$HOME/../no; kill -9 $$")
    typist.wait_for("up")
    os.set_blocking(typist.master, False)
    for _ in range(64):
        try:
            os.write(typist.master, b"x" * 1_024)
        except BlockingIOError:
            break
    assert typist.end() == 128 + signal.SIGKILL


def test_kill_9_leaves_no_process(at_terminal, marker):
    typist = at_terminal("--", "sh", "-c", f": {marker}; echo up; exec sleep 1000")
    typist.wait_for("up\r\n")
    (ours,) = running_with(marker)
    os.kill(ours, signal.SIGKILL)
    eventually(lambda: not processes_with(marker), "every process is gone")


def test_in_the_background_of_a_shell(at_terminal, box):
    """It neither takes the terminal nor is stopped, as long as it does not read."""
    words = " ".join(box.words("--", "sh", "-c", "'echo in the ba''ckground'"))
    typist = Typist(
        ["bash", "--norc", "-i"], cwd=box.directory, env={**box.environment, "PS1": "> "}
    )
    try:
        typist.wait_for("> ")
        typist.type(f"{words} & wait; echo code $?\r")
        assert "in the background" in typist.wait_for("code 0\r\n")
        typist.type("exit\r")
        assert typist.end() == 0
    finally:
        typist.close()
