"""What a command wrote, kept as a snapshot or written back, or not."""

from __future__ import annotations

import os

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
