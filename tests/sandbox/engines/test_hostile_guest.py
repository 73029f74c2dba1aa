"""What a hostile command tries by what is kept of it, by who joins it, and by its streams."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from .conftest import ENGINES, eventually
from .test_running import listed

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

FORGE = r"""
import os
for name in ("led", "opaque", "marked"):
    os.mkdir(name)
for name in ("led/own", "marked/gone", "marked/kept", "meta"):
    open(name, "w").close()
names = {"led": "redirect", "opaque": "opaque", "marked": "opaque", "marked/gone": "whiteout",
         "meta": "metacopy", "base": "opaque"}
values = {"led": b"/../../../../etc", "marked": b"x", "meta": b""}
for prefix in ("user.overlay.", "user.overlay.overlay.", "trusted.overlay."):
    for path, name in names.items():
        for more in ({name, "origin", "upper"} if path == "led" else {name}):
            try:
                os.setxattr(path, prefix + more, values.get(path, b"y"))
            except PermissionError:
                pass
    try:
        os.setxattr("meta", prefix + "redirect", b"/../../home/canary")
    except PermissionError:
        pass
for name in ("hidden", "base/file"):
    try:
        os.remove(name) if os.path.exists(name) else None
        os.mknod(name, 0o20000, 0)
        print("made a whiteout")
    except PermissionError:
        pass
"""
LOOK = "find . -mindepth 1 | sort; cat meta led/* marked/*; getfattr -dR -m- . | sort"


@pytest.mark.parametrize("forked_by", ENGINES)
def test_marks_of_an_overlay_cannot_be_forged(person, engine, forked_by):
    """Attributes that would lead elsewhere or hide something are plain ones, in a fork as well."""
    person.write("base/other", "x")
    (person.root / "home" / "canary").write_text("canary")
    person.own()
    script = ("--engine", engine, "--save", "forged", "--", "python3", "-c", FORGE)
    assert "made a whiteout" not in person.vfsd("run", *script)
    seen = person.sh(LOOK, "--engine", forked_by, "--from", "forged")
    paths, _, attributes = seen.partition("# file")
    assert paths.split() == [
        *("./base", "./base/other", "./led", "./led/own", "./marked", "./marked/gone"),
        *("./marked/kept", "./meta", "./opaque"),
    ]
    assert "canary" not in paths
    assert attributes.count('user.overlay.redirect="/../../../../etc"') == 1
    # And back on the host none of them would be obeyed by an overlay over it.
    person.vfsd("apply", "forged")
    marked = [
        name
        for path in (person.path, *person.path.rglob("*"))
        for name in os.listxattr(path)
        if name.startswith("user.overlay.") and not name.startswith("user.overlay.overlay.")
    ]
    assert marked == []


def test_attributes_of_a_hostile_base_lead_nowhere(person, engine):
    """A project that somebody else made, with the marks of a layer on its files."""
    person.write("led/own", "own\n")
    person.write("secret/file", "secret\n")
    person.write("meta")
    person.write("marked/gone")
    for path, name, value in (
        *(("led", "redirect", b"/secret"), ("led", "opaque", b"y"), ("meta", "metacopy", b"")),
        *(("meta", "redirect", b"/secret/file"), ("marked", "opaque", b"x")),
        ("marked/gone", "whiteout", b"y"),
    ):
        os.setxattr(person.path / path, f"user.overlay.{name}", value)
    seen = person.sh(
        "cat led/* || :; cat meta || :; echo 2 >>led/own; cat led/own", "--engine", engine
    )
    assert "secret" not in seen
    assert seen.endswith("own\n2\n")


def test_sockets_and_pipes_of_the_base_lead_to_nobody(person, engine):
    """A server of the host's that listens in the project does not hear the command."""
    os.mkfifo(person.path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(person.path / "socket"))
        server.listen()
        for name in ("pipe", "socket"):
            (person.path / name).chmod(0o666)
        reader = os.open(person.path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        try:
            script = (
                "import os, socket\n"
                "for act in (lambda: socket.socket(socket.AF_UNIX).connect('socket'),\n"
                "            lambda: os.open('pipe', os.O_WRONLY | os.O_NONBLOCK)):\n"
                "    try: act(); print('reached')\n"
                "    except OSError as error: print(error.errno)\n"
            )
            done = person.vfsd("run", "--engine", engine, "--", "python3", "-c", script)
            assert done.split() == ["111", "6"]  # ECONNREFUSED, and nobody reads (ENXIO)
            assert os.read(reader, 1) == b""
        finally:
            os.close(reader)


def test_what_is_written_back_lends_nobody_the_caller_s_rights(person, engine):
    """A program that is set-user-ID would be root's to everybody, where root typed the command."""
    script = "cp /usr/bin/id tool; cp tool group; cp tool old; chmod 4755 tool; chmod 2755 group"
    script += "; chmod 6755 old; ln tool linked; mkdir shared; chmod 2775 shared"
    person.write("old", "x", 0o755)
    done = person.done(
        "run", "--engine", engine, "--save", "kept", "--apply", "--", "sh", "-ec", script
    )
    assert done.returncode == 0, done.stderr
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in person.path.iterdir()}
    assert {name: modes[name] for name in ("tool", "group", "old", "linked")} == dict.fromkeys(
        ("tool", "group", "old", "linked"), 0o755
    )
    assert modes["shared"] == 0o2775
    assert "linked: the set-user-ID bit" in done.stderr
    # Asked for by name it is: whoever types it has looked.
    person.vfsd("apply", "--set-id", "kept")
    assert stat.S_IMODE((person.path / "tool").stat().st_mode) == 0o4755


CHANGE_INPUT = (
    "import os\n"
    "for act in (lambda: os.write(os.open('/proc/self/fd/0', os.O_WRONLY | os.O_NONBLOCK), b'x'),\n"
    "            lambda: os.open('/proc/self/fd/0', os.O_RDWR | os.O_TRUNC),\n"
    "            lambda: os.truncate('/proc/self/fd/0', 0), lambda: os.fchmod(0, 0o777)):\n"
    "    try: act()\n"
    "    except OSError: pass\n"
)


@pytest.mark.parametrize("mode", [0o644, 0o444])
def test_a_file_given_as_input_cannot_be_changed(person, engine, mode):
    given = person.root / "home" / "given"
    given.write_text("given\n")
    given.chmod(mode)
    person.own()
    person.start("run", "--engine", engine, "--", "sh", "-c", "echo up; exec sleep 1000")
    joining = ("exec", listed(person)[0]["id"], "--")
    for words in (("run", "--quiet", "--engine", engine, "--"), joining):
        with given.open("rb") as source:
            person.vfsd(*words, "/usr/bin/python3", "-c", CHANGE_INPUT, stdin=source)
        assert (given.read_text(), stat.S_IMODE(given.stat().st_mode)) == ("given\n", mode)


def test_a_file_given_as_input_is_read_as_far_as_the_command_reads(person):
    """So a loop over its lines goes on behind what the command took."""
    person.write("list", "1\n2\n3\n4\n")
    person.write("large", "x" * 300_000)
    person.start("run", "--", "sh", "-c", "echo up; exec sleep 1000")
    joining = ("exec", listed(person)[0]["id"], "--")
    for words in (("run", "--quiet", "--"), joining):
        with (person.path / "list").open("rb", buffering=0) as source:
            assert person.vfsd(*words, "sh", "-c", "read a; read b; echo $b", stdin=source) == "2\n"
            assert source.read() == b"3\n4\n"
            assert person.vfsd(*words, "cat", stdin=source) == ""
        with (person.path / "large").open("rb") as source:
            source.seek(100_000)
            assert person.vfsd(*words, "wc", "-c", stdin=source).strip() == "200000"
            assert os.lseek(source.fileno(), 0, os.SEEK_CUR) == 300_000
            source.seek(0)
            assert person.vfsd(*words, "true", stdin=source) == ""
            assert os.lseek(source.fileno(), 0, os.SEEK_CUR) == 0


def test_who_joins_stays_outside(person):
    """Else a file that is imported late would be the command's to write."""
    person.start("run", "--", "sh", "-c", "echo up; exec sleep 1000")
    more = person.start(
        "exec", listed(person)[0]["id"], "--", "sh", "-c", "echo up; exec sleep 1000"
    )
    (usher,) = Path(f"/proc/{more.pid}/task/{more.pid}/children").read_text().split()
    for kind in ("mnt", "user", "pid", "net", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{more.pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
    assert os.readlink(f"/proc/{usher}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    # Nothing of ours stays open there but the streams, and it can be looked at by nobody inside.
    # It closes the rest when the command is on its way, which may have said something by then.
    eventually(
        lambda: {int(fd) for fd in os.listdir(f"/proc/{usher}/fd")} <= {0, 1, 2},
        "only the streams are open in who joins",
    )
    assert os.stat(f"/proc/{usher}/mem").st_uid == 0
    # Whoever waits is killed: the command goes with it.
    os.kill(int(usher), signal.SIGKILL)
    assert more.wait(60) == 137


def test_no_open_file_of_who_joins_gets_in_however_high_its_number(person):
    high = next((n for n in (70_000, 15_000) if n < _open_files_max()), 900)
    person.start("run", "--", "sh", "-c", "echo up; exec sleep 1000")

    def open_high() -> None:
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        os.dup2(os.open("/etc/passwd", os.O_RDONLY), high)

    done = subprocess.run(
        person.words("exec", listed(person)[0]["id"], "--", "ls", "/proc/self/fd"),
        cwd=person.path, env=person.environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, close_fds=False, preexec_fn=open_high, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["0", "1", "2", "3"], done.stderr


def _open_files_max() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_a_sandbox_full_of_processes_is_entered_or_it_is_said(person):
    if not person.become and not os.access("/sys/fs/cgroup/pids", os.W_OK):
        pytest.skip("nothing here counts root's processes")
    script = (
        "import os, signal\n"
        "try:\n"
        "    while True:\n"
        "        if not os.fork(): signal.pause()\n"
        "except OSError: print('full', flush=True)\n"
        "signal.pause()\n"
    )
    person.start("run", "--pids", "8", "--", "/usr/bin/python3", "-c", script)
    done = person.done("exec", listed(person)[0]["id"], "--", "sh", "-c", "true | true; exit 3")
    lines = done.stderr.splitlines()
    if done.returncode == 125:
        assert lines == ["vfsd: the sandbox cannot be entered: Resource temporarily unavailable"]
    else:  # it is in, and may start nothing more
        assert "fork" in done.stderr


def test_a_sandbox_that_ends_while_it_is_entered_is_told_in_a_sentence(person):
    running = person.start("run", "--", "sh", "-c", "echo up; exec sleep 1000")
    (row,) = listed(person)
    joiners = [
        subprocess.Popen(
            person.words("exec", row["id"], "--", "sleep", "1000"),
            cwd=person.path, env=person.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    running.kill()
    running.wait()
    for each in joiners:
        _, said = each.communicate(timeout=60)
        assert each.returncode in (5, 125, 137), said
        assert len(said.splitlines()) == (each.returncode != 137), said
    eventually(lambda: json.loads(person.vfsd("ps", "--json")) == [], "it is gone")
