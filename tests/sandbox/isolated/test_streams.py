"""Standard streams: live, byte-exact, and whatever they are."""

from __future__ import annotations

import os
import random
import subprocess

import pytest

from .conftest import SECONDS

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

MEBIBYTE = random.Random(1).randbytes(1 << 20)


def test_a_mebibyte_through_both_ways(box):
    done = box.run("--", "cat", input=MEBIBYTE, text=False)
    assert done.returncode == 0
    assert done.stdout == MEBIBYTE


def test_standard_error_is_apart(box):
    done = box.run("--", "sh", "-c", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == ("out\n", "err\n")


def test_output_arrives_while_the_command_runs(box):
    os.mkfifo(box.directory / "go")
    running = box.start("--", "sh", "-c", "echo first; read x <go; echo second")
    assert running.stdout.readline() == b"first\n"
    with open(box.directory / "go", "w") as go:  # opened as long as the command still runs
        go.write("x\n")
    assert running.communicate(timeout=SECONDS)[0] == b"second\n"


def test_input_arrives_while_the_command_runs(box):
    running = box.start("--", "cat", stdin=subprocess.PIPE)
    for word in (b"one\n", b"two\n"):
        running.stdin.write(word)
        running.stdin.flush()
        assert running.stdout.readline() == word
    running.stdin.close()
    assert running.wait(SECONDS) == 0


def test_an_input_that_is_not_read(box):
    """A pipe that stays open with nothing to say is no reason to wait."""
    running = box.start("--", "true", stdin=subprocess.PIPE)
    assert running.wait(SECONDS) == 0


def test_an_empty_input(box):
    assert box.sh("wc -c") == "0\n"


def with_closed(box, redirections: str, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", *box.words("--", "sh", "-c", script)],
        cwd=box.directory,
        env=box.environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def test_a_closed_input_is_an_empty_one(box):
    done = with_closed(box, "<&-", "cat; echo read; readlink /proc/self/fd/0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "read\n/dev/null\n"


@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nobody_else_s_files(box, redirections):
    script = (
        "import os; fds = sorted(os.listdir('/proc/self/fd'), key=int)[:-1]\n"
        "seen = [os.readlink(f'/proc/self/fd/{fd}') for fd in fds]\n"
        "open('seen', 'w').write('\\n'.join(seen)); os._exit(3)"
    )
    done = with_closed(box, redirections, f'exec /usr/bin/python3 -c "{script}"')
    assert done.returncode == 3, done.stderr
    seen = (box.directory / "seen").read_text().splitlines()
    assert len(seen) == 3
    for number, redirection in enumerate(("<&-", ">&-", "2>&-")):
        if redirection in redirections.split():
            assert seen[number] == "/dev/null"


def test_nothing_else_that_is_open_reaches_the_command(box, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    with open(secret) as held:
        words = box.words("--", "sh", "-c", "ls /proc/self/fd; ls -l /proc/1/fd /proc/self/fd")
        done = subprocess.run(
            words,
            cwd=box.directory,
            env=box.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=[held.fileno()],
        )
    assert done.stdout.startswith("0\n1\n2\n3\n"), done.stdout  # 3 is the listing's own
    assert "secret" not in done.stdout
    assert "memfd" not in done.stdout


def test_a_reader_that_leaves(box):
    running = box.start("--", "sh", "-c", "while :; do echo line; done")
    assert running.stdout.readline() == b"line\n"
    running.stdout.close()
    assert running.wait(SECONDS) == 141  # SIGPIPE, as in any pipeline


def test_files_are_appended_to_where_they_stand(box, tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    with open(log, "a") as target:
        assert (
            box.run(
                "--",
                "sh",
                "-c",
                "echo a; echo b >&2",
                capture_output=False,
                stdout=target,
                stderr=target,
            ).returncode
            == 0
        )
    assert log.read_text() == "before\na\nb\n"


def test_the_names_of_the_streams_work(box):
    script = "echo a >/dev/stdout; echo b >/dev/stderr; cat /dev/stdin; echo c >/dev/fd/1"
    done = box.run("--", "sh", "-c", script, input="in\n")
    assert (done.stdout, done.stderr) == ("a\nin\nc\n", "b\n")


def test_an_orphan_that_keeps_the_output_open_keeps_nobody(box, marker):
    """Its end of the pipe goes with it, so the reader sees the end."""
    done = box.run("--", "sh", "-c", f"sh -c ': {marker}; exec sleep 1000' & echo done")
    assert (done.returncode, done.stdout) == (0, "done\n")
