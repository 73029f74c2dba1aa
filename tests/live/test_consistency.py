"""Snapshots while the tree is in use: whole instants, never a mixture of two.

Writers work through the mount in other processes, snapshots are taken through the control
socket meanwhile, and what each shows is checked against what holds at every instant.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.writer import COUNTER, SIZE, counted
from tests.mounted.daemon import REPOSITORY
from vfsd import client as client_module
from vfsd.client import Client

pytestmark = pytest.mark.fuse

WRITERS = 8
SNAPSHOTS = 60
SNAPSHOTS_ON_DISK = 12


@pytest.fixture
def mount(vfsd_mount, monkeypatch):
    mount = vfsd_mount()
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    return mount


@pytest.fixture
def tree(mount):
    with client_module.connect(mount.path) as client:
        yield client


def check(tree: Client, at: str) -> int:
    """Check that the directory `at` shows one instant of a writer; return its generation."""
    names = set(tree.listdir(at))
    generations = []
    for name in ("a", "b"):
        data = tree.read_bytes(f"{at}/{name}")
        generation = int.from_bytes(data[:COUNTER], "big")
        assert data == counted(generation) * (SIZE // COUNTER), f"{name} is torn"
        generations.append(generation)
    now = generations[0]
    assert now - generations[1] in (0, 1)
    assert {tree.read_bytes(f"{at}/x"), tree.read_bytes(f"{at}/y")} == {b"1", b"2"}
    links = [
        tree.stat(f"{at}/{name}") for name in ("one", "two", "three") if name.encode() in names
    ]
    assert len({each.node for each in links}) == 1
    assert {each.stat.nlink for each in links} == {len(links)}
    directories = {name for name in names if name.startswith(b"d")}
    assert directories
    assert directories <= {b"d%d" % (now - back) for back in (0, 1)}
    log = tree.read_bytes(f"{at}/log")
    logged = len(log) // COUNTER
    assert now - logged in (0, 1)
    assert log == b"".join(map(counted, range(1, logged + 1)))
    marks = tree.read_bytes(f"{at}/marks")
    first, last = (int.from_bytes(each, "big") for each in (marks[:COUNTER], marks[-COUNTER:]))
    assert 0 <= first - last <= 1
    assert now - first in (0, 1)
    assert not any(marks[COUNTER:-COUNTER])
    return now


def test_snapshots_while_eight_writers_run(mount, tree):
    _snapshots_of_a_tree_in_use(mount.path, tree, "", SNAPSHOTS)


def test_snapshots_while_eight_writers_run_on_a_directory_upper(mount, tree, tmp_path):
    # Where storage blocks there is an instant to seal only once changes under way have ended.
    for name in ("upper", "lower"):
        (tmp_path / name).mkdir()
    options = {"lower": str(tmp_path / "lower"), "upper": str(tmp_path / "upper")}
    tree.attach("overlay", "over", options=options)
    _snapshots_of_a_tree_in_use(mount.path / "over", tree, "over", SNAPSHOTS_ON_DISK)
    for each in tree.snapshots.list():
        tree.snapshots.remove(each.name)
    tree.detach("over")


def _snapshots_of_a_tree_in_use(path: Path, tree: Client, prefix: str, count: int) -> None:
    writers = []
    try:
        for number in range(WRITERS):
            os.mkdir(path / f"w{number}")
            writers.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.live.writer", str(path / f"w{number}")],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    cwd=REPOSITORY,
                )
            )
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
        taken = 0
        tree.snapshots.create("s0", prefix)
        first = _generations(tree, "s0")
        while taken < count:
            taken += 1
            tree.snapshots.create(f"s{taken}", prefix)
        while min(_generations(tree, f"s{taken}")) <= max(first):  # every one got on
            taken += 1
            tree.snapshots.create(f"s{taken}", prefix)
        made = [writer.communicate()[0] for writer in writers]
        assert [writer.returncode for writer in writers] == [0] * WRITERS
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            assert writer.stdin
            assert writer.stdout
            writer.stdin.close()
            writer.stdout.close()
    seen = [_generations(tree, f"s{number}") for number in range(taken + 1)]
    for column in zip(*seen, strict=True):
        assert list(column) == sorted(column), "later snapshots show later instants of each"
    assert [check(tree, f"{prefix}/w{number}") for number in range(WRITERS)] == list(map(int, made))


def _generations(tree: Client, name: str) -> list[int]:
    tree.snapshots.attach(name, "seen")
    try:
        return [check(tree, f"seen/w{number}") for number in range(WRITERS)]
    finally:
        tree.detach("seen")


def test_files_open_before_go_on_in_the_tree_and_not_in_the_snapshot(mount, tree):
    path = mount.path / "f"
    path.write_bytes(b"before")
    with open(path, "r+b", buffering=0) as file, open(path, "ab", buffering=0) as log:
        tree.snapshots.create("s")
        tree.snapshots.attach("s", "seen")
        tree.snapshots.fork("s", "fork")
        log.write(b" after")
        file.write(b"AFTER!")
        assert file.read() == b" after"
        assert path.read_bytes() == b"AFTER! after"
        assert (mount.path / "seen/f").read_bytes() == b"before"
        assert (mount.path / "fork/f").read_bytes() == b"before"
        with open(mount.path / "fork/f", "r+b", buffering=0) as forked:
            forked.write(b"forked")
            assert path.read_bytes() == b"AFTER! after"
            assert (mount.path / "seen/f").read_bytes() == b"before"


def test_a_file_removed_while_open_is_in_no_snapshot_and_lives_on(mount, tree):
    with open(mount.path / "f", "w+b", buffering=0) as file:
        file.write(b"data")
        os.unlink(mount.path / "f")
        tree.snapshots.create("s")
        tree.snapshots.attach("s", "seen")
        assert os.listdir(mount.path / "seen") == []
        file.write(b" more")
        file.seek(0)
        assert file.read() == b"data more"


def test_files_open_in_a_snapshot_stay_when_it_goes(mount, tree):
    (mount.path / "f").write_bytes(b"1" * SIZE)
    tree.snapshots.create("s")
    tree.snapshots.attach("s", "seen")
    with open(mount.path / "seen/f", "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        (mount.path / "f").write_bytes(b"2" * SIZE)
        tree.snapshots.remove("s")
        tree.detach("seen", lazy=True)
        assert file.read() == mapped[:] == b"1" * SIZE
        mapped.close()


def test_hard_links_and_inode_numbers_survive(mount, tree):
    (mount.path / "a").write_bytes(b"1")
    os.link(mount.path / "a", mount.path / "b")
    before = tree.stat("a").node
    tree.snapshots.create("s")
    tree.snapshots.fork("s", "fork")
    one, two = os.stat(mount.path / "fork/a"), os.stat(mount.path / "fork/b")
    assert (one.st_ino, one.st_nlink) == (two.st_ino, 2)
    assert tree.stat("fork/a").node == before
    (mount.path / "fork/a").write_bytes(b"2")
    assert (mount.path / "fork/b").read_bytes() == b"2"
    assert (mount.path / "b").read_bytes() == b"1"


def test_a_snapshot_taken_by_the_command_line_is_forked_by_it(mount, tree):
    (mount.path / "f").write_text("1")
    tree.snapshots.create("warm")
    (mount.path / "f").write_text("2")
    for source, prefix, expected in (
        ("warm", "one", "1"),
        (str(mount.path), "two", "2"),
        ("./mount/one", "three", "one"),
    ):
        done = mount.vfsd("fork", source, str(mount.path / prefix))
        assert (done.returncode, done.stderr) == (0, "")
        assert (mount.path / prefix / "f").read_text() == expected
        (mount.path / prefix / "f").write_text(prefix)
    assert (mount.path / "f").read_text() == "2"


@pytest.mark.parametrize(
    ("source", "prefix", "code", "words"),
    [
        ("none", "mount/at", 5, "'none'"),
        ("./mount/d", "mount/at", 5, "./mount/d is not where something is attached"),
        ("warm", "mount", 2, "mountpoint itself"),
        ("warm", "mount/taken", 4, "mount/taken is busy"),
        ("warm", "nowhere", 3, "nowhere"),
        ("./nowhere", "mount/at", 3, "./nowhere"),
    ],
)
def test_forking_says_what_is_wrong(mount, tree, source, prefix, code, words):
    os.mkdir(mount.path / "d")
    tree.snapshots.create("warm")
    tree.snapshots.fork("warm", "taken")
    done = mount.vfsd("fork", source, prefix)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("vfsd: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (mount.path / "at").exists()
