"""Single doors that options open, and that they open no more."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]


@pytest.fixture
def shown(tmp_path):
    tmp_path.chmod(0o755)
    folder = tmp_path / "a folder"
    (folder / "bin").mkdir(parents=True)
    (folder / "file").write_text("content\n")
    (folder / "bin" / "tool").write_text("#!/bin/sh\necho tool $0\n")
    (folder / "bin" / "tool").chmod(0o755)
    return folder


def test_all_of_the_mount_is_there_and_the_command_starts_here(box):
    assert box.shell("pwd").strip() == str(box.path)
    (box.mount / "beside").touch()
    assert box.run("--", "test", "-e", "../beside").returncode == 0


def test_a_base_is_all_that_is_there(box, tmp_path):
    (box.path / "inner").mkdir()
    (box.path / "beside").touch()
    done = box.run("--base", box.path / "inner", "--", "sh", "-c", "pwd; ls -A ..", cwd=tmp_path)
    assert done.stdout.decode().split() == [str(box.path / "inner"), "inner"]


def test_what_the_command_writes_is_seen_at_once(box):
    box.shell("echo written >here")
    assert (box.path / "here").read_text() == "written\n"


@pytest.mark.parametrize("given", ["sub/dir", "./sub//dir", "{}/sub/dir"])
def test_the_directory_to_start_in(box, given):
    (box.path / "sub" / "dir").mkdir(parents=True)
    told = box.shell("pwd; echo $PWD", "--chdir", given.format(box.path)).split()
    assert told == [str(box.path / "sub" / "dir")] * 2


def test_a_private_directory_to_start_in(box):
    assert box.shell("pwd", "--chdir", "/tmp") == "/tmp\n"


def test_variables(box):
    environment = {**box.environment, "FROM_HERE": "value of ours"}
    options = ("--env", "A=b=c d", "--env", "EMPTY=", "--env", "FROM_HERE", "--env=LANG=C")
    script = 'printf "%s|" "$A" "${EMPTY-unset}" "$FROM_HERE" "$LANG"'
    done = box.run(*options, "--", "sh", "-c", script, env=environment)
    assert done.stdout == b"b=c d||value of ours|C|"


def test_a_read_only_bind(box, shown):
    told = box.run(
        *("--ro-bind", f"{shown}:/opt/shown", "--"),
        *("sh", "-c", "cat /opt/shown/file; echo no >/opt/shown/file; rm -r /opt/shown"),
    )
    assert told.stdout == b"content\n"
    assert told.returncode != 0
    assert (shown / "file").read_text() == "content\n"


def test_a_writable_bind(box, shown):
    box.shell(f"echo changed >'{shown}/file'", "--bind", shown)
    assert (shown / "file").read_text() == "changed\n"


def test_a_bind_into_the_tree_changes_nothing_of_it(box, shown):
    (box.path / "at").mkdir()
    told = box.shell("cat at/file", "--ro-bind", f"{shown}:{box.path}/at")
    assert told == "content\n"
    assert list((box.path / "at").iterdir()) == []
    refused = box.run("--ro-bind", f"{shown}:{box.path}/missing", "--", "true")
    assert refused.returncode == 125
    assert b"create it first" in refused.stderr
    assert not (box.path / "missing").exists()


def test_a_bind_may_not_hide_the_tree(box, shown):
    for target in ("/", "//", box.mount, box.mount.parent, f"{box.mount}/."):
        done = box.run("--ro-bind", f"{shown}:{target}", "--", "true")
        assert (done.returncode, b"would hide the tree" in done.stderr) == (125, True), target


def test_a_directory_of_tools(box, shown):
    assert box.shell("tool", "--path", shown) == f"tool {shown}/bin/tool\n"
    assert box.shell("tool", "--path", shown / "bin") == f"tool {shown}/bin/tool\n"
    assert box.run("--path", shown, "--", "sh", "-c", f"echo >'{shown}/file'").returncode != 0
    assert box.run("--", "tool").returncode == 127


def test_options_after_the_command_are_its_own(box):
    assert box.run("echo", "--net", "--", "-x").stdout == b"--net -- -x\n"
    assert box.run("--", "echo", "--env", "A").stdout == b"--env A\n"
