"""The isolating engines behave the same: for us and for an ordinary user."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from .conftest import ENGINES, Person, eventually, picture

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

CHANGES = """
echo changed >>src/main.c; chmod 755 src/other.c; rm README; rm -r old; mkdir old; echo n >old/new
mv src/deep moved; ln -s main.c src/link; ln src/main.c src/hard; mkfifo pipe; mkdir empty
touch -d @1000000000.5 src/other.c; touch -d @1000000001 src/main.c
"""
LOOK = (
    "find . -mindepth 1 | sort; cat src/main.c old/new moved/a/file src/link;"
    " stat -c '%n %A %h %Y' src/main.c src/other.c src/hard"
)


@pytest.fixture
def project(person: Person) -> Person:
    for name in ("README", "src/main.c", "src/other.c", "old/thing", "src/deep/a/file"):
        person.write(name, f"this is {name}\n")
    (person.path / ".git").mkdir()
    person.own()
    return person


def test_nothing_outside_changes_whatever_is_changed_inside(project, engine):
    before = picture(project.path)
    seen = project.sh(CHANGES + LOOK, "--engine", engine)
    assert "./moved/a/file" in seen
    assert "./src/deep" not in seen
    assert "./old/thing" not in seen
    assert "src/hard -rw-r--r-- 2" in seen
    assert "src/other.c -rwxr-xr-x 1 1000000000" in seen
    assert picture(project.path) == before
    assert os.listdir(project.runs) == []


@pytest.mark.parametrize("forked_by", ENGINES)
def test_a_saved_layer_is_forked_by_either_engine(project, engine, forked_by):
    before = picture(project.path)
    seen = project.sh(CHANGES + LOOK, "--engine", engine, "--save", "warm")
    again = project.sh(LOOK, "--engine", forked_by, "--from", "warm")
    assert again == seen
    # A fork of a fork, which takes away what the first one had made.
    project.sh("rm moved/a/file; echo 2 >old/new", "--engine", forked_by, "--from", "warm",
               "--save", "next")  # fmt: skip
    assert project.sh("ls moved/a; cat old/new", "--from", "next") == "2\n"
    assert project.sh(LOOK, "--from", "warm") == seen
    assert picture(project.path) == before


def test_the_line_at_the_end_says_what_ran_and_what_changed(project, engine):
    done = project.done("run", "--engine", engine, "--save", "kept", "--", "sh", "-ec",
                        "rm README; echo >>src/main.c; echo >a; echo >b")  # fmt: skip
    told = done.stderr.splitlines()[-1]
    assert told.startswith(
        f"vfsd: 2 files added, 1 changed, 1 removed; kept as kept ({engine} engine), "
    )
    assert told.endswith(" s")
    assert f"vfsd: no changes ({engine} engine)" in project.done(
        "run", "--engine", engine, "--", "true"
    ).stderr  # fmt: skip
    assert project.done("run", "--engine", engine, "--quiet", "--", "touch", "x").stderr == ""


def test_the_first_engine_that_works_is_the_kernel_s(project):
    assert "(kernel engine)" in project.done("run", "--", "true").stderr


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 77", 77), ("kill -KILL $$", 137), ("kill -TERM $$", 143)],
)
def test_codes(project, engine, script, code):
    assert project.done("run", "--engine", engine, "--", "sh", "-c", script).returncode == code


def test_a_command_that_cannot_be_started(project):
    for engine in (*ENGINES, "native"):
        for command, code in (("no-such", 127), ("./README", 126), (".", 126)):
            done = project.done("run", "--quiet", "--engine", engine, "--", command)
            assert done.returncode == code, (engine, command, done.stderr)
            assert len(done.stderr.splitlines()) == 1


def test_bytes_go_through_as_they_are(project, engine):
    data = bytes(range(256)) * 1000
    done = subprocess.run(
        project.words("run", "--engine", engine, "--", "sh", "-c", "cat >copy; cat copy"),
        cwd=project.path, env=project.environment, input=data, capture_output=True,
    )  # fmt: skip
    assert done.stdout == data


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_a_signal_is_passed_on_and_nothing_is_left(project, engine, name):
    script = f"trap 'echo caught >said; exit 9' {name}; echo up; while :; do sleep 0.01; done"
    running = project.start(
        "run", "--engine", engine, "--keep-on-failure", "--", "sh", "-c", script
    )
    running.send_signal(getattr(signal, f"SIG{name}"))
    assert running.wait(60) == 9
    (kept,) = os.listdir(project.root / "state/vfsd/store/snapshots")
    assert project.sh("cat said", "--from", kept) == "caught\n"
    assert os.listdir(project.runs) == []


def test_kill_9_leaves_no_process_no_mount_and_no_directory(project, engine):
    word = f"marker-{os.urandom(8).hex()}"
    script = f": {word}; echo x >file; setsid sleep 1000 & echo up; wait"
    running = project.start("run", "--engine", engine, "--", "sh", "-c", script)
    running.kill()
    running.wait()
    eventually(lambda: not processes_with(word), "every process is gone")
    eventually(lambda: not project.mounts(), "the mount is gone")
    # The directory of a killed run goes when somebody looks.
    assert project.vfsd("ps") == ""
    assert os.listdir(project.runs) == []
    assert not (project.path / "file").exists()


def test_kill_9_while_a_layer_is_made_to_be_kept(project, engine):
    running = project.start("run", "--engine", engine, "--save", "never", "--", "sh", "-c",
                            "echo x >file; echo up; sleep 1000")  # fmt: skip
    running.kill()
    running.wait()
    eventually(lambda: not project.mounts(), "the mount is gone")
    assert "no snapshot 'never'" in project.vfsd("run", "--from", "never", "--", "true", code=125)
    project.vfsd("gc")
    assert os.listdir(project.root / "state/vfsd/store/staging") == []


def test_several_at_once_on_one_snapshot(project, engine):
    project.sh("echo base >shared", "--save", "warm")
    script = "echo {0} >>shared; cat shared; echo {0} >own; sleep 0.1; ls own; exit {0}"
    words = ("run", "--quiet", "--engine", engine, "--from", "warm", "--", "sh", "-c")
    running = [project.start(*words, f"echo up; {script.format(number)}") for number in range(4)]
    for number, each in enumerate(running):
        said, _ = each.communicate(timeout=60)
        assert said == f"base\n{number}\nown\n".encode()
        assert each.returncode == number


def test_no_rights_and_no_host(project, engine):
    seen = project.sh(
        "grep -E 'Cap(Prm|Eff|Bnd)|NoNew' /proc/self/status; cat /proc/self/mountinfo;"
        f" ls -A {project.root}; unshare -Ur true 2>&1 || echo refused; ls /root 2>&1 || :",
        *("--engine", engine),
    )
    assert seen.count("0000000000000000") == 3
    assert "NoNewPrivs:\t1" in seen
    assert "refused" in seen
    assert "upperdir=/" not in seen
    assert "lowerdir=/tmp" not in seen
    assert "\nproject\n" in seen  # and nothing beside it
    assert "state" not in seen


def test_elsewhere_inside_no_path_of_the_host_is_told(project, engine):
    seen = project.sh("pwd; cat src/main.c; cat /proc/self/mountinfo /proc/*/cmdline; env",
                      "--engine", engine, "--at", "/opt/here")  # fmt: skip
    assert seen.startswith("/opt/here\nthis is src/main.c\n")
    assert str(project.root) not in seen


def test_a_full_layer_is_full(project, engine):
    seen = project.sh(
        "dd if=/dev/zero of=big bs=64k count=100 2>&1 || :; df --output=size . | tail -1",
        *("--disk", "2M", "--engine", engine),
    )
    assert "No space left on device" in seen
    assert seen.split()[-1] == "2048"


def test_what_the_kernel_s_engine_cannot_keep_is_the_other_one_s(person):
    """A directory of another group's: no user namespace of an ordinary user has such an id."""
    if not person.become:
        pytest.skip("root's namespace has all ids")
    person.write("file", "x")
    os.chown(person.path, -1, 4)
    done = person.done("run", "--", "sh", "-c", "echo y >>file; cat file")
    assert done.stdout == "xy\n"
    assert "the fuse engine does it" in done.stderr
    assert "(fuse engine)" in done.stderr


def test_files_of_others_deeper_in_a_base(person):
    """The kernel copies none up for an ordinary user (EOVERFLOW), and vfsd says what does."""
    if not person.become:
        pytest.skip("root's namespace has all ids")
    for name in ("d/mine", "d/group", "d/roots", "theirs/file"):
        person.write(name, "1\n")
    os.chown(person.path / "d/group", -1, 4)
    os.chown(person.path / "d/roots", 0, 0)
    (person.path / "d/roots").chmod(0o666)
    os.chown(person.path / "theirs", -1, 4)
    before = picture(person.path)
    script = "echo 2 >>d/group; echo 2 >>d/roots; touch theirs/new; mv d e; cat e/group e/roots"
    done = person.done("run", "--", "sh", "-ec", script)
    assert done.returncode == 2
    assert "Value too large" in done.stderr
    hint = done.stderr.splitlines()[-1]
    assert "is not this user's and group's own" in hint
    assert hint.endswith("(EOVERFLOW); '--engine fuse' can")
    assert person.sh(script, "--engine", "fuse") == "1\n2\n1\n2\n"
    # What succeeds, and what was told so, gets no hint; nor does a base of one's own.
    assert "EOVERFLOW" not in person.done("run", "--", "cat", "d/group").stderr
    done = person.done("run", "--base", person.path / "d", "--", "sh", "-c", "exit 1")
    assert "EOVERFLOW" in done.stderr
    assert "EOVERFLOW" not in person.done(
        "run", "--quiet", "--", "sh", "-c", "exit 1"
    ).stderr  # fmt: skip
    assert picture(person.path) == before


def test_without_the_compiled_program_the_same_is_done_in_python(project):
    script = (
        "import sys\n"
        "from vfsd.sandbox import overlaid\n"
        "overlaid.PROGRAM = '/nonexistent'\n"
        "assert overlaid.program()[-1] == overlaid.SCRIPT\n"
        "from vfsd.cli.main import main\n"
        "sys.exit(main())\n"
    )
    words = ("run", "--engine", "kernel", "--at", "/work", "--", "sh", "-c", CHANGES + LOOK)
    done = subprocess.run(
        # The interpreter starts once more, and must be one that this user may start.
        [*project.become, "/usr/bin/python3", "-c", script, *words],
        cwd=project.path, env=project.environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == project.sh(CHANGES + LOOK, "--engine", "kernel")


def processes_with(word: str) -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as line:
                if word.encode() in line.read():
                    found.append(name)
        except OSError:
            continue
    return found
