"""ls, cat, put, get, attach, detach and status as a person runs them."""

import json
import os
import pty
import subprocess
import sys

import pytest

from vfsd.cli import attach as attach_module
from vfsd.exitcodes import ExitCode

from .treecompare import one_of_everything, picture


@pytest.fixture
def vfsd(daemon, tmp_path):
    """Run a verb in tmp_path; return its exit code, stdout and the lines of stderr."""

    def run(*arguments: object) -> tuple[int, bytes, list[str]]:
        done = subprocess.run(
            [sys.executable, "-m", "vfsd", *map(os.fspath, map(_text, arguments))],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr.decode().splitlines()

    return run


def _text(argument: object) -> str | bytes:
    return argument if isinstance(argument, bytes) else str(argument)


def test_put_and_get_follow_cp(vfsd, client, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/f").write_bytes(b"3")
    assert vfsd("put", "one", "mount/renamed") == (0, b"", [])
    assert vfsd("put", "one", "two", "mount") == (0, b"", [])
    assert vfsd("put", "-r", "dir", "mount") == (0, b"", [])
    assert vfsd("put", "-r", "dir", "mount/dir") == (0, b"", [])
    assert vfsd("put", "-r", "dir", "mount/other") == (0, b"", [])
    assert vfsd("put", "-r", "dir/.", "mount/other") == (0, b"", [])
    assert client.listdir() == [b"dir", b"one", b"other", b"renamed", b"two"]
    assert client.listdir("dir") == [b"dir", b"f"]
    assert client.listdir("other") == [b"f"]
    (tmp_path / "out").mkdir()
    assert vfsd("get", "mount/one", "mount/two", "out") == (0, b"", [])
    assert vfsd("get", "-r", "mount/dir", "out") == (0, b"", [])
    assert vfsd("get", "-r", "mount", "whole") == (0, b"", [])
    assert sorted(os.listdir(tmp_path / "out")) == ["dir", "one", "two"]
    assert sorted(os.listdir(tmp_path / "whole")) == ["dir", "one", "other", "renamed", "two"]


def test_a_tree_goes_round(vfsd, tmp_path):
    (tmp_path / "source").mkdir()
    one_of_everything(tmp_path / "source")
    assert vfsd("put", "-r", "source", "mount/copy") == (0, b"", [])
    assert vfsd("get", "-r", "mount/copy", "back") == (0, b"", [])
    assert picture(tmp_path / "back") == picture(tmp_path / "source")


def test_symlinks_on_the_command_line_are_followed_without_r_only(vfsd, client, tmp_path):
    (tmp_path / "f").write_bytes(b"1")
    (tmp_path / "l").symlink_to("f")
    assert vfsd("put", "l", "mount/a") == (0, b"", [])
    assert vfsd("put", "-r", "l", "mount/b") == (0, b"", [])
    assert client.read_bytes("a") == b"1"
    assert client.readlink("b") == b"f"
    client.symlink("a", "s")
    assert vfsd("get", "mount/s", "x") == (0, b"", [])
    assert vfsd("get", "-r", "mount/s", "y") == (0, b"", [])
    assert (tmp_path / "x").read_bytes() == b"1"
    assert os.readlink(tmp_path / "y") == "a"


def test_what_fails_is_named_and_the_rest_is_done(vfsd, client, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "dir").mkdir()
    code, _, told = vfsd("put", "none", "dir", "one", "mount")
    assert code == ExitCode.FAILED
    assert told == [
        "vfsd: none: No such file or directory",
        "vfsd: dir is a directory; -r copies directories",
    ]
    assert client.listdir() == [b"one"]
    code, _, told = vfsd("get", "mount/none", "mount/one", "dir")
    assert code == ExitCode.NOT_FOUND
    assert told == ["vfsd: mount/none: No such file or directory"]
    assert os.listdir(tmp_path / "dir") == ["one"]
    code, out, told = vfsd("cat", "mount/none", "mount/one")
    assert (code, out) == (ExitCode.NOT_FOUND, b"1")
    assert told == ["vfsd: mount/none: No such file or directory"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("ls", "elsewhere"), ExitCode.NOT_MOUNTED, "no vfsd daemon serves elsewhere"),
        (("ls", "mount/none"), ExitCode.NOT_FOUND, "mount/none: No such file"),
        (("ls", "mount/" + "x" * 256), ExitCode.FAILED, "File name too long"),
        (("put", "f", "f", "mount/none"), ExitCode.NOT_FOUND, "mount/none is not a directory"),
        (("put", "f", "mount/none/"), ExitCode.NOT_FOUND, "mount/none/ is not a directory"),
        (("put", "f", "mount/none/x"), ExitCode.NOT_FOUND, "mount/none/x: No such file"),
        (("get", "mount", "x"), ExitCode.FAILED, "mount is a directory; -r"),
        (("get", "-r", "mount", "none/x"), ExitCode.NOT_FOUND, "none/x: No such file"),
        (("cat", "mount"), ExitCode.FAILED, "mount: Is a directory"),
        (("attach", "memory", "mount"), ExitCode.USAGE, "is the mountpoint itself"),
        (("attach", "memory", "mount/f/x"), ExitCode.FAILED, "Not a directory"),
        (("attach", "nosuch", "mount/x"), ExitCode.NOT_FOUND, "'nosuch'"),
        (("attach", "./nosuch", "mount/x"), ExitCode.NOT_FOUND, "nosuch does not exist"),
        (("attach", "memory", "mount/x", "-o", "size"), ExitCode.USAGE, "KEY=VALUE"),
        (("detach", "mount/none"), ExitCode.NOT_FOUND, "mount/none is not where"),
        (("status", "elsewhere"), ExitCode.NOT_MOUNTED, "no vfsd daemon serves elsewhere"),
    ],
)
def test_wrong_arguments_give_one_sentence(vfsd, client, tmp_path, arguments, code, told):
    (tmp_path / "f").write_bytes(b"1")
    client.write_bytes("f", b"1")
    got, out, lines = vfsd(*arguments)
    assert got == code
    assert out == b""
    assert len(lines) == 1, lines
    assert lines[0].startswith("vfsd: ")
    assert told in lines[0]


def test_listing(vfsd, client):
    client.write_bytes("f", b"12345")
    client.setattr("f", mode=0o640, mtime_ns=0)
    client.write_bytes(".hidden", b"")
    client.write_bytes(b"\xff", b"")
    client.symlink("f", "link")
    assert vfsd("ls", "mount") == (0, b"f\nlink\n\xff\n", [])
    assert vfsd("ls", "-a", "mount")[1] == b".hidden\nf\nlink\n\xff\n"
    assert vfsd("ls", "mount/f")[1] == b"mount/f\n"
    long = vfsd("ls", "-l", "mount")[1].splitlines()
    assert long[0].startswith(b"-rw-r-----")
    assert b" 5 19" in long[0]
    assert long[1].endswith(b"link -> f")
    code, out, _ = vfsd("ls", "--json", "mount")
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert set(entries) == {".hidden", "f", "link", "\udcff"}
    assert entries["f"]["size_bytes"] == 5
    assert entries["f"]["mode"] == "-rw-r-----"
    assert entries["link"]["target"] == "f"
    assert code == 0


def test_cat_streams_binary(vfsd, client):
    data = os.urandom(3_000_000)
    client.write_bytes("f", data)
    assert vfsd("cat", "mount/f", "mount/f") == (0, data + data, [])


def test_a_reader_that_leaves_is_no_error(client, daemon, tmp_path):
    client.write_bytes("f", bytes(5_000_000))
    command = [sys.executable, "-m", "vfsd", "cat", "mount/f"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        running.stdout.read(10)
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_attaching(vfsd, client):
    client.mkdir("full")
    client.write_bytes("full/f", b"1")
    assert vfsd("attach", "memory", "mount/a/b", "-o", "size=1M") == (0, b"", [])
    code, _, told = vfsd("attach", "memory", "mount/full", "--read-only")
    assert code == 0
    assert told == ["vfsd: files that were in mount/full are hidden until it is detached"]
    code, _, told = vfsd("attach", "memory", "mount/a/b")
    assert code == ExitCode.REFUSED
    assert len(told) == 1
    with client.open("a/b/f", "wb"):
        code, _, told = vfsd("detach", "mount/a/b")
        assert code == ExitCode.REFUSED
        assert "--lazy" in told[0]
        assert vfsd("detach", "--lazy", "mount/a/b") == (0, b"", [])
    assert vfsd("detach", "mount/full") == (0, b"", [])
    assert client.read_bytes("full/f") == b"1"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("memory", "memory"),
        ("./src", "{here}/src"),
        ("src", "{here}/src"),
        ("..", "{above}"),
        ("/etc", "/etc"),
        ("passthrough:src", "passthrough:{here}/src"),
        ("passthrough:./none", "passthrough:{here}/none"),
        ("web:http://x/y", "web:http://x/y"),
        ("a:b", "a:b"),
        ("./a:b", "{here}/a:b"),
    ],
)
def test_sources_are_made_absolute_for_the_daemon(tmp_path, monkeypatch, given, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "memory").mkdir()
    wanted = expected.format(here=tmp_path, above=tmp_path.parent)
    assert attach_module.absolute(given) == wanted


def test_status(vfsd, daemon):
    code, out, told = vfsd("status", "--json", "mount")
    assert (code, told) == (0, [])
    (found,) = json.loads(out)
    assert found["state"] == "alive"
    assert found["mountpoint"] == os.fsdecode(daemon.mountpoint)


# -- progress ---------------------------------------------------------------------------------


def _on_a_terminal(tmp_path, *arguments: str) -> bytes:
    """Run a verb with stderr on a terminal, and return what it showed there."""
    ours, theirs = pty.openpty()
    try:
        running = subprocess.Popen(
            [sys.executable, "-c", _IMPATIENT, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd(), "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # a terminal whose other side is closed: EIO
                break
            if not piece:
                break
            shown += piece
        assert running.communicate()[0] == b""
        assert running.returncode == 0
    finally:
        os.close(ours)
    return shown


_IMPATIENT = """
import sys
from vfsd.cli import progress
progress.SILENT_SECONDS = 0.0
sys.argv[0] = "vfsd"
from vfsd.cli.main import main
sys.exit(main())
"""


def test_progress_is_shown_on_a_terminal_only(vfsd, client, tmp_path):
    (tmp_path / "src").mkdir()
    for number in range(1500):
        (tmp_path / "src" / f"f{number}").write_bytes(b"x")
    shown = _on_a_terminal(tmp_path, "put", "-r", "src", "mount/copy")
    assert b"/1501" in shown
    assert b"files" in shown
    assert vfsd("put", "-r", "src", "mount/copy2") == (0, b"", [])
