"""The sandboxes that run: listed, entered, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from .conftest import Person, eventually

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


def listed(person: Person) -> list[dict[str, object]]:
    return json.loads(person.vfsd("ps", "--json"))


@pytest.fixture
def running(person: Person, engine: str) -> subprocess.Popen[bytes]:
    person.write("file", "below\n")
    script = "echo inside >made; export SEEN=yes; echo up; sleep 1000"
    return person.start("run", "--engine", engine, "--", "sh", "-c", script)


def test_what_is_listed(person, engine, running):
    (row,) = listed(person)
    assert row["engine"] == engine
    assert row["base"] == str(person.path)
    assert row["directory"] == str(person.path)
    assert row["command"][:2] == ["sh", "-c"]
    assert str(row["id"]) in person.vfsd("ps")
    running.kill()
    running.wait()
    assert listed(person) == []


def test_words_that_a_terminal_would_obey_are_shown_harmlessly(person):
    person.start("run", "--", "sh", "-c", "echo up; sleep 1000 # \x1b[2J\udcff")
    assert "\x1b" not in person.vfsd("ps")
    assert listed(person)


def test_one_more_command(person, running):
    (row,) = listed(person)
    seen = person.vfsd(
        "exec", row["id"][:5], "--", "sh", "-ec", "cat made file; pwd; echo $HOME; id -u"
    )
    uid = os.geteuid() if person.become == [] else 65534
    assert seen == f"inside\nbelow\n{person.path}\n/home/user\n{uid or 1000}\n"
    person.vfsd("exec", row["id"], "--", "sh", "-c", "exit 7", code=7)
    assert "cannot be started" in person.vfsd("exec", row["id"], "--", "no-such", code=127)
    person.vfsd("exec", row["id"], "--", "./file", code=126)
    person.vfsd("exec", row["id"], "--", "sh", "-c", "kill -9 $$", code=137)
    assert person.vfsd("exec", row["id"], "--", "cat", input="piped") == "piped"
    seen = person.vfsd(
        "exec", "--chdir", "/tmp", "--env", "A=b", row["id"], "--", "sh", "-c", "pwd; echo $A"
    )
    assert seen == "/tmp\nb\n"


def test_it_is_closed_as_the_first_one_is(person, running):
    (row,) = listed(person)
    seen = person.vfsd(
        *("exec", row["id"], "--", "sh", "-c"),
        "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status; ls /proc/self/fd; ls /root /sys 2>&1;"
        f" ls -A {person.root}; unshare -Ur true; mount -t tmpfs x /tmp; chroot / true;"
        " kill -9 1; cat /proc/1/environ; tail -n +3 /proc/net/dev | cut -d: -f1; echo end",
    )
    assert seen.count("0000000000000000") == 5
    assert "NoNewPrivs:\t1" in seen
    assert "Seccomp:\t2" in seen
    assert "0\n1\n2\n3\n" in seen
    assert "state" not in seen
    assert [line.strip() for line in seen.splitlines()[-2:]] == ["lo", "end"]


def test_signals_reach_it(person, running):
    (row,) = listed(person)
    more = person.start("exec", row["id"], "--", "sh", "-c",
                        "trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done")  # fmt: skip
    more.send_signal(signal.SIGTERM)
    assert more.wait(60) == 5
    more = person.start("exec", row["id"], "--", "sh", "-c", "echo up; exec sleep 1000")
    more.kill()
    more.wait()
    eventually(
        lambda: "sleep" not in person.vfsd("exec", row["id"], "--", "sh", "-c",
                                           "cat /proc/[3-9]*/comm 2>/dev/null | tail -n +2"),
        "the command went with who started it",
    )  # fmt: skip


def test_ended_with_grace_and_at_once(person, engine):
    script = "trap 'echo ended; exit 3' TERM; echo up; while :; do sleep 0.01; done"
    words = ("run", "--engine", engine, "--", "sh", "-c", script)
    for options, code, said in (((), 3, b"ended\n"), (("--now",), 137, b"")):
        running = person.start(*words)
        person.vfsd("kill", *options, listed(person)[0]["id"])
        assert running.communicate(timeout=60)[0] == said
        assert running.returncode == code
    assert listed(person) == []


def test_unknown_ids(person):
    for verb in (("kill",), ("exec",)):
        words = (*verb, "nothing", *(("--", "true") if verb == ("exec",) else ()))
        said = person.vfsd(*words, code=5)
        assert "'vfsd ps' lists them" in said


def test_a_native_run_has_nothing_to_enter(person):
    running = person.start(
        "run", "--engine", "native", "--", "sh", "-c", "echo up; exec sleep 1000"
    )
    (row,) = listed(person)
    assert row["engine"] == "native"
    assert "no sandbox" in person.vfsd("exec", row["id"], "--", "true", code=125)
    running.terminate()
    assert running.wait(60) == 143


def test_a_script_without_an_interpreter_is_the_shell_s_as_in_the_first_command(person, running):
    script = "printf 'echo by $0 $1\\n' >plain; chmod +x plain"
    (row,) = listed(person)
    person.vfsd("exec", row["id"], "--", "sh", "-c", script)
    assert person.vfsd("exec", row["id"], "--", "./plain", "x") == "by ./plain x\n"
    path = f"PATH=/nowhere:{person.path}:/usr/bin"
    assert person.vfsd("exec", "--env", path, row["id"], "--", "plain", "y").endswith(" y\n")
