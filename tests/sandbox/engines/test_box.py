"""Sandboxes in Python: with trio, and the synchronous twin, which has the same methods."""

from __future__ import annotations

import inspect
import os

import pytest
import trio

from tests.sandbox.engines.conftest import eventually
from vfsd import abox, box
from vfsd.errors import UserError

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


@pytest.fixture
def project(tmp_path, monkeypatch):
    for name, part in (("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "state")):
        (tmp_path / part).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(tmp_path / part))
    path = tmp_path / "project"
    path.mkdir()
    (path / "file").write_text("below\n")
    yield path
    assert os.listdir(path) == ["file"]
    for kept in ("snapshots", "staging", "layers"):
        assert os.listdir(tmp_path / "state/vfsd/store" / kept) == []
    assert os.listdir(tmp_path / "run/vfsd/runs") == []


def test_both_have_the_same_methods():
    def face(kind: type) -> dict[str, str]:
        return {
            name: str(inspect.signature(method)).partition(" ->")[0]
            for name, method in vars(kind).items()
            if not name.startswith("_") or name == "__init__"
        }

    assert face(abox.Sandbox) == face(box.Sandbox)


async def test_with_trio(project, engine):
    async with abox.Sandbox(project, engine, env={"A": "1"}) as sandbox:
        await sandbox.put("deep/down/data", bytes(range(256)))
        assert await sandbox.get("deep/down/data") == bytes(range(256))
        result = await sandbox.run(
            ["sh", "-c", "cat; echo $A$B; pwd; echo err >&2; exit 5"],
            stdin=b"in\n", env={"B": "2"}, cwd="deep",
        )  # fmt: skip
        assert result == (5, f"in\n12\n{project}/deep\n".encode(), b"err\n")
        assert (await sandbox.run(["sleep", "1000"], timeout_s=0.2)).code == 124
        with pytest.raises(FileNotFoundError):
            await sandbox.get("missing")
        with pytest.raises(UserError, match="ended with 5: last"):
            (await sandbox.run(["sh", "-c", "echo last >&2; exit 5"])).check()
        async with sandbox.open(["cat"]) as process:
            for word in (b"one\n", b"two\n"):
                await process.stdin.send_all(word)
                assert await process.stdout.receive_some(100) == word
        assert process.returncode == 0


async def test_a_fork_is_apart(project, engine):
    async with abox.Sandbox(project, engine) as sandbox:
        await sandbox.put("file", b"changed\n")
        async with await sandbox.fork() as other:
            await other.put("file", b"other\n")
            await sandbox.put("own", b"x")
            assert await other.get("file") == b"other\n"
            assert await sandbox.get("file") == b"changed\n"
            assert (await other.run(["ls"])).stdout == b"file\n"
        assert await sandbox.get("own") == b"x"


async def test_a_call_that_is_cancelled_ends_its_command(project):
    async with abox.Sandbox(project) as sandbox:
        with trio.move_on_after(0.3) as scope:
            await sandbox.run(["sleep", "1000"])
        assert scope.cancelled_caught
        assert (await sandbox.run(["cat", "file"])).stdout == b"below\n"


def test_without_trio(project, engine):
    with box.Sandbox(project, engine) as sandbox:
        sandbox.put("new", b"1")
        assert sandbox.run(["cat", "new", "file"]).check().stdout == b"1below\n"
        with sandbox.fork() as other:
            other.put("new", b"2")
            assert (sandbox.get("new"), other.get("new")) == (b"1", b"2")
        with sandbox.open(["cat"]) as process:
            process.stdin.write(b"through")
            process.stdin.close()
            assert process.stdout.read() == b"through"
        with pytest.raises(TypeError):
            # What the test is about.
            sandbox.run("true")  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        sandbox.run(["true"])


def test_a_layer_in_a_directory_lasts(person, engine):
    layer = person.root / "home" / "layer"
    words = ("--engine", engine, "--layer", layer)
    person.sh("echo 1 >file", *words)
    person.sh("echo 2 >>file; mkdir d", *words)
    assert person.sh("cat file; ls", *words) == "1\n2\nd\nfile\n"
    running = person.start("run", *words, "--", "sh", "-c", "echo up; exec sleep 1000")
    said = person.vfsd("run", *words, "--", "true", code=125)
    assert "another run works on the layer" in said
    running.kill()
    running.wait()
    eventually(lambda: not os.listdir(person.runs), "the killed run's directory is gone")
    assert os.listdir(person.path) == []
    assert person.sh("cat file", *words, "--save", "kept") == "1\n2\n"
    assert person.sh("cat file", "--from", "kept") == "1\n2\n"
