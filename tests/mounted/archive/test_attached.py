"""An archive attached in a mount shows what was packed, to the last attribute, and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.cli.archiving import described, odd_tree
from tests.mounted.archive.conftest import vfsd
from vfsd.archive.reader import Archive

pytestmark = pytest.mark.fuse


@pytest.mark.root
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_odd_trees(attach, tmp_path, seed):
    odd_tree(tmp_path / "odd", seed, hole_bytes_max=1 << 20)
    _, path = attach(tmp_path / "odd")
    shown, source = described(path), described(tmp_path / "odd")
    assert shown == source


def test_the_standard_library(attach, tmp_path):
    """Every byte and attribute, and `diff` and `find` agree."""
    library = tmp_path / "library"
    shutil.copytree(
        sysconfig.get_path("stdlib"),
        library,
        symlinks=True,
        ignore=shutil.ignore_patterns("site-packages", "test", "tests", "__pycache__", "config-*"),
    )
    _, path = attach(library)
    assert described(path) == described(library)
    subprocess.run(["diff", "-r", "--no-dereference", library, path], check=True)
    # A directory's size is no attribute of what is in it.
    told = ["-printf", "%p %m %T@ %l\\n", "-type", "f", "-printf", "%s %n\\n"]
    listing = ["find", ".", *told]
    found = [
        sorted(subprocess.run(listing, cwd=place, check=True, capture_output=True).stdout.split())
        for place in (library, path)
    ]
    assert found[0] == found[1]


def test_nothing_can_be_changed(attach, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("as packed")
    _, path = attach(tmp_path / "tree")
    for attempt in (
        lambda: (path / "file").write_text("x"),
        lambda: (path / "new").touch(),
        lambda: (path / "file").unlink(),
        lambda: (path / "file").chmod(0o777),
        lambda: os.truncate(path / "file", 0),
        lambda: os.utime(path / "file"),
        lambda: os.setxattr(path / "file", "user.a", b""),
        lambda: (path / "d").mkdir(),
        lambda: (path / "file").rename(path / "other"),
    ):
        with pytest.raises(OSError) as caught:
            attempt()
        assert caught.value.errno == errno.EROFS
    assert (path / "file").read_text() == "as packed"


def test_damage_is_eio_and_the_rest_is_readable(attach, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "large").write_bytes(os.urandom(600_000))
    (tree / "small").write_text("small")
    archive = tmp_path / "tree.vfsa"
    vfsd("pack", tree, "-o", archive, "--compress", "none")
    with Archive.open(archive) as opened:
        place = opened.lookup(1, opened.inode(1), b"large").inode.place
        offset = opened.frames.record(place + 3).offset
    data = bytearray(archive.read_bytes())
    data[offset + 100] ^= 4
    archive.write_bytes(data)
    expected = [rf"a frame does not match its digest \(at offset {offset}\)"]
    mount, path = attach(archive, expected_logs=tuple(expected))
    with open(path / "large", "rb") as file:
        assert file.read(131_072) == (tree / "large").read_bytes()[:131_072]
        with pytest.raises(OSError) as caught:
            os.pread(file.fileno(), 10, 3 * 131_072 + 500)
        assert caught.value.errno == errno.EIO
    assert (path / "small").read_text() == "small"
    assert f"at offset {offset}" in mount.log()


def test_a_replaced_archive_stays_what_it_was(attach, tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_text("old a")
    (tree / "b").write_text("old b")
    mount, path = attach(tree)
    assert (path / "a").read_text() == "old a"
    for name in "ab":
        (tree / name).write_text(f"new {name}, longer")
    vfsd("pack", tree, "-o", tmp_path / "tree.vfsa")
    assert (path / "b").read_text() == "old b"
    assert (path / "a").read_text() == "old a"
    again = mount.path / "again"
    assert mount.vfsd("attach", str(tmp_path / "tree.vfsa"), str(again)).returncode == 0
    assert (again / "b").read_text() == "new b, longer"
    assert mount.vfsd("detach", str(again)).returncode == 0


def test_an_archive_is_the_root_of_a_mount(vfsd_mount, tmp_path):
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tree / "d" / "file").write_text("x")
    vfsd("pack", tree, "-o", tmp_path / "a.vfsa")
    mount = vfsd_mount(str(tmp_path / "a.vfsa"))
    assert (mount.path / "d" / "file").read_text() == "x"
    assert "archive" in mount.vfsd("status", str(mount.path)).stdout
    room = os.statvfs(mount.path)
    assert (room.f_bavail, room.f_files) == (0, 3)


@pytest.mark.network
def test_a_large_node_modules(attach, tmp_path, npm):
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text(
        '{"dependencies": {"typescript": "5.6.3", "eslint": "9.15.0", "vite": "5.4.11"}}'
    )
    install = [npm, "install", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(install, cwd=project, check=True, timeout=600)
    _, path = attach(project)
    assert described(path) == described(project)
    assert len(list(Path(path).rglob("*"))) > 500
    shown = subprocess.run(
        ["node", "node_modules/typescript/bin/tsc", "--version"],
        cwd=path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.startswith("Version 5.6.3")
