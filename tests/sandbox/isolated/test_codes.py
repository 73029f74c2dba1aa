"""Exit codes: the command's own, exactly, or 125 with one sentence."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.mounted.daemon import VfsdMount
from vfsd.errors import UserError
from vfsd.sandbox.host import find_bwrap
from vfsd.sandbox.runner import run

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 77, 125, 126, 127, 128, 143, 255])
def test_the_command_s_own_code(box, code):
    done = box.run("--", "sh", "-c", f"exit {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGPIPE]
)
def test_a_signal_gives_128_and_its_number(box, number):
    assert box.run("--", "sh", "-c", f"ulimit -c 0; kill -{number} $$").returncode == 128 + number


def test_a_missing_command_is_127(box):
    done = box.run("--", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert box.run("--", "./missing").returncode == 127


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("no-such-command", 127, "--path"),
        ("-x", 127, "--path"),
        ("", 127, "--path"),
        ("odd'\\n%s`id`", 127, "--path"),
        ("./missing", 127, "--ro-bind"),
        ("/opt/tool/bin/tool", 127, "--ro-bind"),
        ("./plain", 126, "permission"),
        ("./", 126, "directory"),
        ("/usr", 126, "directory"),
    ],
)
def test_one_sentence_says_why_nothing_started_and_what_to_do(box, command, code, words):
    (box.directory / "plain").write_text("not a program")
    done = box.run("--", command)
    (line,) = done.stderr.splitlines()
    assert done.returncode == code
    assert line.startswith(f"vfsd: '{command}' ")
    assert words in line


def test_what_cannot_be_executed_is_126(box):
    (box.directory / "plain").write_text("not a program")
    for command in ("./plain", "./"):
        assert box.run("--", command).returncode == 126


def test_a_script_without_its_interpreter_is_127(box):
    script = box.directory / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    assert box.run("--", "./script").returncode == 127


def test_arguments_arrive_as_they_are(box):
    odd = [
        "",
        " ",
        "a b",
        "*",
        "$HOME",
        "'",
        '"',
        "\\",
        "\n",
        "--",
        "-x",
        "é",
        os.fsdecode(b"\xff"),
    ]
    script = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    done = box.run("--", "/usr/bin/python3", "-c", script, *odd, text=False)
    assert done.stdout == b"\0".join(map(os.fsencode, odd))


def test_many_arguments(box):
    many = [f"argument-{number}" for number in range(20_000)]
    done = box.run("--", "sh", "-c", "echo $#", "sh", *many)
    assert done.stdout == "20000\n", done.stderr


def test_odd_words_in_a_long_command(box):
    odd = ["", "'", "a'b''c", "$HOME", "`id`", "\\", "\n", "é", os.fsdecode(b"\x81\xff"), "-n"]
    script = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    words = odd * 1_000
    done = box.run("--", "/usr/bin/python3", "-c", script, *words, text=False)
    assert done.stdout == b"\0".join(map(os.fsencode, words)), done.stderr


def test_a_long_command_s_code(box):
    words = ["x"] * 10_000
    assert box.run("--", "sh", "-c", "exit 7", *words).returncode == 7
    assert box.run("--", "no-such-command", *words).returncode == 127


def test_more_than_a_program_may_be_given_is_125():
    with pytest.raises(UserError, match="Argument list too long") as failure:
        run(find_bwrap(), [], ["true", "x" * 1_000_000], None)
    assert failure.value.exit_code == 125


@pytest.mark.parametrize("place", ["home", "above", "root"])
def test_no_base_that_would_show_all_of_a_user_s_files(box, tmp_path, place):
    home = tmp_path / "home"
    home.mkdir()
    here = {"home": home, "above": tmp_path, "root": "/"}[place]
    said = box.refused("--", "true", cwd=here, env={**box.environment, "HOME": str(home)})
    assert "'cd' into a project" in said
    assert "--base DIR" in said


def test_a_missing_base(box):
    assert "nowhere" in box.refused("--base", str(box.directory / "nowhere"), "--", "true")


def test_a_base_that_is_a_file(box):
    (box.directory / "file").write_text("")
    said = box.refused("--base", str(box.directory / "file"), "--", "true")
    assert "no vfsd archive" in said


def test_the_current_directory_is_gone(box):
    gone = box.directory / "gone"
    gone.mkdir()
    words = " ".join(box.words("--", "true"))
    script = f"cd gone && rmdir ../gone && exec {words}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=box.directory, env=box.environment, capture_output=True, text=True
    )
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) == 1


def test_bwrap_is_missing(box, tmp_path):
    said = box.refused("--", "true", env={**box.environment, "PATH": str(tmp_path)})
    assert "bwrap is missing" in said
    assert "apt-get install bubblewrap" in said


def test_a_bwrap_that_cannot_be_executed(box, tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/no/such/interpreter\n")
    fake.chmod(0o755)
    box.refused("--", "true", env={**box.environment, "PATH": str(tmp_path)})


@pytest.mark.parametrize(
    "options",
    [
        ["--env", "=x"],
        ["--env", "NOT_SET_ANYWHERE"],
        ["--env"],
        ["--bind", "/no/such/thing"],
        ["--ro-bind", "/no/such/thing:/here"],
        ["--bind", "/usr:relative"],
        ["--bind", "/usr:/"],
        ["--ro-bind", "/usr:/proc"],
        ["--ro-bind", "/usr:/proc/1"],
        ["--ro-bind", "/usr:/dev"],
        ["--ro-bind", "/usr:/dev/null"],
        ["--bind", "/usr:"],
        ["--path", "/no/such/thing"],
        ["--no-such-option"],
        ["--net=yes"],
    ],
    ids=" ".join,
)
def test_a_bad_option(box, options):
    box.refused(*options, "--", "true")


@pytest.mark.parametrize("arguments", [[], ["--"], ["--net"]], ids=["none", "dashes", "option"])
def test_no_command(box, arguments):
    assert "no command" in box.refused(*arguments)


@pytest.mark.parametrize("directory", ["missing", "/missing", "file", "loop"])
def test_a_directory_to_start_in_that_is_none(box, directory):
    (box.directory / "file").write_text("")
    (box.directory / "loop").symlink_to("loop")
    done = box.run("--chdir", directory, "--", "true")
    assert done.returncode == 125
    assert "vfsd: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_to_start_in(box):
    (box.directory / "sub").mkdir()
    assert box.sh("pwd", "--chdir", "sub") == f"{box.directory}/sub\n"
    assert box.sh("pwd; echo $PWD", "--chdir", "/tmp") == "/tmp\n/tmp\n"


def test_without_user_namespaces(box):
    """bwrap's own failure: it may make no user namespace."""
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*words, *box.words("--", "true")],
        cwd=box.directory,
        env=box.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 125, done.stderr
    assert "vfsd doctor" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_no_failure(box):
    done = box.run("--help")
    assert done.returncode == 0
    assert "--ro-bind" in done.stdout


def test_options_end_at_the_command(box):
    done = box.run("sh", "-c", "echo $1", "sh", "--net")
    assert done.stdout == "--net\n"


def test_a_dead_daemon_s_mount(box):
    """A mount whose daemon was killed is told, not waited for."""
    dead = VfsdMount()
    try:
        dead.process.kill()
        dead.process.wait()
        assert f"vfsd unmount {dead.path}" in box.refused("--base", str(dead.path), "--", "true")
    finally:
        dead._destroy()
