"""What ls, cat, find, stat, du, df, lsof, inotifywait and getfattr say of each provider is true.

The same directory is attached four times: copied into memory, passed through, below an overlay, and
packed. The truth is the directory itself, as the same tool sees it on the host, where that can be
compared, and else what was done to the tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mounted.daemon import VfsdMount

pytestmark = pytest.mark.fuse

KINDS = ("memory", "passthrough", "overlay", "archive")
WRITABLE = ("memory", "passthrough", "overlay")
BIG_BYTES = 300_000
MEMORY_BYTES = 8 << 20
SECONDS = 30


def said(*words: str | Path, cwd: Path | None = None) -> str:
    tool = shutil.which(words[0])
    assert tool, f"{words[0]} is needed for this; scripts/setup --test installs it"
    return subprocess.run(
        words,
        cwd=cwd,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
        timeout=SECONDS,
    ).stdout


@pytest.fixture(scope="module")
def mount() -> Iterator[VfsdMount]:
    mount = VfsdMount()
    try:
        source = mount.root / "source"
        (source / "sub" / "empty").mkdir(parents=True)
        (source / "text").write_text("hello\n")
        (source / "odd \n name").write_text("odd")
        (source / "sub" / "big").write_bytes(os.urandom(BIG_BYTES))
        with (source / "sub" / "sparse").open("wb") as sparse:
            sparse.truncate(1 << 30)
        (source / "link").symlink_to("sub/big")
        os.link(source / "text", source / "sub" / "again")
        os.chmod(source / "text", 0o640)
        os.setxattr(source / "text", "user.key", b"value")
        os.utime(source / "sub" / "big", ns=(10**18, 10**18 + 123_456_789))
        do(mount, "pack", "source", "-o", "packed.vfsa")
        do(mount, "attach", "memory", "mount/memory", "-o", f"size={MEMORY_BYTES},inodes=1000")
        said("cp", "-a", f"{source}/.", mount.path / "memory")
        do(mount, "attach", "source", "mount/overlaid", "--read-only")
        do(mount, "attach", "overlay", "mount/overlay", "-o", "lower=source")
        do(mount, "attach", "packed.vfsa", "mount/archive")
        said("cp", "-a", source, mount.root / "passed")
        do(mount, "attach", "passed", "mount/passthrough")
        yield mount
        for prefix in (*KINDS, "overlaid"):
            do(mount, "detach", f"mount/{prefix}")
    finally:
        left = mount.close()
        assert left == []


def do(mount: VfsdMount, *words: str) -> str:
    done = mount.vfsd(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(params=KINDS)
def shown(request, mount) -> tuple[str, Path, Path]:
    """A kind, the tree of it on the mount, and the directory that it shows."""
    return request.param, mount.path / request.param, mount.root / "source"


def test_ls_cat_find_and_stat_say_what_they_say_of_the_directory(shown):
    kind, tree, source = shown
    told = "%y %m %n %s %l %P\\0"
    if kind != "archive":  # times to the nanosecond, and hard links as such, are kept by all
        told = "%T@ " + told
    for words in (
        ("ls", "-1A"),
        ("cat", "text", "odd \n name", "sub/again", "link"),
        ("find", ".", "-type", "f", "-printf", told),
        ("find", ".", "-type", "l", "-printf", told),
        ("find", ".", "-type", "d", "-printf", "%m %P\\0"),
        ("stat", "--format", "%A %U %G %s %Y %F", "text", "link", "sub/big"),
    ):
        if words[0] == "cat":
            sums = [
                subprocess.run(["cat", *words[1:]], cwd=each, capture_output=True, check=True)
                for each in (tree, source)
            ]
            assert sums[0].stdout == sums[1].stdout
            continue
        ours, theirs = (said(*words, cwd=each) for each in (tree, source))
        assert sorted(ours.split("\0")) == sorted(theirs.split("\0")), words
    same = [said("stat", "--format=%i", name, cwd=tree) for name in ("text", "sub/again")]
    assert same[0] == same[1]


def test_du_counts_blocks_and_a_file_with_two_names_once(shown):
    _, tree, source = shown
    seen: dict[int, int] = {}
    for folder, folders, names in os.walk(tree):
        for name in (*folders, *names, "."):
            found = os.lstat(os.path.join(folder, name))
            seen[found.st_ino] = found.st_blocks * 512
    assert int(said("du", "-s", "-B1", tree).split()[0]) == sum(seen.values())
    big, sparse = (int(said("du", "-B1", tree / "sub" / n).split()[0]) for n in ("big", "sparse"))
    assert BIG_BYTES <= big <= BIG_BYTES + (1 << 17)
    assert sparse < 1 << 20
    apparent = [said("du", "-b", each / "sub" / "sparse").split()[0] for each in (tree, source)]
    assert apparent[0] == apparent[1] == str(1 << 30)


def room(path: Path) -> dict[str, int]:
    names = ("size", "used", "avail", "itotal", "iused", "iavail")
    line = said("df", "-B1", f"--output={','.join(names)}", path).splitlines()[1]
    return dict(zip(names, (0 if each == "-" else int(each) for each in line.split()), strict=True))


def test_df_tells_of_the_attachment_itself(shown):
    kind, tree, source = shown
    found = room(tree)
    if kind == "passthrough":
        host = room(source)
        assert (found["size"], found["itotal"]) == (host["size"], host["itotal"])
    elif kind == "archive":
        assert found["avail"] == 0
        assert found["used"] >= BIG_BYTES
        assert found["iavail"] == 0
    elif kind == "memory":
        assert found["size"] == MEMORY_BYTES
        assert found["itotal"] == 1000
        assert found["used"] >= BIG_BYTES


@pytest.mark.parametrize("kind", ["memory", "overlay"])
def test_df_follows_what_is_written_and_removed(mount, kind):
    tree = mount.path / kind
    before = room(tree)
    (tree / "new").write_bytes(b"x" * (1 << 20))
    after = room(tree)
    assert after["used"] - before["used"] >= 1 << 20
    if kind == "memory":
        assert after["iused"] == before["iused"] + 1
    (tree / "new").unlink()
    deadline = time.monotonic() + SECONDS
    while room(tree)["used"] >= after["used"]:  # the kernel tells later that it is forgotten
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_lsof_names_the_file_and_who_has_it(shown):
    _, tree, _ = shown
    with (tree / "sub" / "big").open("rb"):
        told = said("lsof", "-F", "pn", "--", tree / "sub" / "big").splitlines()
        assert f"p{os.getpid()}" in told
        assert f"n{tree}/sub/big" in told
        assert str(os.getpid()) in said("fuser", tree / "sub" / "big").split()


def test_lsof_tells_of_a_file_that_was_removed(mount):
    path = mount.path / "memory" / "gone"
    with path.open("w") as held:
        path.unlink()
        told = said("lsof", "-a", "-p", str(os.getpid()), "-d", str(held.fileno()), "-F", "nk")
        assert "memory/gone (deleted)" in told or "k0" in told.splitlines()


@contextmanager
def watched(folder: Path) -> Iterator[subprocess.Popen[str]]:
    assert shutil.which("inotifywait"), "scripts/setup --test installs inotify-tools"
    with subprocess.Popen(
        ["inotifywait", "--monitor", "--format", "%e %f", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        while "established" not in child.stderr.readline():
            assert child.poll() is None
        try:
            yield child
        finally:
            child.kill()


def until(child: subprocess.Popen[str], last: str) -> list[str]:
    assert child.stdout is not None
    lines: list[str] = []
    while not lines or lines[-1] != last:
        lines.append(child.stdout.readline().rstrip("\n"))
        assert lines[-1], lines
    return lines


@pytest.mark.parametrize("kind", WRITABLE)
def test_inotifywait_sees_what_is_done_through_the_mount(mount, kind):
    tree = mount.path / kind
    with watched(tree) as child:
        (tree / "seen").write_text("x")
        os.rename(tree / "seen", tree / "moved")
        os.chmod(tree / "moved", 0o600)
        os.unlink(tree / "moved")
        assert until(child, "DELETE moved") == [
            "CREATE seen",
            "OPEN seen",
            "MODIFY seen",
            "CLOSE_WRITE,CLOSE seen",
            "MOVED_FROM seen",
            "MOVED_TO moved",
            "ATTRIB moved",
            "DELETE moved",
        ]


def test_of_what_others_do_inotifywait_sees_that_names_go_and_vfsd_events_all(mount):
    """By the control socket, and on the host: the kernel tells watchers of no such change."""
    tree = mount.path / "passthrough"
    with watched(tree) as child:
        do(mount, "put", "source/text", "mount/passthrough/put")
        (mount.root / "passed" / "host").write_text("x")
        deadline = time.monotonic() + SECONDS
        while not (tree / "host").exists():
            assert time.monotonic() < deadline
        (tree / "last").touch()
        lines = until(child, "CREATE last")
        assert "CREATE put" not in lines
        assert "CREATE host" not in lines


def test_getfattr_tells_what_is_stored_and_where_it_comes_from(shown):
    kind, tree, _ = shown
    told = said("getfattr", "--absolute-names", "-d", tree / "text").splitlines()
    assert told[1:] == ['user.key="value"', ""]
    words = ["provider", *(["origin"] if kind in ("passthrough", "overlay") else [])]
    values = {"provider": kind, "origin": "sub/big"}
    for word in words:
        name = f"user.vfsd.{word}"
        assert said("getfattr", "--only-values", "-n", name, tree / "sub" / "big") == values[word]
