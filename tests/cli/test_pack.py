"""`vfsd pack`, `unpack`, `verify` and `list`, from the command line's side."""

from __future__ import annotations

import json
import os
import pwd
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from tests.cli.archiving import described, odd_tree
from vfsd.archive.layout import FRAME
from vfsd.archive.reader import Archive
from vfsd.cli import main as command_line
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.store import Store


@pytest.fixture
def vfsd(tmp_path, monkeypatch, capsys):
    """Run a command line in this process: `code, out, err = vfsd("pack", ...)`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["vfsd", *map(str, arguments)])
        code = command_line.main()
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def packed(vfsd, tmp_path):
    """Pack a directory and unpack it: `packed(source, *options)` returns where."""

    def run(source, *options):
        code, _, told = vfsd("pack", source, "-o", tmp_path / "a.vfsa", *options)
        assert code == 0, told
        target = tmp_path / "unpacked"
        code, _, told = vfsd("unpack", tmp_path / "a.vfsa", target)
        assert code == 0, told
        return target

    return run


@pytest.fixture
def tree(tmp_path):
    """A small directory."""
    root = tmp_path / "tree"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "node_modules" / "x").mkdir(parents=True)
    (root / "src" / "main.js").write_text("main")
    (root / "src" / "main.test.js").write_text("test")
    (root / "src" / "deep" / "a.md").write_text("a")
    (root / "node_modules" / "x" / "index.js").write_text("x")
    (root / "README.md").write_text("readme")
    (root / "empty").mkdir()
    return root


@pytest.mark.parametrize("seed", range(8))
def test_what_is_packed_is_unpacked(tmp_path, packed, vfsd, seed):
    odd_tree(tmp_path / "odd", seed)
    method = ("zstd", "none", "zlib:1", "zstd:1")[seed % 4]
    target = packed(tmp_path / "odd", "--compress", method)
    assert described(target) == described(tmp_path / "odd")
    code, out, err = vfsd("verify", tmp_path / "a.vfsa")
    assert (code, err) == (0, "")
    assert "all well" in out


def test_a_very_deep_tree(tmp_path, vfsd):
    root = tmp_path / "deep"
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for _ in range(700):
        os.mkdir("directory", dir_fd=fd)
        inner = os.open("directory", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
    os.close(fd)
    assert vfsd("pack", root, "-o", tmp_path / "a")[0] == 0
    assert vfsd("verify", tmp_path / "a")[0] == 0
    code, out, _ = vfsd("list", tmp_path / "a")
    assert code == 0
    assert out.splitlines()[-1] == "directory/" * 700 + "bottom"
    assert vfsd("unpack", tmp_path / "a", tmp_path / "out")[0] == 0
    assert vfsd("pack", tmp_path / "out", "-o", tmp_path / "b")[0] == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    subprocess.run(["rm", "-rf", root, tmp_path / "out"], check=True)


def test_the_same_input_gives_the_same_bytes(tmp_path, vfsd, monkeypatch):
    odd_tree(tmp_path / "one", 3)
    subprocess.run(["cp", "-a", tmp_path / "one", tmp_path / "two"], check=True)
    for name in ("one", "two"):
        assert vfsd("pack", tmp_path / name, "-o", tmp_path / f"{name}.vfsa")[0] == 0
    first = (tmp_path / "one.vfsa").read_bytes()
    assert first == (tmp_path / "two.vfsa").read_bytes()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    subprocess.run(["find", tmp_path / "two", "-exec", "touch", "-h", "{}", "+"], check=True)
    for name in ("one", "two"):
        assert vfsd("pack", tmp_path / name, "-o", tmp_path / f"{name}.vfsa")[0] == 0
    with Archive.open(tmp_path / "two.vfsa") as archive:
        assert archive.root.created_s == 1_000_000_000
        times = {archive.inode(number).mtime_s for number in range(1, archive.count + 1)}
        assert times == {1_000_000_000}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    code, _, told = vfsd("pack", tmp_path / "two", "-o", tmp_path / "x")
    assert code == ExitCode.USAGE
    assert "SOURCE_DATE_EPOCH=soon is not a number" in told


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--exclude", "node_modules/"], "README.md empty src src/deep src/deep/a.md"
         " src/main.js src/main.test.js"),
        (["--exclude", "*.js", "--exclude", "!main.js"], "README.md empty node_modules"
         " node_modules/x src src/deep src/deep/a.md src/main.js"),
        (["--include", "*.md"], "README.md src src/deep src/deep/a.md"),
        (["--include", "/src", "--exclude", "*.test.js"], "src src/deep src/deep/a.md src/main.js"),
        (["--include", "/*.md"], "README.md"),
        (["--exclude", "src/**/*.md", "--exclude", "x"], "README.md empty node_modules src"
         " src/deep src/main.js src/main.test.js"),
    ],
)  # fmt: skip
def test_patterns_choose_as_gitignore_does(tmp_path, vfsd, tree, options, names):
    assert vfsd("pack", tree, "-o", tmp_path / "a", *options)[0] == 0
    code, out, _ = vfsd("list", tmp_path / "a")
    assert code == 0
    assert " ".join(sorted(out.split())) == names


def test_patterns_from_a_file(tmp_path, vfsd, tree):
    (tree / ".gitignore").write_text("# comment\nnode_modules\n\n*.test.js\n")
    ignore = tree / ".gitignore"
    assert vfsd("pack", tree, "-o", tmp_path / "a", "--exclude-from", ignore)[0] == 0
    out = vfsd("list", tmp_path / "a")[1]
    assert "node_modules" not in out
    assert ".gitignore" in out


def test_the_output_is_not_packed_into_itself(tmp_path, vfsd, tree):
    for _ in range(3):
        assert vfsd("pack", tree, "-o", tree / "app.vfsa")[0] == 0
    assert "app.vfsa" not in vfsd("list", tree / "app.vfsa")[1]


def test_owners_can_be_told(tmp_path, vfsd, tree):
    assert vfsd("pack", tree, "-o", tmp_path / "a", "--owner", "12:34")[0] == 0
    described_ = json.loads(vfsd("list", "--json", tmp_path / "a")[1])
    assert {(each["uid"], each["gid"]) for each in described_} == {(12, 34)}


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip", "vfsa"])
def test_other_archives_are_packed(tmp_path, vfsd, tree, packed, kind):
    path = tmp_path / f"source.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for each in sorted(tree.rglob("*")):
                archive.write(each, each.relative_to(tree))
    elif kind == "vfsa":
        assert vfsd("pack", tree, "-o", path, "--compress", "none")[0] == 0
    else:
        with tarfile.open(path, "w:gz" if kind == "tar.gz" else "w") as archive:
            archive.add(tree, ".")
    target = packed(path)
    names = {each.relative_to(target): each for each in target.rglob("*")}
    assert names.keys() == {each.relative_to(tree) for each in tree.rglob("*")}
    for name, each in names.items():
        if each.is_file():
            assert each.read_bytes() == (tree / name).read_bytes()
    assert vfsd("verify", path)[0] == 0
    assert "src/deep/a.md" in vfsd("list", path, "src/deep")[1]


def test_a_snapshot_is_packed(tmp_path, vfsd, tree, packed):
    upper = tmp_path / "upper"
    (upper / "src").mkdir(parents=True)
    (upper / "src" / "added").write_text("added")
    os.mknod(upper / "README.md", stat.S_IFCHR, 0)
    monkey = Store()
    monkey.save_directory("warm", str(upper), base=str(tree))
    target = packed("warm")
    assert (target / "src" / "added").read_text() == "added"
    assert (target / "src" / "main.js").read_text() == "main"
    assert not (target / "README.md").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["tree"], ExitCode.USAGE, "where to is not told"),
        (["gone/", "-o", "x"], ExitCode.NOT_FOUND, "No such file"),
        (["no-such", "-o", "x"], ExitCode.NOT_FOUND, "no-such"),
        (["text", "-o", "x"], ExitCode.USAGE, "neither a directory nor an archive"),
        (["tree", "-o", "gone/x"], ExitCode.NOT_FOUND, "No such file"),
        (["tree", "-o", "tree"], ExitCode.FAILED, "Is a directory"),
        (["tree", "-o", "x", "--compress", "lzw"], ExitCode.USAGE, "zstd, zlib, xz or none"),
        (["tree", "-o", "x", "--compress", "zstd:99"], ExitCode.USAGE, "zstd, zlib, xz or none"),
        (["tree", "-o", "x", "--owner", "root"], ExitCode.USAGE, "write UID:GID"),
        (["tree", "-o", "x", "--executable"], ExitCode.USAGE, "--executable needs --entry"),
        (["tree", "-o", "x", "--entry", "y"], ExitCode.USAGE, "--entry is for --executable"),
        (["tree", "-o", "x", "--exclude-from", "gone"], ExitCode.NOT_FOUND, "No such file"),
        (["tree", "--append-to", "gone"], ExitCode.NOT_FOUND, "No such file"),
    ],
)
def test_wrong_words(tmp_path, vfsd, tree, monkeypatch, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("text")
    before = sorted(tmp_path.iterdir())
    found, _, told = vfsd("pack", *arguments)
    assert found == code, told
    assert sentence in told
    ours = [each for each in sorted(tmp_path.iterdir()) if each.name not in ("state", "cache")]
    assert ours == before


def test_a_killed_pack_leaves_what_was_there(tmp_path):
    (tmp_path / "tree").mkdir()
    for number in range(40):
        (tmp_path / "tree" / str(number)).write_bytes(os.urandom(1 << 20))
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "a.vfsa"
    target.write_bytes(b"old")
    command = [sys.executable, "-m", "vfsd", "pack", tmp_path / "tree", "-o", target]
    process = subprocess.Popen([*command, "--compress", "xz:9"], cwd=Path(__file__).parents[2])
    # Killed while it works: its file has no name yet, but it is open and grows.
    while not open_and_growing(process.pid, tmp_path / "out"):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert target.read_bytes() == b"old"
    assert list((tmp_path / "out").iterdir()) == [target]


def open_and_growing(pid, directory):
    try:
        fds = list(Path(f"/proc/{pid}/fd").iterdir())
        targets = [os.readlink(fd) for fd in fds]
    except OSError:
        return False
    return any(each.startswith(f"{directory}/") and each != str(directory) for each in targets)


def test_unpack_refuses_what_is_in_the_way(tmp_path, vfsd, tree):
    assert vfsd("pack", tree, "-o", tmp_path / "a")[0] == 0
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").write_text("mine")
    code, _, told = vfsd("unpack", tmp_path / "a", tmp_path / "there")
    assert code == ExitCode.REFUSED
    assert "is not empty" in told
    assert (tmp_path / "there" / "mine").read_text() == "mine"
    assert vfsd("unpack", tmp_path / "a", tmp_path / "there" / "mine")[0] == ExitCode.FAILED
    assert vfsd("unpack", tmp_path / "gone", tmp_path / "x")[0] == ExitCode.NOT_FOUND


def test_unpack_looks_for_room_first(tmp_path, vfsd, tree, monkeypatch):
    assert vfsd("pack", tree, "-o", tmp_path / "a")[0] == 0

    class Room:
        f_bavail, f_frsize = 0, 4096

    monkeypatch.setattr(os, "statvfs", lambda path: Room)
    code, _, told = vfsd("unpack", tmp_path / "a", tmp_path / "out")
    assert code == ExitCode.FULL
    assert "bytes and there are 0" in told
    assert not (tmp_path / "out").exists()


def damage(path):
    """Flip a bit in the first frame, and tell where it stands."""
    with Archive.open(path) as archive:
        frame = archive.frames.record(0)
    assert FRAME.size
    data = bytearray(path.read_bytes())
    data[frame.offset] ^= 1
    path.write_bytes(data)
    return frame.offset


def test_damage_is_told_and_the_rest_unpacked(tmp_path, vfsd, tree):
    (tree / "large").write_bytes(os.urandom(200_000))
    path = tmp_path / "a"
    assert vfsd("pack", tree, "-o", path, "--compress", "none")[0] == 0
    with Archive.open(path) as archive:
        place = archive.lookup(1, archive.inode(1), b"large").inode.place
        frame = archive.frames.record(place)
    data = bytearray(path.read_bytes())
    data[frame.offset] ^= 1
    path.write_bytes(data)
    code, _, told = vfsd("unpack", path, tmp_path / "out")
    assert code == ExitCode.DAMAGED
    assert f"large: a frame does not match its digest (at offset {frame.offset})" in told
    assert not (tmp_path / "out" / "large").exists()
    assert (tmp_path / "out" / "src" / "main.js").read_text() == "main"
    code, out, told = vfsd("verify", path)
    assert code == ExitCode.DAMAGED
    assert f"large: a frame does not match its digest (at offset {frame.offset})" in told
    assert "damaged in 1 places" in told
    code, out, _ = vfsd("verify", "--json", path)
    (complaint,) = json.loads(out)
    assert code == ExitCode.DAMAGED
    assert (complaint["path"], complaint["offset"]) == ("large", frame.offset)
    assert vfsd("list", path)[0] == 0


@pytest.mark.parametrize("verb", ["unpack", "verify", "list", "pack"])
def test_what_is_no_archive(tmp_path, vfsd, verb):
    (tmp_path / "text").write_text("text")
    (tmp_path / "cut").write_bytes(b"\x89VFSA\r\n\x1a" + bytes(100))
    extra = {"unpack": [tmp_path / "out"], "pack": ["-o", tmp_path / "out"]}.get(verb, [])
    code, _, told = vfsd(verb, tmp_path / "cut", *extra)
    assert code == ExitCode.DAMAGED
    assert "has no end: it was cut off" in told
    if verb != "pack":
        code, _, told = vfsd(verb, tmp_path / "text", *extra)
        assert code == ExitCode.DAMAGED
        assert "it is no vfsd archive" in told
    assert not (tmp_path / "out").exists()


def test_list_tells_attributes(tmp_path, vfsd, tree):
    os.symlink("README.md", tree / "link")
    os.mkfifo(tree / "pipe")
    (tree / os.fsdecode(b"\xff\n")).write_bytes(b"odd")
    (tree / "README.md").chmod(0o4711)
    os.utime(tree / "README.md", ns=(0, 10**18 + 5))
    os.setxattr(tree / "README.md", "user.a", b"\xff")
    assert vfsd("pack", tree, "-o", tmp_path / "a", "--owner", "1:2")[0] == 0
    out = vfsd("list", "-l", tmp_path / "a")[1]
    assert "-rws--x--x   1 1:2          6 2001-09-09 01:46:40 README.md\n" in out
    assert " link -> README.md\n" in out
    assert '"\\377\\n"' in out
    found = {each["path"]: each for each in json.loads(vfsd("list", "--json", tmp_path / "a")[1])}
    readme = found["README.md"]
    assert readme.items() >= {
        "type": "file", "mode": "4711", "uid": 1, "gid": 2, "size": 6, "nlink": 1,
        "mtime_ns": 10**18 + 5, "xattrs": {"user.a": "ff"}, "allocated": 6,
    }.items()  # fmt: skip
    assert found["link"]["target"] == "README.md"
    assert found["pipe"]["type"] == "fifo"
    assert found["\udcff\n"]["size"] == 3
    code, _, told = vfsd("list", tmp_path / "a", "src/none")
    assert code == ExitCode.NOT_FOUND
    assert "src/none" in told
    assert vfsd("list", tmp_path / "a", "src/main.js")[1] == "src/main.js\n"
    empty = tmp_path / "nothing"
    empty.mkdir()
    assert vfsd("pack", empty, "-o", tmp_path / "b")[0] == 0
    assert json.loads(vfsd("list", "--json", tmp_path / "b")[1]) == []


@pytest.mark.root
def test_an_ordinary_user_unpacks(tmp_path, tree):
    """What needs a privilege is told; the rest is there and belongs to the user."""
    (tree / "set").write_text("x")
    (tree / "set").chmod(0o6755)
    os.mknod(tree / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(tree / "whiteout", stat.S_IFCHR | 0o600, 0)
    for each in (tmp_path, *tmp_path.parents):
        if each.owner() == "root" and str(each).startswith("/tmp/"):
            each.chmod(0o755)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    ids = pwd.getpwnam("nobody")
    os.chown(theirs, ids.pw_uid, ids.pw_gid)
    run = [sys.executable, "-m", "vfsd"]
    packing = [*run, "pack", tree, "-o", theirs / "a"]
    subprocess.run(packing, check=True, cwd=Path(__file__).parents[2], capture_output=True)
    script = (
        # All that is needed is imported first: the user may not be let to where it stands.
        "import locale, gettext, os, sys, zstandard; from vfsd.cli import archives; "
        "import vfsd.archive.foreign.indexing; from vfsd.cli.main import main; "
        f"os.setgroups([]); os.setgid({ids.pw_gid}); os.setuid({ids.pw_uid}); "
        "sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "unpack", theirs / "a", theirs / "out"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": str(theirs), "XDG_CACHE_HOME": str(theirs)},
    )
    assert done.returncode == ExitCode.FAILED, done.stderr
    assert "device: Operation not permitted" in done.stderr
    out = theirs / "out"
    assert (out / "src" / "main.js").read_text() == "main"
    assert (out / "src" / "main.js").stat().st_uid == ids.pw_uid
    assert stat.S_IMODE((out / "set").stat().st_mode) == 0o755
    assert stat.S_ISCHR((out / "whiteout").lstat().st_mode)
    assert not (out / "device").exists()
