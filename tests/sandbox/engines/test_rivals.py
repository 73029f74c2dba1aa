"""Where others fall short: each is a row of what a sandbox for toolchains must do better.

What stands elsewhere: a missing command is 127 and SIGTERM is 143 (test_engines.py), a piped
input does not hang (../isolated/test_streams.py), the host cannot be remounted (../isolated/
test_isolation.py), an edge of a quota is ENOSPC (test_engines.py).
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


def test_a_fifo_does_not_break_writing_back_half_way(person, engine):
    script = "mkdir a z; echo 1 >a/f; mkfifo fifo m; echo 1 >z/f; chmod 444 a/f; ln -s a/f link"
    person.sh(script, "--engine", engine, "--apply")
    for name in ("a/f", "z/f", "link"):
        assert (person.path / name).read_text() == "1\n"
    assert stat.S_ISFIFO(os.lstat(person.path / "fifo").st_mode)
    # And once more over what is read-only now.
    person.sh("echo 2 >new; mv -f new a/f", "--engine", engine, "--apply")
    assert (person.path / "a/f").read_text() == "2\n"


def test_a_layer_of_one_project_leaves_another_s_alone(person):
    person.write("one/package.json", "{}")
    person.write("two/package.json", "{}")
    for name in ("one", "two"):
        person.sh(f"echo {name} >made", "--save", name, cwd=person.path / name)
    for name in ("one", "two"):
        assert person.sh("cat made", "--from", name, cwd=person.path / name) == f"{name}\n"


def test_no_lock_file_no_language_and_ignored_files_count(person):
    person.write(".git/HEAD", "")
    person.write(".gitignore", "secret\n")
    person.write("secret", "1\n")
    assert person.sh("cat secret") == "1\n"
    (person.path / "secret").write_text("2\n")
    assert person.sh("cat secret") == "2\n"


def test_home_and_tmp_can_be_written_to(person, engine):
    seen = person.sh("for d in $HOME /tmp /var/tmp /dev/shm; do echo $d >$d/f; cat $d/f; done",
                     "--engine", engine)  # fmt: skip
    assert seen == "/home/user\n/tmp\n/var/tmp\n/dev/shm\n"


def test_the_environment_of_the_caller_is_not_there(person, engine):
    environment = {**person.environment, "AWS_SECRET": "canary"}
    assert "canary" not in person.sh(
        "env; cat /proc/*/environ", "--engine", engine, env=environment
    )


def test_a_directory_of_many_entries_is_listed_whole(person, engine):
    script = "seq 6000 | xargs touch; ls | wc -l; ls | sort -n | uniq -d | wc -l"
    assert person.sh(script, "--engine", engine).split() == ["6000", "0"]


def test_what_is_read_only_inside_the_writable_stays_it(person, engine):
    person.write("at/hidden", "x")
    kept = person.root / "home" / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept\n")
    person.own()
    script = "for c in 'rm at/file' 'rm -r at' 'mv at b' 'echo x >>at/file' '>at/new';"
    script += ' do sh -c "$c" 2>/dev/null && echo "$c"; done; cat at/file'
    words = ("--engine", engine, "--ro-bind", f"{kept}:{person.path}/at")
    assert person.sh(script, *words) == "kept\n"
    assert (kept / "file").read_text() == "kept\n"


@pytest.mark.skipif(not shutil.which("gcc"), reason="no compiler here")
def test_programs_of_the_machine_work(person, engine):
    """A compiler, what it made, git, and rm -rf and tar over what is below."""
    person.write("main.c", 'int puts(const char *); int main(void) { return puts("made") < 0; }\n')
    person.write("old/deep/file", "x")
    seen = person.sh(
        "gcc -o main main.c; ./main; tar cf all.tar old; rm -rf old; tar xf all.tar;"
        " cat old/deep/file; git init -q .; git add -A; git -c user.name=a -c user.email=a@b"
        " commit -qm first; git log --format=%s; git clone -q . copy; ls copy/old/deep",
        *("--engine", engine),
    )
    assert seen == "made\nxfirst\nfile\n"


def test_a_daemon_that_is_killed_leaves_no_mount(person):
    """The private mount of the other engine: the command fails, and nothing is left."""
    script = "echo up; while ls / >/dev/null && ls . >/dev/null; do :; done; exit 9"
    running = person.start("run", "--engine", "fuse", "--", "sh", "-c", script)
    (daemon,) = [
        int(pid)
        for pid in subprocess.run(
            ["pgrep", "-P", str(running.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        if "python" in os.readlink(f"/proc/{pid}/exe")
    ]
    os.kill(daemon, 9)
    assert running.wait(60) == 9
    assert person.mounts() == []
    assert os.listdir(person.runs) == []


def test_the_native_engine_promises_nothing_it_does_not_keep(person):
    for option in ("--memory=1G", "--save=x", "--at=/work", "--disk=1M", "--timeout=5"):
        said = person.vfsd("run", "--engine", "native", option, "--", "touch", "ran", code=125)
        assert "isolates nothing" in said
    assert os.listdir(person.path) == []
