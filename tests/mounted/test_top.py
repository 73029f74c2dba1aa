"""`vfsd top` over a real mount: what is asked is counted, by whom, and only while one looks."""

import errno
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from vfsd import client as client_module

pytestmark = pytest.mark.fuse


@pytest.fixture
def mount(vfsd_mount, monkeypatch):
    mount = vfsd_mount()
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    return mount


@pytest.fixture
def client(mount):
    with client_module.connect(mount.path) as client:
        yield client


def until(samples, kind, count):
    """Take samples until so many requests of a kind were told; return them all, summed."""
    told = Counter()
    callers: dict[int, tuple[str, Counter]] = {}
    attachments: dict[str | None, Counter] = {}
    cache = Counter()
    kinds: dict[str, dict] = {}
    for sample in samples:
        for each in sample["kinds"]:
            told[each["kind"]] += each["requests"]
            kinds[each["kind"]] = each
        for each in sample["callers"]:
            _, sums = callers.setdefault(each["pid"], (each["command"], Counter()))
            sums.update({key: each[key] for key in ("requests", "read_bytes", "written_bytes")})
        for each in sample["attachments"]:
            sums = attachments.setdefault(each["prefix"], Counter())
            sums.update({key: each[key] for key in ("requests", "read_bytes", "written_bytes")})
        cache.update(sample["cache"])
        assert sample["requests"] == sum(each["requests"] for each in sample["kinds"])
        if told[kind] >= count:
            return told, callers, attachments, cache, kinds
    raise AssertionError("the samples ended")


def test_each_request_is_counted_once_with_its_bytes(mount, client):
    with client.top(0.05) as samples:
        for number in range(20):
            (mount.path / f"f{number}").write_bytes(b"x" * 1000)
        (mount.path / "made").mkdir()
        told, callers, attachments, _, kinds = until(samples, "mkdir", 1)
    assert (told["create"], told["write"], told["mkdir"]) == (20, 20, 1)
    command, sums = callers[os.getpid()]
    assert sums["written_bytes"] == 20_000
    assert command == Path(f"/proc/{os.getpid()}/comm").read_text().rstrip("\n")
    assert attachments[""]["written_bytes"] == 20_000
    assert 0 < kinds["mkdir"]["p50_us"] <= kinds["mkdir"]["p99_us"] <= kinds["mkdir"]["max_us"]


def test_processes_and_attachments_are_told_apart(mount, client):
    client.attach("memory", "inner")
    client.write_bytes("inner/f", b"y" * 5000)
    with client.top(0.05) as samples:
        subprocess.run(["cat", mount.path / "inner/f"], check=True, stdout=subprocess.DEVNULL)
        (mount.path / "end").mkdir()
        _, callers, attachments, _, _ = until(samples, "mkdir", 1)
    read = {command: sums["read_bytes"] for command, sums in callers.values()}
    assert read["cat"] == 5000
    assert callers[os.getpid()][1]["read_bytes"] == 0
    assert attachments["inner"]["read_bytes"] == 5000
    assert attachments[""]["read_bytes"] == 0


def test_what_the_kernel_kept_is_told(mount, client):
    client.write_bytes("f", b"z" * 5000)
    (mount.path / "f").read_bytes()
    with client.top(0.05) as samples:
        for _ in range(3):
            assert (mount.path / "f").read_bytes() == b"z" * 5000
        told, _, _, cache, _ = until(samples, "release", 3)
    assert told["read"] == 0
    assert (cache["opens"], cache["opens_kept"], cache["files_unasked"]) == (3, 3, 3)


def test_failures_are_counted_as_such(mount, client):
    (mount.path / "f").touch()
    with client.top(0.05) as samples:
        with pytest.raises(OSError) as caught:
            os.getxattr(mount.path / "f", "user.none")
        _, _, _, _, kinds = until(samples, "getxattr", 1)
    assert caught.value.errno == errno.ENODATA
    assert kinds["getxattr"]["failed"] == 1


def test_measuring_begins_with_the_first_viewer_and_ends_with_the_last(mount, client):
    assert client.status()["viewers"] == 0
    first, second = client.top(60), client.top(0.05)
    assert client.status()["viewers"] == 2
    (mount.path / "d").mkdir()
    assert until(second, "mkdir", 1)[0]["mkdir"] == 1
    first.close()
    second.close()
    while client.status()["viewers"]:
        pass
    (mount.path / "e").mkdir()
    with client.top(0.05) as again:
        (mount.path / "f").mkdir()
        assert until(again, "mkdir", 1)[0]["mkdir"] == 1  # the one before is nobody's


def test_requests_under_way_when_the_viewer_leaves_are_answered(mount, client):
    """A viewer comes and goes while four processes work, and nobody's request is lost."""
    script = "import os,sys\nfor n in range(400): os.mkdir(f'{sys.argv[1]}{n}')"
    workers = [
        subprocess.Popen(["python3", "-c", script, f"{mount.path}/{which}-"]) for which in range(4)
    ]
    while any(worker.poll() is None for worker in workers):
        with client.top(0.01) as samples:
            next(samples)
    assert [worker.wait() for worker in workers] == [0] * 4
    assert len(os.listdir(mount.path)) == 1600


def test_without_the_library_requests_on_names_still_have_their_caller(vfsd_mount, monkeypatch):
    mount = vfsd_mount("--loop", "stock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    with client_module.connect(mount.path) as client, client.top(0.05) as samples:
        (mount.path / "d").mkdir()
        assert until(samples, "mkdir", 1)[1][os.getpid()][1]["requests"] >= 1


def test_the_command_line_prints_lines_of_json(mount):
    done = mount.vfsd("top", str(mount.path), "-n", "2", "--interval", "0.05", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 2
    assert set(lines[0]) == {
        *("seconds", "requests", "kinds", "attachments", "callers", "cache"),
    }


def test_the_command_line_prints_text_when_piped_and_finds_the_only_mount(mount):
    (mount.path / "x").mkdir()
    done = mount.vfsd("top", str(mount.path), "-n", "1", "--interval", "0.05")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("requests/s")
    assert "\x1b" not in done.stdout


def test_on_a_terminal_the_tables_are_drawn(mount):
    ours, theirs = pty.openpty()
    # Rich asks for the width, and a pty of none would fold every table.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 50, 160, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "vfsd", "top", str(mount.path), "-n", "2", "--interval", "0.05"],
        env={**mount.environment, "TERM": "xterm"},
        cwd=mount.root,
        stdout=theirs,
    ) as process:
        os.close(theirs)
        told = b""
        with suppress(OSError):  # EIO: the other end is closed, which is the end
            while piece := os.read(ours, 65536):
                told += piece
        os.close(ours)
    assert process.returncode == 0
    for word in (b"requests/s", b"handlers busy", b"attachment", b"process", b"\x1b["):
        assert word in told


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--interval", "0"], 2, "not between"),
        (["--interval", "nan"], 2, "not between"),
        (["-n", "0"], 2, "none"),
        (["/"], 3, "no vfsd daemon"),
    ],
)
def test_the_command_line_refuses_what_means_nothing(mount, arguments, code, word):
    done = (
        mount.vfsd("top", str(mount.path), *arguments)
        if code == 2
        else mount.vfsd("top", *arguments)
    )
    assert (done.returncode, word in done.stderr) == (code, True), done.stderr


def test_a_killed_viewer_leaves_nothing_measured(mount, client):
    viewer = subprocess.Popen(
        [sys.executable, "-m", "vfsd", "top", str(mount.path), "--json", "--interval", "0.05"],
        env=mount.environment,
        cwd=mount.root,
        stdout=subprocess.PIPE,
    )
    assert viewer.stdout is not None
    assert json.loads(viewer.stdout.readline())["seconds"] > 0
    assert client.status()["viewers"] == 1
    viewer.kill()
    viewer.wait()
    viewer.stdout.close()
    while client.status()["viewers"]:
        pass
