"""What a command wrote, kept as a snapshot or written back, or not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .conftest import picture

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


def snapshots(person) -> list[str]:
    place = person.root / "state/vfsd/store/snapshots"
    return sorted(os.listdir(place)) if place.exists() else []


def test_a_name_that_is_taken_is_refused_before_anything_runs(person):
    person.sh("echo 1 >file", "--save", "warm")
    said = person.vfsd("run", "--save", "warm", "--", "sh", "-c", "echo ran >&2", code=125)
    assert "exists already" in said
    assert "ran" not in said.splitlines()
    person.sh("echo 2 >file", "--save", "warm", "--replace")
    assert person.sh("cat file", "--from", "warm") == "2\n"
    assert person.sh("cat file", "--from", "snapshot:warm") == "2\n"


def test_a_failure_is_not_kept_unless_asked_for(person, engine):
    words = ("run", "--engine", engine, "--save", "warm")
    said = person.vfsd(*words, "--", "sh", "-c", "echo x >file; exit 3", code=3)
    assert "nothing is kept, since it failed with 3" in said
    assert snapshots(person) == []
    words = (*words, "--keep-on-failure")
    said = person.vfsd(*words, "--", "sh", "-c", "echo x >file; exit 3", code=3)
    (name,) = snapshots(person)
    assert name.startswith("failed-")
    assert f"kept as {name}, since it failed with 3" in said
    assert person.sh("cat file", "--from", name) == "x\n"


def test_applied_on_success_only(person, engine):
    person.write("kept", "1\n")
    person.write("gone", "1\n")
    before = picture(person.path)
    words = ("run", "--engine", engine, "--apply")
    assert "failed with 4" in person.vfsd(*words, "--", "sh", "-c", "rm gone; exit 4", code=4)
    assert picture(person.path) == before
    said = person.done(*words, "--", "sh", "-ec", "rm gone; echo 2 >>kept; mkdir d; echo n >d/new")
    assert f"written back to {person.path}" in said.stderr, said.stderr
    assert (person.path / "kept").read_text() == "1\n2\n"
    assert (person.path / "d/new").read_text() == "n\n"
    assert not (person.path / "gone").exists()
    assert os.stat(person.path / "d/new").st_uid == os.stat(person.path).st_uid
    always = ("run", "--engine", engine, "--apply-always", "--", "sh", "-c")
    person.vfsd(*always, "echo 3 >>kept; exit 5", code=5)
    assert (person.path / "kept").read_text() == "1\n2\n3\n"
    assert snapshots(person) == []


def test_what_was_changed_outside_meanwhile_is_not_overwritten(person, engine):
    """Somebody edits the file that the command edits, while it runs."""
    person.write("file", "1\n")
    person.write("other", "1\n")
    os.mkfifo(person.root / "go")
    (person.root / "go").chmod(0o666)
    script = f"echo 2 >>file; echo 2 >>other; echo up; read x <{person.root}/go"
    running = person.start(
        "run",
        "--engine",
        engine,
        "--apply",
        "--bind",
        f"{person.root}/go",
        "--",
        "sh",
        "-c",
        script,
    )
    (person.path / "file").write_text("edited\n")
    with open(person.root / "go", "w") as go:
        go.write("on\n")
    _, said = running.communicate(timeout=60)
    assert running.returncode == 125
    assert b"was changed outside while the command ran" in said
    assert (person.path / "file").read_text() == "edited\n"
    assert (person.path / "other").read_text() == "1\n"
    (name,) = snapshots(person)
    assert person.sh("cat other", "--from", name) == "1\n2\n"


def test_what_was_changed_outside_during_the_run_conflicts_also_later(person, engine):
    """Kept only, and applied afterwards: the edit came before the end, but after the start."""
    for name in ("file", "large", "gone/inner", "same"):
        person.write(name, "1\n")
    (person.path / "large").write_bytes(bytes(1 << 17))
    os.symlink("file", person.path / "link")
    os.mkfifo(person.root / "go")
    (person.root / "go").chmod(0o666)
    script = "for f in file large same; do echo 2 >>$f; done; rm -r gone; ln -sf same link;"
    script += f" echo up; read x <{person.root}/go"
    words = ("--engine", engine, "--save", "warm", "--bind", f"{person.root}/go")
    running = person.start("run", *words, "--", "sh", "-c", script)
    (person.path / "file").write_text("3\n")
    with open(person.path / "large", "r+b") as large:
        large.write(b"x")
    os.utime(person.path / "large", ns=(1, 1))
    (person.path / "gone/inner").write_text("3\n")
    (person.path / "link").unlink()
    os.symlink("large", person.path / "link")
    with open(person.root / "go", "w") as go:
        go.write("on\n")
    assert running.wait(60) == 0
    said = person.vfsd("apply", "warm", code=10)
    named = {line.split(":")[0].strip() for line in said.splitlines() if line.startswith("  ")}
    assert named == {"file", "large", "gone/inner", "link"}
    assert (person.path / "file").read_text() == "3\n"
    assert (person.path / "same").read_text() == "1\n"
    person.vfsd("apply", "--theirs", "warm")
    assert (person.path / "same").read_text() == "1\n2\n"
    assert (person.path / "gone/inner").read_text() == "3\n"


def test_whatever_a_command_leaves_is_counted_and_kept(person, engine):
    """Names, modes, types and depths are the command's; none stops, leads or fails us."""
    for name in ("closed", "listed", "replaced"):
        person.write(f"{name}/sub/file", "1\n")
        person.write(f"{name}/file", "1\n")
    person.write("file", "1\n")
    script = r"""
import os, socket
for name in ("closed/file", "listed/file", "file", "new"):
    with open(name, "w") as file:
        file.write("2")
os.chmod("closed", 0), os.chmod("listed", 0o400), os.chmod("file", 0), os.chmod("new", 0)
os.makedirs("made/below"), os.chmod("made/below", 0), os.chmod("made", 0)
os.system("rm -r replaced"), os.symlink("/etc", "replaced")
os.mkfifo("fifo"), socket.socket(socket.AF_UNIX).bind("socket"), os.symlink("loop", "loop")
open(b"\xff\n\x1b[31m", "w").close()
for name in ("opaque", "whiteout", "redirect", "metacopy", "origin"):
    os.setxattr(".", "user.overlay." + name, b"y")
for level in range(1200):
    os.mkdir("deep"), os.chdir("deep")
"""

    words = ("--engine", engine, "--save", "warm", "--", "python3", "-c", script)
    done = person.done("run", *words)
    assert done.returncode == 0, done.stderr
    assert "kept as warm" in done.stderr
    assert "Traceback" not in done.stderr
    seen = person.sh("ls -d [a-z]*", "--engine", "kernel", "--from", "warm")
    assert "closed\ndeep\nfifo\nfile\nlisted\nloop\nmade\nnew\nreplaced\nsocket\n" in seen
    person.vfsd("snapshot", "verify", "warm")
    person.vfsd("snapshot", "rm", "warm")
    assert snapshots(person) == []


def private(person, script: str) -> str:
    """Run a shell script with mounts of its own; return what it says on both streams."""
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable]
    done = subprocess.run(
        words, cwd=person.path, env=person.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_store_where_no_layer_can_be_is_refused_with_what_to_do(person, engine):
    if person.become:
        pytest.skip("root mounts, and runs it")
    said = private(
        person,
        "cd ..; mkdir lower state space; mount -t tmpfs none space; mkdir space/upper space/work;"
        " mount -t overlay -o lowerdir=lower,upperdir=space/upper,workdir=space/work none state;"
        f" cd project; $1 -m vfsd run --engine {engine} --save warm -- touch ran; test $? = 125",
    )
    assert "cannot hold a layer" in said
    assert "set XDG_STATE_HOME to a directory on another one" in said
    assert len(said.splitlines()) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_what_is_mounted_below_the_base_shows_or_nothing_runs(person):
    """The kernel's overlay would show what is under a mount: it refuses, and the other does it."""
    if person.become:
        pytest.skip("root mounts, and runs it")
    person.write("at/under", "x")
    said = private(
        person,
        "mount -t tmpfs none at; touch at/over; for e in auto fuse; do"
        " $1 -m vfsd run --quiet --engine $e -- ls at || exit; done;"
        " $1 -m vfsd run --quiet --engine kernel -- ls at; test $? = 125",
    )
    assert said.splitlines()[:2] == ["over", "over"]
    assert "under" not in said
    assert "the kernel mounts no overlayfs over this base" in said


def test_of_a_command_that_changes_nothing_an_empty_layer_is_kept(person, engine):
    person.write("file", "x\n")
    person.path.chmod(0o751)
    mtime_ns = os.stat(person.path).st_mtime_ns
    done = person.done("run", "--engine", engine, "--save", "warm", "--apply", "--", "cat", "file")
    assert done.returncode == 0, done.stderr
    assert "no changes; kept as warm" in done.stderr
    seen = person.sh("cat file; stat -c %a .", "--from", "warm", "--engine", engine)
    assert seen == "x\n751\n"
    assert os.stat(person.path).st_mtime_ns == mtime_ns


def test_a_layer_of_limited_size_is_kept_all_the_same(person):
    """It is in memory then, and what is moved out of there is still a layer."""
    for name in ("gone", "replaced/old", "changed", "linked"):
        person.write(name, "1\n")
    script = """
        dd if=/dev/zero of=big bs=64k count=100 2>/dev/null && exit 9
        rm -r big gone replaced; mkdir replaced; echo 2 >replaced/new; echo 2 >>changed
        ln linked other; echo 2 >>other; mkfifo fifo; ln -s gone link; mkdir sub; chmod 555 sub
    """
    words = ("--disk", "2M", "--engine", "kernel")
    person.sh(script, *words, "--save", "warm", "--apply")
    for seen in (person.path, None):
        look = "ls -RA; cat replaced/new changed linked; stat -c %a sub;"
        look += " stat -c %a.%h linked; readlink link"
        told = (
            subprocess.run(["sh", "-c", look], cwd=seen, capture_output=True, text=True).stdout
            if seen
            else person.sh(look, "--from", "warm")
        )
        assert told == (
            ".:\nchanged\nfifo\nlink\nlinked\nother\nreplaced\nsub\n\n./replaced:\nnew\n\n"
            "./sub:\n2\n1\n2\n1\n2\n555\n644.2\ngone\n"
        )
    said = person.vfsd("run", "--disk", "2M", "--layer", person.root / "run/l", "--", "true",
                       code=125)  # fmt: skip
    assert "keep it with --save" in said


def test_kept_and_applied(person):
    person.sh("echo 1 >file", "--save", "both", "--apply")
    assert (person.path / "file").read_text() == "1\n"
    assert snapshots(person) == ["both"]
    assert person.sh("cat file", "--from", "both") == "1\n"


def test_a_snapshot_of_a_snapshot_whose_base_is_gone(person):
    person.write("file", "x")
    person.sh("true", "--save", "warm")
    person.path.rename(person.root / "moved")
    said = person.vfsd("run", "--from", "warm", "--", "true", code=125, cwd=person.root)
    assert "stands on a directory that is not there" in said


def test_a_snapshot_that_is_forked_is_not_removed(person, engine):
    person.sh("echo x >file", "--save", "warm")
    running = person.start("run", "--engine", engine, "--from", "warm", "--", "sh", "-c",
                           "echo up; exec sleep 1000")  # fmt: skip
    done = person.done("snapshot", "rm", "warm")
    assert done.returncode == 4, done.stderr
    running.kill()
    running.wait()


def test_native_works_on_the_directory_itself_and_says_so(person):
    done = person.done("run", "--engine", "native", "--", "sh", "-c", "echo x >file; pwd; exit 6")
    assert (done.returncode, done.stdout) == (6, f"{person.path}\n")
    assert "natively, without isolation" in done.stderr
    assert (person.path / "file").read_text() == "x\n"
