"""What is wrong with the machine, the store or the project: one sentence, 125, nothing changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from .conftest import NOBODY, Person

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


def sentence(person: Person, *words: object, **more: object) -> str:
    """Run what vfsd must refuse before the command has started; return what it says."""
    before = sorted(os.listdir(person.path))
    said = person.vfsd(*words, "--", "touch", "ran", code=125, **more)
    assert said.startswith("vfsd: ")
    assert len(said.splitlines()) == 1
    assert sorted(os.listdir(person.path)) == before
    return said


def filled(person: Person, place: str, words: str, size: str = "64k") -> list[str]:
    """Run `vfsd WORDS` where `place` is a tmpfs that is full; return what is said, and the code."""
    owner = f"uid={NOBODY.pw_uid},gid={NOBODY.pw_gid}" if person.become else "uid=0,gid=0"
    script = (
        f"mkdir -p ../{place} && mount -t tmpfs -o size={size},mode=700,{owner} none ../{place}"
        f' && head -c {size} /dev/zero >../{place}/fill 2>/dev/null; "$@" 2>&1; echo $?;'
        f" find ../{place} -type f -size +0 ! -name fill"
    )
    mine = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
    done = subprocess.run(
        [*mine, *person.words(*words.split(), "--", "touch", "ran")],
        cwd=person.path, env=person.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.root
def test_a_full_place_for_runs(person, engine):
    said, code = filled(person, "run", f"run --engine {engine}")
    assert code == "125"
    assert said.startswith(f"vfsd: {person.root}/run/vfsd/runs/")
    assert said.endswith(": No space left on device")
    assert os.listdir(person.path) == []


@pytest.mark.root
def test_a_full_store(person, engine):
    said, code = filled(person, "state", f"run --engine {engine} --save kept")
    assert code == "125"
    assert said.startswith(f"vfsd: {person.root}/state/vfsd/store/")
    assert said.endswith(": No space left on device")
    assert os.listdir(person.path) == []


@pytest.mark.root
def test_a_store_that_becomes_full_is_the_command_s_to_hear_of(person, engine):
    script = (
        "mkdir -p ../state; mount -t tmpfs -o size=1m,mode=777 none ../state; chmod 700 ../state;"
        + (f"chown {NOBODY.pw_uid} ../state;" if person.become else "")
        + ' "$@" 2>&1; echo $?; ls ../state/vfsd/store/snapshots'
    )
    mine = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
    words = ("run", "--engine", engine, "--save", "kept", "--", "sh", "-c")
    done = subprocess.run(
        [*mine, *person.words(*words, "head -c 3M /dev/urandom >x || exit 9")],
        cwd=person.path, env=person.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    *_, heard, told, code = done.stdout.splitlines()
    assert "No space left on device" in heard
    assert "nothing is kept, since it failed with 9" in told
    assert code == "9"


@pytest.mark.root
def test_a_full_cache_is_no_reason_to_fail(person):
    (said, code, *_) = filled(person, "cache", "run --engine kernel", size="4k")
    assert code == "0", said


@pytest.fixture
def stored(person: Person) -> Iterator[Person]:
    """Somebody with a store, in which something is then not theirs any more."""
    if not person.become:
        pytest.skip("root may read everything")
    person.sh("touch made", "--save", "kept")
    yield person
    person.own()


def test_a_lock_of_the_store_that_cannot_be_read(stored):
    lock = stored.root / "state/vfsd/store/lock"
    os.chown(lock, 0, 0)
    lock.chmod(0)
    for words in (("--save", "other"), ("--from", "kept")):
        assert str(lock) in sentence(stored, "run", *words)
    assert stored.sh("echo ran") == "ran\n"  # without the store


def test_a_store_that_is_somebody_else_s(stored):
    os.chown(stored.root / "state", 0, 0)
    (stored.root / "state").chmod(0o700)
    assert "Permission denied" in sentence(stored, "run", "--save", "other")


def test_a_project_s_own_lock_file_that_cannot_be_read_is_the_command_s(person, engine):
    if not person.become:
        pytest.skip("root may read everything")
    person.write("package-lock.json", "{}", 0)
    script = "cat package-lock.json 2>&1 || echo ran"
    seen = person.sh(script, "--engine", engine)
    assert seen.endswith("Permission denied\nran\n")


def test_directories_that_cannot_be_entered_or_read(person):
    if not person.become:
        pytest.skip("root may read everything")
    closed = person.root / "closed"
    closed.mkdir(0o700)
    assert f"this user may not read {closed}" in sentence(person, "run", "--base", closed)
    closed.chmod(0o711)
    assert f"this user may not read {closed}" in sentence(person, "run", cwd=closed)


def test_a_configuration_that_is_none(person):
    person.write("vfsd.toml", "run = [\n")
    assert f"{person.path}/vfsd.toml:" in sentence(person, "run")


def test_bwrap_is_missing_or_none(person, engine):
    """Also where there is something by that name."""
    tools = person.root / "tools"
    tools.mkdir()
    (tools / "setpriv").symlink_to("/usr/bin/setpriv")
    environment = {**person.environment, "PATH": str(tools)}
    words = ("run", "--engine", engine)
    assert "apt-get install bubblewrap" in sentence(person, *words, env=environment)
    (tools / "bwrap").write_text("#!/bin/sh\nexit 3\n")
    (tools / "bwrap").chmod(0o755)
    assert "'vfsd doctor' says what this machine lacks" in sentence(person, *words, env=environment)
    assert sys.executable not in person.vfsd("run", "--quiet", "--engine", engine, "--", "true")
