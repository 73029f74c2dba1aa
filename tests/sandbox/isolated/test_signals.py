"""Signals that arrive at `vfsd run` reach the command, whenever they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from .conftest import SECONDS, eventually, processes_with

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

PASSED_ON = ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"]


def started(box, script: str, *options: str, **more):
    """Start a shell script inside and return when it has opened the FIFO `ready`."""
    fifo = box.directory / "ready"
    os.mkfifo(fifo)
    running = box.start(*options, "--", "sh", "-c", script, **more)
    with open(fifo) as ready:  # returns when the command opens it
        ready.read()
    return running


def ended(running) -> tuple[int, str]:
    out, err = running.communicate(timeout=SECONDS)
    assert b"Traceback" not in err, err
    return running.returncode, out.decode()


@pytest.mark.parametrize("name", PASSED_ON)
def test_a_trap_runs_and_its_code_is_passed(box, name):
    script = f"trap 'echo caught; exit 42' {name}; >ready; while :; do sleep 0.01; done"
    running = started(box, script)
    running.send_signal(getattr(signal, f"SIG{name}"))
    assert ended(running) == (42, "caught\n")


@pytest.mark.parametrize("name", PASSED_ON)
def test_without_a_trap_the_code_is_128_and_the_number(box, name):
    number = getattr(signal, f"SIG{name}")
    running = started(box, "ulimit -c 0; >ready; exec sleep 1000")
    running.send_signal(number)
    assert ended(running) == (128 + number, "")


def test_the_whole_group_gets_it(box):
    """As at a terminal: a child of the command gets it, too."""
    child = 'trap "echo child; exit" USR1; >ready; while :; do sleep 0.01; done'
    running = started(box, f"trap 'wait; exit 5' USR1; sh -c '{child}' & wait; exit 6")
    running.send_signal(signal.SIGUSR1)
    assert ended(running) == (5, "child\n")


def test_several_signals_each_arrive(box):
    script = (
        "trap 'echo usr1 >got1' USR1; trap 'echo usr2 >got2' USR2; trap 'exit 9' TERM; >ready;"
        "while :; do sleep 0.01; done"
    )
    running = started(box, script)
    for number, name in ((signal.SIGUSR1, "got1"), (signal.SIGUSR2, "got2")):
        # A sleep without a trap dies of it; the loop goes on.
        running.send_signal(number)
        eventually((box.directory / name).exists, f"{name} is there")
    running.send_signal(signal.SIGTERM)
    assert ended(running)[0] == 9


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_a_command_that_ignores_it_is_killed_after_the_grace(box, name):
    """In a process of its own, with a grace that is over at once."""
    code = (
        "import os, sys\n"
        "from vfsd.sandbox import host, runner, spec\n"
        "here = os.getcwd()\n"
        "command = ('sh', '-c', sys.argv[1])\n"
        "policy = spec.Policy(command, spec.Bind(here, here, True), here)\n"
        "words = spec.render(policy, host.look_at_root(), {})\n"
        "start = spec.starting(policy)\n"
        "sys.exit(runner.run(host.find_bwrap(), words, start, None, grace_s=0.05))\n"
    )
    fifo = box.directory / "ready"
    os.mkfifo(fifo)
    script = "trap '' TERM HUP; >ready; while :; do sleep 100; done"
    running = box.keep(
        subprocess.Popen(
            [sys.executable, "-c", code, script],
            cwd=box.directory,
            env=box.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    )
    with open(fifo) as ready:
        ready.read()
    running.send_signal(getattr(signal, f"SIG{name}"))
    assert ended(running) == (128 + signal.SIGKILL, "")


def test_an_interrupt_has_no_grace_to_end(box):
    """An interactive program takes Ctrl-C as a word, not as the end."""
    script = "trap 'echo again' INT; trap 'exit 3' USR1; >ready; while :; do sleep 0.01; done"
    running = started(box, script)
    running.send_signal(signal.SIGINT)
    assert running.stdout.readline() == b"again\n"
    running.send_signal(signal.SIGUSR1)
    assert ended(running)[0] == 3


@pytest.mark.parametrize("seed", range(12))
def test_a_signal_at_any_moment_ends_it(box, marker, seed):
    """From before Python has started to after the command has."""
    running = box.start("--", "sh", "-c", f": {marker}; exec sleep 1000")
    # Not an assertion about time: at whichever stage this arrives, the end is the same.
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(timeout=0.005 * seed)
    running.terminate()
    code, out = ended(running)
    assert code in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert out == ""


def test_a_signal_before_the_command_starts_is_not_lost(box, marker, tmp_path):
    """bwrap is held up, so that the signal surely comes first."""
    real = subprocess.run(["which", "bwrap"], capture_output=True, text=True, check=True)
    held = tmp_path / "bwrap"
    os.mkfifo(tmp_path / "gate")
    held.write_text(
        f"#!/bin/sh\necho {marker} >{tmp_path}/gate\nread x <{tmp_path}/gate\n"
        f'exec {real.stdout.strip()} "$@"\n'
    )
    held.chmod(0o755)
    environment = {**box.environment, "PATH": str(tmp_path)}
    running = box.start("--", "sleep", "1000", env=environment)
    with open(tmp_path / "gate") as gate:
        assert gate.read() == f"{marker}\n"
    running.send_signal(signal.SIGTERM)
    with open(tmp_path / "gate", "w") as gate:
        gate.write("go on\n")
    assert ended(running)[0] == 128 + signal.SIGTERM


def test_what_was_ignored_stays_ignored(box):
    """nohup(1) works on `vfsd run` as on any command."""
    fifo = box.directory / "ready"
    os.mkfifo(fifo)
    script = "trap 'exit 4' TERM; >ready; while :; do sleep 0.01; done"
    words = box.words("--", "sh", "-c", script)
    running = box.keep(
        subprocess.Popen(
            ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *words],
            cwd=box.directory,
            env=box.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    )
    with open(fifo) as ready:
        ready.read()
    running.send_signal(signal.SIGHUP)
    running.send_signal(signal.SIGTERM)
    assert ended(running)[0] == 4


def stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as source:
        return source.read().rpartition(")")[2].split()[0] == "T"


def test_a_stop_stops_the_command_and_it_goes_on_afterwards(box, marker):
    os.mkfifo(box.directory / "ready")
    script = f"import signal; open('ready', 'w').close(); signal.pause()  # {marker}"
    running = box.start("--", "/usr/bin/python3", "-c", script)
    (box.directory / "ready").read_text()
    (inner,) = [
        pid
        for pid in processes_with(marker)
        if "python" in os.readlink(f"/proc/{pid}/exe") and os.getpgid(pid) == pid
    ]
    running.send_signal(signal.SIGTSTP)
    eventually(lambda: stopped(inner), "the command is stopped")
    eventually(lambda: stopped(running.pid), "vfsd run is stopped")
    running.send_signal(signal.SIGCONT)
    eventually(lambda: not stopped(inner), "the command goes on")
    running.send_signal(signal.SIGUSR1)
    assert ended(running)[0] == 128 + signal.SIGUSR1


def test_signals_ignored_by_python_are_as_they_were_for_the_command(box):
    ignored = box.sh("grep SigIgn /proc/self/status").split()[1]
    assert int(ignored, 16) & 0x7FFF_FFFF == 0  # 32 and 33 are the C library's own
    assert int(box.sh("grep SigBlk /proc/self/status").split()[1], 16) == 0
