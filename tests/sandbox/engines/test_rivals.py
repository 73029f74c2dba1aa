"""Where others fall short: each is a row of what a sandbox for toolchains must do better.

Every one by both engines, as whoever runs the tests and as an ordinary user; what others have here
is told in a test's name or first line. How long it takes is measured, and stands in
docs/PERFORMANCE.md.
"""

from __future__ import annotations

import os
import shutil
import socket
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


def test_no_lock_file_and_no_language_is_needed(person, engine):
    person.write("only.txt", "text\n")
    assert person.sh("cat only.txt", "--engine", engine) == "text\n"


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
    # Not ls: the kernel keeps listings, also those of a daemon that is gone.
    script = "echo up; while ls / >/dev/null && touch it 2>/dev/null; do :; done; exit 9"
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


def test_results_are_never_stale(person, engine):
    """What is ignored by git, the environment, and the package beside it all count, each time."""
    person.write(".git/HEAD", "")
    person.write(".gitignore", "secret\n")
    person.write("packages/one/main", "")
    script = "cat ../../secret ../two/main; echo $COLORTERM"
    for number in ("1", "2"):
        person.write("secret", f"secret {number}\n")
        person.write("packages/two/main", f"two {number}\n")
        seen = person.sh(
            script, "--engine", engine, cwd=person.path / "packages/one",
            env={**person.environment, "COLORTERM": number},
        )  # fmt: skip
        assert seen == f"secret {number}\ntwo {number}\n{number}\n"


def test_input_by_a_pipe_that_stays_open_does_not_hang(person, engine):
    running = subprocess.Popen(
        person.words("run", "--quiet", "--engine", engine, "--", "sh", "-c", "read a; echo $a"),
        cwd=person.path, env=person.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    person.processes.append(running)
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(b"typed\nmore\n")
    running.stdin.flush()
    assert running.stdout.read() == b"typed\n"
    assert running.wait(60) == 0


def test_codes_are_a_shell_s(person, engine):
    words = ("run", "--quiet", "--engine", engine, "--")
    assert person.done(*words, "no-such-command").returncode == 127
    running = person.start(*words, "sh", "-c", "echo up; exec sleep 1000")
    running.terminate()
    assert running.wait(60) == 143


def test_the_host_is_not_mounted_writable_by_root_either(person, engine):
    script = (
        "for at in / /usr /proc . /etc/passwd; do mount -o remount,rw $at 2>&1 || echo no; done"
    )
    script += "; sh -c ': >>/usr/bin/env' 2>/dev/null && echo written; :"
    seen = person.sh(script, "--engine", engine).splitlines()
    assert seen.count("no") == 5
    assert "written" not in seen


def test_files_of_the_host_are_not_there(person, engine):
    (person.root / "beside").write_text("canary")
    (person.root / "home" / "secret").write_text("canary")
    person.own()
    seen = person.sh(
        f"cat {person.root}/beside {person.root}/home/secret ../beside /etc/shadow 2>&1 || :",
        *("--engine", engine),
    )
    assert "canary" not in seen
    assert seen.count("No such file or directory") == 4


def test_a_project_in_tmp_is_there_and_the_rest_of_tmp_is_private(person, engine):
    assert str(person.path).startswith("/tmp/")
    person.write("file", "below tmp\n")
    seen = person.sh("cat file; ls -A /tmp; echo x >/tmp/mine", "--engine", engine)
    assert seen == f"below tmp\n{person.root.name}\n"
    assert not os.path.exists("/tmp/mine")


@pytest.mark.skipif(not shutil.which("npm"), reason="no npm here")
def test_npm_finds_a_home_to_write_to(person, engine):
    person.write("dep/package.json", '{"name": "dep", "version": "1.0.0"}')
    script = "npm init -y >/dev/null; npm install --offline --no-audit ./dep >&2; ls node_modules"
    assert person.sh(script, "--engine", engine) == "dep\n"


def test_a_full_quota_is_told_by_its_errno(person, engine):
    script = (
        "import errno, os, sys\n"
        "for place in ('.', '/tmp', os.environ['HOME'], '/dev/shm'):\n"
        "    fd = os.open(place + '/full', os.O_CREAT | os.O_WRONLY)\n"
        "    try:\n"
        "        while True: os.write(fd, bytes(1 << 16))\n"
        "    except OSError as error: print(errno.errorcode[error.errno])\n"
        "fd = os.open('/tmp/full', os.O_WRONLY | os.O_TRUNC)\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "try: os.pwrite(fd, b'x', 3 << 20)\n"
        "except OSError as error: print(errno.errorcode[error.errno])\n"
    )
    words = ("run", "--quiet", "--engine", engine, "--disk", "2M", "--fsize", "3M", "--")
    seen = person.vfsd(*words, "/usr/bin/python3", "-c", script)
    assert seen.split() == ["ENOSPC"] * 4 + ["EFBIG"]


def test_thousands_of_files_are_made_renamed_and_removed(person, engine):
    script = (
        "import os\n"
        "for n in range(5000): os.close(os.open(f'f{n}', os.O_CREAT | os.O_WRONLY))\n"
        "for n in range(5000): os.rename(f'f{n}', f'g{n}')\n"
        "names = os.listdir('.')\n"
        "print(len(names), sorted(names)[:2])\n"
        "for name in names: os.unlink(name)\n"
        "print(os.listdir('.'))\n"
    )
    seen = person.vfsd("run", "--engine", engine, "--", "/usr/bin/python3", "-c", script)
    assert seen == "5000 ['g0', 'g1']\n[]\n"


def test_no_path_of_the_host_by_environment_or_readlink(person, engine):
    person.write("file", "x")
    (person.path / "inside").symlink_to("file")
    script = (
        "env; cat /proc/self/environ /proc/1/environ 2>/dev/null; readlink inside /proc/self/cwd"
        " /proc/self/root /proc/1/cwd /proc/1/exe /proc/self/exe; exec 9<file; readlink"
        " /proc/self/fd/*; pwd; realpath .; cat /proc/self/mountinfo /proc/self/maps"
    )
    done = person.done("run", "--engine", engine, "--at", "/here", "--", "sh", "-c", script)
    assert "/here/file" in done.stdout
    for told in (str(person.root), str(person.root.name), os.getcwd()):
        assert told not in done.stdout


def test_the_network_is_closed(person, engine):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"exec 3<>/dev/tcp/127.0.0.1/{port}"
        done = person.done("run", "--engine", engine, "--", "bash", "-c", script)
        assert done.returncode == 1
        assert "Connection refused" in done.stderr
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
