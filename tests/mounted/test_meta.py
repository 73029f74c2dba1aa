"""The hidden directory `.vfsd` at a mount's root, with plain tools: what it shows, and to whom."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.fuse


def refused(number):
    return pytest.raises(OSError, match=re.escape(os.strerror(number)))


def run(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def test_no_listing_names_it_and_it_is_there(vfsd_mount):
    mount = vfsd_mount()
    path = mount.path
    (path / "f").write_text("f")
    assert os.listdir(path) == ["f"]
    assert run("find", path, "-mindepth", "1").stdout.split() == [str(path / "f")]
    assert sorted(os.listdir(path / ".vfsd")) == ["attachments", "snapshots", "status.json"]
    assert os.stat(path / ".vfsd").st_mode & 0o777 == 0o500
    status = json.loads((path / ".vfsd/status.json").read_text())
    assert status["pid"] == mount.process.pid
    assert [each["prefix"] for each in status["attachments"]] == [""]
    listed = run("ls", "-laR", path / ".vfsd")
    assert listed.returncode == 0, listed.stderr
    assert mount.vfsd("ls", str(path)).stdout == "f\n"
    assert mount.vfsd("ls", f"{path}/.vfsd").stdout == "attachments\nsnapshots\nstatus.json\n"


def test_attachments_are_lines_that_awk_reads(vfsd_mount):
    mount = vfsd_mount()
    assert mount.vfsd("attach", "memory", str(mount.path / "a b"), "--read-only").returncode == 0
    lines = (mount.path / ".vfsd/attachments").read_text().splitlines()
    assert lines[0].startswith("/ rw memory")
    assert lines[1].startswith("/a\\040b ro memory")
    assert all(len(line.split(" ")) == 3 for line in lines)
    assert mount.vfsd("detach", str(mount.path / "a b")).returncode == 0


def test_nobody_takes_the_name_or_writes_there(vfsd_mount):
    mount = vfsd_mount()
    path = mount.path
    (path / "d").mkdir()
    with refused(errno.EEXIST):
        os.mkdir(path / ".vfsd")
    with refused(errno.EBUSY):
        os.rmdir(path / ".vfsd")
    with refused(errno.EBUSY):
        os.rename(path / "d", path / ".vfsd")
    with refused(errno.EBUSY):
        os.rename(path / ".vfsd", path / "e")
    with refused(errno.EROFS):
        (path / ".vfsd/new").write_text("new")
    with refused(errno.EROFS):
        os.mkdir(path / ".vfsd/snapshots/new")
    for words in (("put", __file__, f"{path}/.vfsd/x"), ("attach", "memory", f"{path}/.vfsd")):
        assert mount.vfsd(*words).returncode != 0
    assert os.listdir(path) == ["d"]


def test_a_copy_through_the_socket_does_not_make_it(vfsd_mount, tmp_path):
    (tmp_path / ".vfsd").mkdir()
    (tmp_path / ".vfsd/own").touch()
    (tmp_path / "a").touch()
    mount = vfsd_mount()
    done = mount.vfsd("put", "-r", f"{tmp_path}/.", str(mount.path))
    assert done.returncode != 0
    assert "/.vfsd: Device or resource busy" in done.stderr
    assert os.listdir(mount.path) == ["a"]


def test_a_tree_that_has_the_name_keeps_it(vfsd_mount, tmp_path):
    (tmp_path / ".vfsd").mkdir()
    (tmp_path / ".vfsd/own").write_text("own")
    mount = vfsd_mount(str(tmp_path))
    assert os.listdir(mount.path) == [".vfsd"]
    assert (mount.path / ".vfsd/own").read_text() == "own"


def test_a_host_directory_does_not_get_it(vfsd_mount, tmp_path):
    mount = vfsd_mount(str(tmp_path))
    assert (mount.path / ".vfsd/status.json").read_text()
    assert os.listdir(tmp_path) == []


def test_it_can_be_switched_off(vfsd_mount):
    path = vfsd_mount("--no-meta").path
    assert not os.path.lexists(path / ".vfsd")
    (path / ".vfsd").write_text("mine")
    assert os.listdir(path) == [".vfsd"]


def test_snapshots_are_browsed_by_cd(vfsd_mount):
    mount = vfsd_mount()
    path, snapshots = mount.path, mount.path / ".vfsd/snapshots"
    (path / "d").mkdir()
    (path / "d/f").write_text("old")
    (path / "link").symlink_to("d/f")
    os.setxattr(path / "d/f", "user.a", b"1")
    for words in (("live", str(path), "--live"), ("stored", str(path))):
        done = mount.vfsd("snapshot", "create", *words)
        assert done.returncode == 0, done.stderr
    (path / "d/f").write_text("new")
    assert sorted(os.listdir(snapshots)) == ["live", "stored"]
    for name in ("live", "stored"):
        there = snapshots / name
        assert sorted(os.listdir(there)) == ["d", "link"]
        assert run("cat", "link", cwd=there).stdout == "old"
        assert os.getxattr(there / "d/f", "user.a") == b"1"
        with refused(errno.EROFS):
            (there / "d/f").write_text("x")
    assert run("diff", "-r", snapshots / "live", snapshots / "stored").returncode == 0
    assert run("grep", "-r", "old", snapshots).stdout.count("d/f:old") == 2
    with refused(errno.ENOENT):
        os.listdir(snapshots / "none")
    with refused(errno.ENOENT):
        os.listdir(snapshots / "..odd name")
    shutil.copytree(snapshots / "stored", path / "back", symlinks=True)
    assert (path / "back/d/f").read_text() == "old"


def test_one_that_is_read_is_in_use_until_a_while_after(vfsd_mount):
    mount = vfsd_mount()
    (mount.path / "f").write_text("old")
    assert mount.vfsd("snapshot", "create", "kept", str(mount.path)).returncode == 0
    there = mount.path / ".vfsd/snapshots/kept/f"
    with open(there) as file:
        assert mount.vfsd("snapshot", "rm", "kept").returncode == 4
        assert file.read() == "old"
    assert mount.vfsd("snapshot", "rm", "--force", "kept").returncode == 0


@pytest.mark.bwrap
def test_what_runs_in_a_sandbox_finds_nothing(vfsd_mount):
    mount = vfsd_mount()
    (mount.path / "f").write_text("f")
    assert mount.vfsd("snapshot", "create", "secret", str(mount.path)).returncode == 0
    script = "ls -a; cat .vfsd/status.json; ls .vfsd; ls .vfsd/snapshots/secret"
    for options in ((), ("--write",)):
        assert (mount.path / ".vfsd/snapshots/secret/f").read_text() == "f"
        done = run(
            *(sys.executable, "-m", "vfsd", "run", *options, "--", "sh", "-c", script),
            cwd=mount.path,
            env=mount.environment,
        )
        assert done.stdout.split() == [".", "..", "f"], done.stderr
        assert done.stderr.count("No such file or directory") == 3
        assert (mount.path / ".vfsd/status.json").read_text()
