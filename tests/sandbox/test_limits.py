"""Limits on what a run may use: each is exceeded by a real program, and contained.

As whoever runs the tests, and as an ordinary user where root does: root's runs are held by
control groups, an ordinary user's without systemd by resource limits.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sandbox.conftest import Box, eventually, with_word

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

USER = pwd.getpwnam("nobody")
BECOME = ["setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["we, on a mount", "we", "an ordinary user"])
def run(box: Box, own_project: Callable[[list[int]], Box], request: pytest.FixtureRequest) -> Run:
    """`vfsd run WORDS`: writing to a mount, and over a directory with a layer."""
    become: list[str] = []
    if request.param == "an ordinary user":
        if os.getuid() != 0:
            pytest.skip("it is an ordinary user who runs these tests")
        become = BECOME
        box = own_project([USER.pw_uid, USER.pw_gid])
    elif request.param == "we":
        box = own_project([])

    def run(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*become, *box.words(*words)],
            cwd=box.path,
            env=box.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            **more,
        )

    return run


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what vfsd said but its last word, what the command has changed."""
    return [line for line in done.stderr.splitlines() if "engine)" not in line]


def refused(done: subprocess.CompletedProcess[str]) -> bool:
    """Say whether root was told that nothing here can count its processes."""
    return done.returncode == 125 and "cannot be held here" in done.stderr and os.getuid() == 0


FORKS = (
    "import os, signal\n"
    "made = []\n"
    "try:\n"
    "    while len(made) < 500:\n"
    "        pid = os.fork()\n"
    "        if not pid: signal.pause()\n"
    "        made.append(pid)\n"
    "except OSError as error: print(error.errno, end=' ')\n"
    "print(len(made))\n"
)


def test_as_many_processes_as_allowed_and_no_more(run):
    done = run("--pids", 40, "--", "/usr/bin/python3", "-c", FORKS)
    if not refused(done):
        assert (done.returncode, done.stdout) == (0, "11 39\n")  # EAGAIN; and the one that forks
        assert "limits were held: pids by " in done.stderr


def test_threads_count(run):
    script = (
        "import threading\n"
        "stop = threading.Event()\n"
        "for made in range(200):\n"
        "    try: threading.Thread(target=stop.wait).start()\n"
        "    except RuntimeError: break\n"
        "stop.set()\n"
        "print(made)\n"
    )
    done = run("--pids", 20, "--", "/usr/bin/python3", "-c", script)
    assert refused(done) or done.stdout == "19\n"


def test_a_fork_bomb_ends_with_its_time(run):
    word = f"bomb-{uuid.uuid4().hex}"
    script = f": {word}; bomb() {{ bomb | bomb & }}; bomb; sleep 60"
    started_s = time.monotonic()
    done = run("--pids", 60, "--timeout", "1s", "--", "bash", "-c", script)
    if not refused(done):
        assert done.returncode == 124
        assert "took longer than 1 s" in done.stderr
        assert time.monotonic() - started_s < 30
        assert eventually(lambda: not with_word(word))


def test_an_ordinary_user_has_a_limit_on_processes_without_asking(run):
    told = run("--", "sh", "-c", "id -u; ulimit -a").stdout.splitlines()
    (line,) = [line for line in told if line.startswith("process")]
    root = os.getuid() == 0 and told[0] == "1000"
    assert root or line.split()[-1] == "4097"


def test_one_process_that_takes_too_much_memory(run):
    script = "x = bytearray(300 << 20); print(len(x))"
    done = run("--memory", "100M", "--", "/usr/bin/python3", "-c", script)
    assert done.stdout == ""
    # The kernel ends it, or gives it none.
    assert done.returncode == 137 or "MemoryError" in done.stderr
    assert "limits were held: memory by " in done.stderr


def test_many_processes_that_take_too_much_together(run):
    hog = "import time; x = bytearray(40 << 20); time.sleep(30); print('survived')"
    script = f'for i in 1 2 3 4 5; do /usr/bin/python3 -c "{hog}" & done; wait -n; exit 9'
    started_s = time.monotonic()
    done = run("--memory", "100M", "--", "bash", "-c", script)
    assert done.returncode in (9, 137)
    assert "survived" not in done.stdout
    assert "used up its 100M of memory" in done.stderr
    assert time.monotonic() - started_s < 25


def test_what_needs_less_than_it_may_is_left_alone(run):
    words = ("--memory", "200M", "--pids", 100, "--cpus", 1, "--fsize", "1M", "--disk", "10M")
    more = ("--timeout", "1m", "--output", "1M")
    done = run(*words, *more, "--", "/usr/bin/python3", "-c", "print('x' * 100)")
    if not refused(done):
        assert (done.returncode, done.stdout) == (0, "x" * 100 + "\n")
        assert len(said(done)) == 1


def test_quiet_says_nothing(run):
    assert run("--quiet", "--memory", "200M", "--", "true").stderr == ""
    assert run("--quiet", "--timeout", "100ms", "--", "sleep", 60).stderr == ""


def test_a_full_disk_is_one_and_df_tells_the_truth(run):
    script = (
        "for d in /tmp $HOME /dev/shm; do head -c 50M /dev/zero >$d/x; echo $?;"
        " df -B1 --output=size,avail $d | tail -1; wc -c <$d/x; rm $d/x;"
        " df -B1 --output=avail $d | tail -1; done"
    )
    done = run("--disk", "8M", "--", "sh", "-c", script)
    full = [["1"], [str(8 << 20), "0"], [str(8 << 20)], [str(8 << 20)]]
    assert [line.split() for line in done.stdout.splitlines()] == full * 3
    assert done.stderr.count("No space left on device") == 3


def test_the_layer_is_a_disk_that_can_be_full(own_project):
    box = own_project([])
    script = (
        "head -c 50M /dev/zero >x; echo $?; df -B1 --output=size,avail . | tail -1; wc -c <x;"
        " echo more 2>/dev/null >>x && echo grew; rm x; df -B1 --output=avail . | tail -1"
    )
    done = box.run("--disk", "8M", "--", "sh", "-c", script)
    code, disk, written, left = done.stdout.decode().splitlines()
    size, available = map(int, disk.split())
    assert (code, size, available) == ("1", 8 << 20, 0)
    assert 7 << 20 < int(written) <= size
    assert 7 << 20 < int(left) <= size
    assert b"No space left on device" in done.stderr
    assert not (box.path / "x").exists()


def test_a_file_grows_to_its_limit(run):
    done = run("--fsize", "1M", "--", "sh", "-c", "head -c 5M /dev/zero >/tmp/x")
    assert done.returncode == 153
    script = "head -c 5M /dev/zero >/tmp/x; ls -s --block-size=1 /tmp/x; echo more >/tmp/y"
    done = run("--fsize", "1M", "--", "sh", "-c", script)
    assert done.stdout.split()[0] == str(1 << 20)
    assert done.returncode == 0


@pytest.mark.parametrize("limit", [1, 10_000, 65_536, 1_000_000])
def test_no_byte_more_than_allowed_comes_out(run, limit):
    done = run("--output", limit, "--", "yes")
    assert (done.returncode, len(done.stdout)) == (153, limit)
    assert done.stdout == ("y\n" * limit)[:limit]
    assert "said more than" in done.stderr


def test_both_streams_count_and_stay_apart(run):
    script = "head -c 300 /dev/zero | tr '\\0' a; head -c 300 /dev/zero | tr '\\0' b >&2"
    done = run("--output", 600, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (0, "a" * 300)
    assert done.stderr.startswith("b" * 300)
    done = run("--output", 599, "--", "sh", "-c", f"{script}; exec sleep 60")
    assert done.returncode == 153
    assert len(done.stdout) + done.stderr.count("b" * 50) * 50 <= 599


def test_a_reader_that_goes_ends_the_command(box):
    line = f"{sys.executable} -m vfsd run --output 1G -- yes | head -c 4"
    script = f"set -o pipefail; {line}; echo $?"
    done = subprocess.run(
        ["bash", "-c", script], cwd=box.path, env=box.environment, capture_output=True, timeout=60
    )
    assert done.stdout == b"y\ny\n141\n"


def test_a_slow_reader_gets_all_and_nobody_waits_busily(box):
    read, write = os.pipe()
    words = box.words("--output", "1M", "--", "head", "-c", "200000", "/dev/zero")
    running = subprocess.Popen(
        words, cwd=box.path, env=box.environment, stdin=subprocess.DEVNULL, stdout=write
    )
    os.close(write)
    pipe_full = eventually(lambda: _readable_bytes(read) >= 65_536 - 4096)
    before = _cpu_ticks(running.pid)
    time.sleep(0.5)
    spent = _cpu_ticks(running.pid) - before
    with open(read, "rb") as reader:
        assert len(reader.read()) == 200_000
    assert running.wait(30) == 0
    assert pipe_full
    assert spent < os.sysconf("SC_CLK_TCK") // 10


def _readable_bytes(fd: int) -> int:
    import array
    import fcntl
    import termios

    number = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, number)
    return number[0]


def _cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_time_is_over_whatever_the_command_makes_of_it(run):
    """It may clean up, and its own exit code does not count."""
    script = "trap 'echo cleaned; exit 0' TERM; sleep 60 & wait"
    done = run("--timeout", "0.5s", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout) == (124, "cleaned\n")


def test_processors_that_it_may_use(run):
    script = (
        "import time, os\n"
        "from multiprocessing import Process\n"
        "def work():\n"
        "    until = time.monotonic() + 1\n"
        "    while time.monotonic() < until: pass\n"
        "many = [Process(target=work) for _ in range(4)]\n"
        "for each in many: each.start()\n"
        "for each in many: each.join()\n"
        "spent = os.times()\n"
        "print(spent.children_user + spent.children_system)\n"
    )
    done = run("--cpus", "0.5", "--", "/usr/bin/python3", "-c", script)
    held = "by the processors" not in done.stderr
    # By a mask, only whole processors can be given.
    assert float(done.stdout) < (0.9 if held else 1.4)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--memory", "lots"), ("--memory", "0"), ("--pids", "-1"), ("--cpus", "all")),
        *(("--timeout", "soon"), ("--fsize", "1Q"), ("--disk", ""), ("--output", "1e3")),
    ],
)
def test_a_limit_that_is_none_is_refused_before_anything_runs(box, option, value):
    done = box.run(option, value, "--", "touch", "ran")
    assert done.returncode == 125
    assert done.stderr.decode().startswith(f"vfsd: {option} {value!r}: write a ")
    assert not (box.path / "ran").exists()


@pytest.mark.parametrize(
    "option", ["--memory=1G", "--pids=9", "--timeout=1m", "--output=1M", "--publish=0:80"]
)
def test_without_a_sandbox_no_limit_is_promised(own_project, option):
    done = own_project([]).run("--engine", "native", option, "--", "touch", "ran")
    assert done.returncode == 125
    assert f"no sandbox to hold {option.partition('=')[0]};" in done.stderr.decode()


def test_no_group_is_left(box):
    box.run("--memory", "100M", "--pids", "50", "--", "sh", "-c", "sleep 60 & true")
    left = subprocess.run(
        ["find", "/sys/fs/cgroup", "-maxdepth", "3", "-name", "vfsd-run-*"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert left.stdout == ""
