"""`vfsd exec` at a terminal, and the signals of who types it: as a person has `vfsd run`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.sandbox.isolated.typist import Typist

from .conftest import Person, eventually
from .test_running import listed

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


@pytest.fixture
def first(person: Person) -> subprocess.Popen[bytes]:
    """The command of the sandbox; it lives until the test ends, or says how it was ended."""
    script = "trap 'echo hit >hit' INT TERM HUP QUIT; echo up; while :; do sleep 0.05; done"
    return person.start("run", "--", "sh", "-c", script)


@pytest.fixture
def at_terminal(person: Person, first: object) -> Iterator[Callable[..., Typist]]:
    """Start `vfsd exec ID ARGUMENTS` as a person at a terminal does."""
    typists = []
    (row,) = listed(person)

    def start(*arguments: str, **options: object) -> Typist:
        words = person.words("exec", "--env", "PS1=> ", row["id"], "--", *arguments)
        typists.append(Typist(words, cwd=person.path, env=person.environment, **options))
        return typists[-1]

    yield start
    for typist in typists:
        typist.close()


def test_it_has_a_terminal_of_its_own_and_our_modes_come_back(at_terminal):
    fresh = Typist(["true"])
    fresh.end()
    script = "test -t 0 && test -t 1 && test -t 2 && echo x >/dev/tty; stat -L -c %t:%T -; exit 42"
    typist = at_terminal("sh", "-c", script)
    assert typist.end() == 42
    assert typist.seen.startswith(b"x\r\n")
    ours = os.stat(typist.slave).st_rdev
    assert f"{os.major(ours):x}:{os.minor(ours):x}".encode() not in typist.seen
    assert typist.modes() == fresh.modes()
    fresh.close()


def test_it_has_our_size_and_follows_it(at_terminal):
    script = 'stty size; trap "stty size; exit" WINCH; echo up; while :; do sleep 0.01; done'
    typist = at_terminal("sh", "-c", script)
    assert "24 80\r\n" in typist.wait_for("up")
    typist.resize(40, 132)
    typist.wait_for("40 132\r\n")
    assert typist.end() == 0


def test_an_interrupt_is_the_command_s_only(person, first, at_terminal):
    typist = at_terminal("sh", "-c", "echo up; exec sleep 1000")
    typist.wait_for("up\r\n")
    typist.type("\x03")
    assert typist.end() == 130
    assert first.poll() is None
    assert "hit" not in person.vfsd("exec", listed(person)[0]["id"], "--", "ls")


def test_a_shell_has_job_control(at_terminal):
    typist = at_terminal("bash", "--norc", "-i")
    assert "job control" not in typist.wait_for("> ")
    typist.type("sh -c 'echo u''p; exec sleep 1000'\r")
    typist.wait_for("up\r\n")
    typist.type("\x1a")
    typist.wait_for("> ")
    typist.type("jobs; kill %1; fg; echo af''ter\r")
    assert "Stopped" in typist.wait_for("after\r\n")
    typist.type("exit 7\r")
    assert typist.end() == 7


def test_what_is_written_last_is_not_lost(at_terminal):
    typist = at_terminal("sh", "-c", "seq 20000; echo the end")
    assert typist.end() == 0
    assert typist.seen.endswith(b"\r\n20000\r\nthe end\r\n")


def test_a_terminal_that_goes_ends_the_command_and_not_the_sandbox(person, first, at_terminal):
    """As with ssh: the command is told (SIGHUP), and the sandbox goes on."""
    typist = at_terminal(
        "sh", "-c", "trap 'echo told >told; exit' HUP; echo up; while :; do :; done"
    )
    typist.wait_for("up\r\n")
    os.kill(typist.process.pid, signal.SIGHUP)
    typist.process.wait(60)
    assert first.poll() is None
    (row,) = listed(person)
    assert person.vfsd("exec", row["id"], "--", "cat", "told") == "told\n"


def test_the_sandbox_ends_while_somebody_is_in_it(person, first, at_terminal):
    typist = at_terminal("sh", "-c", "echo up; exec sleep 1000")
    typist.wait_for("up\r\n")
    modes = typist.modes()
    first.kill()
    assert typist.end() == 137
    assert typist.modes() != modes  # raw no more


def test_a_signal_at_any_moment_of_the_start_ends_it(person, first):
    """Before its process group, before its terminal, before the command: none is lost."""
    (row,) = listed(person)
    words = person.words("exec", row["id"], "--", "sleep", "1000")
    for step in range(8):
        more = subprocess.Popen(
            words, cwd=person.path, env=person.environment, stderr=subprocess.PIPE
        )
        eventually(lambda at=more.pid: _handles(at, signal.SIGTERM), "it has its handlers")
        time.sleep(step * 0.01)
        more.send_signal(signal.SIGTERM)
        _, said = more.communicate(timeout=60)
        assert (more.returncode, said) == (143, b""), step
    # None of them is left inside.
    seen = person.vfsd(
        "exec", row["id"], "--", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    )
    assert "sleep 1000" not in seen


def test_stopped_and_continued_where_its_input_is_no_terminal(person, first):
    (row,) = listed(person)
    script = "echo . >dots; echo up; while :; do echo . >>dots; sleep 0.01; done"
    more = person.start("exec", row["id"], "--", "sh", "-c", script)
    more.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(more.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    count = ("exec", row["id"], "--", "sh", "-c", "stat -c %s dots; sleep 0.2; stat -c %s dots")
    before, after = person.vfsd(*count).split()
    assert before == after
    more.send_signal(signal.SIGCONT)
    eventually(lambda: person.vfsd(*count).split()[1] > after, "it goes on")
    more.send_signal(signal.SIGTERM)
    assert more.wait(60) == 143


def _handles(pid: int, number: int) -> bool:
    with open(f"/proc/{pid}/status") as status:
        (caught,) = [line.split()[1] for line in status if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)
