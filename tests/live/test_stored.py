"""Trees in use, stored through a real daemon and command line, and opened again by another one."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounted.daemon import VfsdMount, detach
from vfsd import client as client_module
from vfsd.client import Client
from vfsd.exitcodes import Code, ExitCode
from vfsd.snapshots.store import Store
from vfsd.snapshots.verification import verify

pytestmark = pytest.mark.fuse


@pytest.fixture
def mount(vfsd_mount):
    """A mount from which all is detached at the end: no lease on the store may be left."""
    mount = vfsd_mount()
    yield mount
    detach_all(mount)


def detach_all(mount: VfsdMount) -> None:
    (status,) = json.loads(told(mount, "status", "--json", mount.path))
    prefixes = [each["prefix"] for each in status["attachments"] if each["prefix"]]
    for prefix in sorted(prefixes, reverse=True):
        told(mount, "detach", "--lazy", mount.path / prefix)


def told(mount: VfsdMount, *arguments: object, code: int = 0) -> str:
    """Run the command line at the mountpoint; return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "vfsd", *map(str, arguments)],
        env=mount.environment,
        cwd=mount.path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr.startswith("vfsd: ")
        assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr if code else done.stdout


def connect(mount: VfsdMount, monkeypatch) -> Client:
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    return client_module.connect(mount.path)


def store_of(mount: VfsdMount) -> Store:
    return Store(f"{mount.environment['XDG_STATE_HOME']}/vfsd/store")


def seen(top: Path) -> dict[str, tuple]:
    """Return all that plain system calls show below `top`; hard links by their first path."""
    found: dict[str, tuple] = {}
    first: dict[int, str] = {}
    for folder, folders, names in os.walk(top):
        for name in sorted([*folders, *names]):
            path = Path(folder, name)
            shown = str(path.relative_to(top))
            info = os.lstat(path)
            content: object = None
            if stat.S_ISREG(info.st_mode):
                content = path.read_bytes()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path)
            link = shown if stat.S_ISDIR(info.st_mode) else first.setdefault(info.st_ino, shown)
            xattrs = {
                each: os.getxattr(path, each, follow_symlinks=False)
                for each in os.listxattr(path, follow_symlinks=False)
            }
            found[shown] = (
                info.st_mode,
                info.st_uid,
                info.st_gid,
                info.st_rdev,
                info.st_mtime_ns,
                content,
                link,
                xattrs,
            )
    return found


def fill(top: Path) -> None:
    """Make some of everything below `top`."""
    (top / "d/deep").mkdir(parents=True)
    (top / "d/deep/file").write_bytes(os.urandom(200_000))
    (top / "d/old").write_text("old")
    os.link(top / "d/old", top / "same")
    os.symlink("d/old", top / "link")
    os.mkfifo(top / "fifo")
    (top / "script").write_text("#!/bin/sh\n")
    (top / "script").chmod(0o4755)
    os.setxattr(top / "script", "user.note", b"\0\xff")
    os.utime(top / "d", ns=(1, 123456789))


def test_a_tree_is_stored_and_opened_by_another_daemon(mount, vfsd_mount):
    fill(mount.path)
    expected = seen(mount.path)
    assert told(mount, "snapshot", "create", "one") == ""
    (mount.path / "d/old").write_text("later")
    other = vfsd_mount("snapshot:one", state=mount.root / "state")
    assert seen(other.path) == expected
    listed = json.loads(told(mount, "snapshot", "ls", "--json"))
    assert [(each["name"], each["kind"], each["state"]) for each in listed] == [
        ("one", "stored", "durable")
    ]
    assert listed[0]["command"] == ["vfsd", "snapshot", "create", "one"]


def test_it_is_mounted_forked_and_attached(mount):
    fill(mount.path)
    expected = seen(mount.path)
    told(mount, "snapshot", "create", "one")
    told(mount, "fork", "one", mount.path / "fork")
    told(mount, "attach", "snapshot:one", mount.path / "seen")
    assert seen(mount.path / "fork") == seen(mount.path / "seen") == expected
    (mount.path / "fork/d/old").write_text("forked")
    assert (mount.path / "fork/same").read_text() == "forked", "still one file"
    assert (mount.path / "seen/d/old").read_text() == "old"
    with pytest.raises(OSError, match="Read-only"):
        (mount.path / "seen/d/old").write_text("x")


def test_a_fork_of_a_stored_one_is_stored_as_a_layer_over_it(mount):
    fill(mount.path)
    told(mount, "snapshot", "create", "one")
    fork = mount.path / "fork"
    told(mount, "fork", "snapshot:one", fork)
    with open(fork / "d/deep/file", "r+b") as file:
        file.write(b"begin")
    os.unlink(fork / "link")
    os.rename(fork / "d/deep", fork / "moved")
    (fork / "d/deep").mkdir()
    (fork / "d/deep/new").write_text("new")
    expected = seen(fork)
    told(mount, "snapshot", "create", "two", fork)
    told(mount, "attach", "snapshot:two", mount.path / "two")
    assert seen(mount.path / "two") == expected
    shown = json.loads(told(mount, "snapshot", "show", "two", "--json"))
    assert shown["parent"] == "one"
    assert len(shown["chain"]) == 2
    told(mount, "fork", "two", mount.path / "third")
    (mount.path / "third/moved/file").write_text("3")
    told(mount, "snapshot", "create", "three", mount.path / "third")
    told(mount, "attach", "snapshot:three", mount.path / "seen")
    assert seen(mount.path / "seen") == seen(mount.path / "third")
    assert seen(mount.path / "two") == expected


def test_an_overlay_over_a_host_directory_is_stored_as_what_was_written(mount):
    base = mount.root / "base"
    base.mkdir()
    fill(base)
    (base / "large").write_bytes(os.urandom(3_000_000))
    work = mount.path / "work"
    told(mount, "attach", "overlay", work, "-o", f"lower={base}")
    with open(work / "large", "r+b") as file:
        file.seek(1_500_000)
        file.write(b"in the middle")
    (work / "d/old").write_text("by its other name, too")
    os.unlink(work / "script")
    expected = seen(work)
    told(mount, "snapshot", "create", "one", work)
    shown = json.loads(told(mount, "snapshot", "show", "one", "--json"))
    assert (shown["base"], len(shown["chain"])) == (str(base), 1)
    told(mount, "attach", "snapshot:one", mount.path / "seen")
    assert seen(mount.path / "seen") == expected
    assert (base / "d/old").read_text() == "old"
    assert "4 files changed" in told(mount, "diff", "--stat", "one")
    (base / "added").write_text("the base as it is now")
    assert (mount.path / "seen/added").read_text() == "the base as it is now"
    os.unlink(base / "added")
    told(mount, "apply", "one")
    assert seen(base) == expected


def test_what_is_attached_is_not_removed_until_it_is_detached(mount):
    (mount.path / "f").write_text("1")
    told(mount, "snapshot", "create", "one")
    told(mount, "fork", "one", mount.path / "fork")
    said = told(mount, "snapshot", "rm", "one", code=ExitCode.REFUSED)
    assert "in use" in said
    assert (mount.path / "fork/f").read_text() == "1"
    told(mount, "detach", mount.path / "fork")
    told(mount, "snapshot", "rm", "one")
    assert store_of(mount).layers() == []


def test_the_tree_that_holds_the_current_directory_is_the_default(mount):
    told(mount, "attach", "memory", mount.path / "inner")
    told(mount, "attach", "memory", mount.path / "inner/most")
    (mount.path / "inner/f").write_text("inner")
    (mount.path / "inner/sub").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "vfsd", "snapshot", "create", "one"],
        env=mount.environment,
        cwd=mount.path / "inner/sub",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "vfsd: what is attached below is not in it: inner/most\n"
    told(mount, "attach", "snapshot:one", mount.path / "seen")
    assert sorted(os.listdir(mount.path / "seen")) == ["f", "most", "sub"]


def test_live_and_stored_ones_have_names_of_one_kind(mount):
    (mount.path / "f").write_text("1")
    told(mount, "snapshot", "create", "one")
    told(mount, "snapshot", "create", "two", "--live")
    for name, options in (("one", ["--live"]), ("two", []), ("one", []), ("two", ["--live"])):
        said = told(mount, "snapshot", "create", name, *options, code=ExitCode.REFUSED)
        assert repr(name) in said
    (mount.path / "f").write_text("2")
    told(mount, "snapshot", "create", "one", "--replace")
    told(mount, "snapshot", "create", "two", "--live", "--replace")
    for name in ("one", "two"):
        told(mount, "fork", name, mount.path / name)
        assert (mount.path / name / "f").read_text() == "2"
    names = [each["name"] for each in json.loads(told(mount, "snapshot", "ls", "--json"))]
    assert sorted(names) == ["one", "two"]
    told(mount, "snapshot", "rm", "two")
    told(mount, "snapshot", "show", "two", code=ExitCode.NOT_FOUND)


REFUSALS: list[tuple[list[str], Code, str]] = [
    (["snapshot", "create", "a/b"], ExitCode.USAGE, "cannot be named"),
    (["snapshot", "create", "a/b", "--live"], ExitCode.USAGE, "cannot be named"),
    (["snapshot", "create", "x", "d"], ExitCode.NOT_FOUND, "d is not where"),
    (["snapshot", "create", "x", "host"], ExitCode.REFUSED, "cannot be frozen"),
    (["snapshot", "create", "x", "/"], ExitCode.NOT_MOUNTED, "/"),
    (["fork", "none", "at"], ExitCode.NOT_FOUND, "'none'"),
    (["attach", "snapshot:none", "at"], ExitCode.NOT_FOUND, "'none'"),
    (["attach", "snapshot:", "at"], ExitCode.USAGE, "cannot be named"),
    (["attach", "snapshot:one", "at", "-o", "size=1M"], ExitCode.USAGE, "no options"),
    (["fork", "baseless", "at"], ExitCode.NOT_FOUND, "no directory any more"),
    (["fork", "damaged", "at"], ExitCode.DAMAGED, "damaged"),
]


def test_what_cannot_be_done_is_told_in_one_sentence(mount):
    (mount.path / "d").mkdir()
    host = mount.root / "host"
    host.mkdir()
    told(mount, "attach", host, mount.path / "host")
    told(mount, "attach", "overlay", mount.path / "over", "-o", f"lower={host}")
    told(mount, "snapshot", "create", "baseless", mount.path / "over")
    told(mount, "detach", mount.path / "host")
    told(mount, "attach", mount.root / "state", mount.path / "host")
    told(mount, "detach", mount.path / "over")
    host.rmdir()
    for name in ("one", "damaged"):
        (mount.path / "f").write_text(name)
        told(mount, "snapshot", "create", name, "--replace")
    store = store_of(mount)
    pack = Path(store.place.layer(store.snapshot("damaged").chain[0], "pack"))
    data = bytearray(pack.read_bytes())
    data[-20] ^= 1
    pack.write_bytes(data)
    for arguments, code, words in REFUSALS:
        assert words in told(mount, *arguments, code=code)
        assert not (mount.path / "at").exists()
    told(mount, "fork", "one", "usable")
    assert (mount.path / "usable/f").read_text() == "one"


def test_a_base_inside_the_mount_is_refused(mount, monkeypatch):
    (mount.path / "d").mkdir()
    layer = mount.root / "upper"
    layer.mkdir()
    store_of(mount).save_directory("inside", str(layer), base=str(mount.path / "d"))
    assert "inside the mount" in told(mount, "fork", "inside", "at", code=ExitCode.REFUSED)
    assert "inside the mount" in told(
        mount, "attach", "overlay", "at", "-o", f"lower={mount.path / 'd'}", code=ExitCode.REFUSED
    )


def test_two_at_once_want_one_name(mount):
    (mount.path / "f").write_bytes(os.urandom(1_000_000))
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "vfsd", "snapshot", "create", "one"],
            env=mount.environment,
            cwd=mount.path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ends = [(process.communicate()[1], process.returncode) for process in running]
    assert sorted(code for _, code in ends) == [0, *[ExitCode.REFUSED] * 3]
    assert all("'one' exists already" in said for said, code in ends if code)
    store = store_of(mount)
    assert store.names() == ["one"]
    assert store.layers() == list(store.snapshot("one").chain)
    assert verify(store).damages == []


KILLER = """
import os, signal, sys, threading
if "VFSD_TEST_KILL_AT" in os.environ and "mount" in sys.argv:
    left = int(os.environ["VFSD_TEST_KILL_AT"])
    armed = os.environ["VFSD_TEST_ARMED"]

    def wrapped(plain):
        def run(*args, **kwargs):
            global left
            if threading.current_thread() is not threading.main_thread() and os.path.exists(armed):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return plain(*args, **kwargs)
        return run

    for name in ("mkdir", "rename", "write", "pwrite", "fsync", "unlink"):
        setattr(os, name, wrapped(getattr(os, name)))
"""


@pytest.mark.parametrize("kill_at", [1, 6, 11])
def test_a_killed_daemon_leaves_the_whole_snapshot_or_none(tmp_path, monkeypatch, kill_at):
    """What was acknowledged before a snapshot that is there is all in it."""
    (tmp_path / "sitecustomize.py").write_text(KILLER)
    armed = tmp_path / "armed"
    monkeypatch.setenv("VFSD_TEST_KILL_AT", str(kill_at))
    monkeypatch.setenv("VFSD_TEST_ARMED", str(armed))
    mount = VfsdMount(packages=tmp_path)
    try:
        fill(mount.path)
        expected = {"one": seen(mount.path)}
        told(mount, "snapshot", "create", "one")
        (mount.path / "d/old").write_text("acknowledged")
        os.unlink(mount.path / "link")
        expected["two"] = seen(mount.path)
        armed.touch()
        done = subprocess.run(
            [sys.executable, "-m", "vfsd", "snapshot", "create", "two", mount.path],
            env=mount.environment,
            cwd=mount.root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert mount.process.wait(10) == -signal.SIGKILL
        assert done.returncode == 1
        assert "connection" in done.stderr
        detach(str(mount.path))
        armed.unlink()
        store = store_of(mount)
        assert verify(store).damages == []
        names = store.names()
        assert names in (["one"], ["one", "two"])
        again = VfsdMount(state=mount.root / "state")
        try:
            told(again, "gc")
            for name in names:
                told(again, "fork", name, name)
                assert seen(again.path / name) == expected[name]
        finally:
            detach_all(again)
            assert again.close() == []
        assert list(Path(store.place.staging).iterdir()) == []
    finally:
        mount._destroy()


@pytest.mark.root
def test_a_full_disk_keeps_what_was_there(vfsd_mount, tmp_path):
    """The state directory is a small file system of its own."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", small], check=True)
    try:
        mount = vfsd_mount(state=small)
        (mount.path / "f").write_text("kept")
        told(mount, "snapshot", "create", "one")
        (mount.path / "noise").write_bytes(os.urandom(4_000_000))
        said = told(mount, "snapshot", "create", "two", code=ExitCode.FULL)
        assert "no room in the store" in said
        os.unlink(mount.path / "noise")
        store = store_of(mount)
        assert store.names() == ["one"]
        assert list(Path(store.place.staging).iterdir()) == []
        told(mount, "snapshot", "create", "three")
        told(mount, "fork", "one", "fork")
        assert (mount.path / "fork/f").read_text() == "kept"
        detach_all(mount)
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_a_store_that_ends_early_is_undone(mount, monkeypatch):
    """The command is interrupted while it stores: the daemon goes on, and nothing is stored."""
    (mount.path / "f").write_bytes(os.urandom(20_000_000))
    with connect(mount, monkeypatch) as client:

        def leave(files: int, size_bytes: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.snapshots.store("one", progress=leave)
    with connect(mount, monkeypatch) as client:
        assert client.snapshots.list() == []
        stored = client.snapshots.store("two")
    store = store_of(mount)
    assert stored.files == 1
    assert store.names() in (["two"], ["one", "two"])
    assert verify(store).damages == []
