"""Copying trees in and out: nothing lost, nothing written elsewhere, failures named."""

import ctypes
import errno
import os
import socket
import stat
import threading

import pytest

from vfsd import aclient
from vfsd.attributes import Stat
from vfsd.control import batchverbs, fileverbs, landing, replies
from vfsd.control.sending import put_tree

from .treecompare import one_of_everything, picture


def raises(code: int):
    return pytest.raises(OSError, check=lambda error: error.errno == code)


@pytest.fixture
def source(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    one_of_everything(root)
    return root


def test_a_tree_comes_back_as_it_went(client, source, tmp_path):
    put = client.put_tree(source, "copy")
    assert put.problems == []
    got = client.get_tree("copy", tmp_path / "back")
    assert got.problems == []
    assert picture(tmp_path / "back") == picture(source)
    assert put.files == got.files == len(picture(source))
    again = client.put_tree(source, "copy")
    assert again.problems == []
    assert client.get_tree("copy", tmp_path / "back").problems == []
    assert picture(tmp_path / "back") == picture(source)


def test_holes_stay_holes(client, source, tmp_path):
    client.put_tree(source / "sparse", "sparse")
    found = client.stat("sparse").stat
    assert found.size == 30_000_000
    assert found.blocks * 512 < 4_000_000
    client.get_tree("sparse", tmp_path / "sparse")
    assert os.stat(tmp_path / "sparse").st_blocks * 512 < 4_000_000


async def test_the_other_client_copies_alike(daemon, source, tmp_path):
    async with await aclient.connect(daemon.mountpoint) as tree:
        told = []
        report = await tree.put_tree(source, "copy", told.append)
        assert report.problems == []
        assert told[-1].files == told[-1].files_total == report.files
        assert (await tree.get_tree("copy", tmp_path / "back")).problems == []
    assert picture(tmp_path / "back") == picture(source)


def test_progress_only_grows_and_ends_at_the_total(client, source, tmp_path):
    told = []
    report = client.put_tree(source, "copy", told.append)
    assert told == sorted(told, key=lambda each: (each.files, each.size_bytes))
    assert told[-1].files == told[-1].files_total == report.files
    assert len(told) > 3
    told.clear()
    client.get_tree("copy", tmp_path / "back", told.append)
    assert told[-1].files == report.files


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(client, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_bytes(b"1")
    (root / "z").write_bytes(b"1")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fsencode(root / "socket"))
    report = client.put_tree(root, "copy")
    assert [problem.path for problem in report.problems] == [os.fsencode(root / "socket")]
    assert client.listdir("copy") == [b"a", b"z"]


@pytest.mark.root
def test_files_without_permission_are_named(source, tmp_path):
    (source / "script").chmod(0)
    (source / "locked").chmod(0)
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    libc = ctypes.CDLL(None)
    reports = []

    def walk() -> None:
        # One thread cannot change its uid through os; setfsuid can, and root's override goes.
        libc.setfsuid(65534)
        steps = put_tree(os.fsencode(source), b"copy", None)
        call = next(steps)
        try:
            while True:
                match call.verb:
                    case batchverbs.Put():
                        call = steps.send([])
                    case fileverbs.Write(data=data):
                        call = steps.send(len(data))
                    case _:
                        call = steps.send(1)
        except StopIteration as stop:
            reports.append(stop.value)

    thread = threading.Thread(target=walk)
    thread.start()
    thread.join()
    problems = reports[0].problems
    assert {os.path.basename(problem.path) for problem in problems} == {
        b"script",
        b"locked",
        b"empty",  # it is 0700
    }
    assert {problem.reason for problem in problems} == {"Permission denied"}


def test_below_what_stands_in_the_way_one_sentence_is_enough(client, tmp_path):
    (tmp_path / "root/dir/sub").mkdir(parents=True)
    for name in ("a", "dir/b", "dir/sub/c"):
        (tmp_path / "root" / name).write_bytes(b"1")
    client.mkdir("copy")
    client.write_bytes("copy/dir", b"in the way")
    report = client.put_tree(tmp_path / "root", "copy")
    assert [problem.path for problem in report.problems] == [b"/copy/dir"]
    assert client.listdir("copy") == [b"a", b"dir"]


def test_putting_follows_no_symlink_in_the_tree(client, tmp_path):
    (tmp_path / "root/dir").mkdir(parents=True)
    (tmp_path / "root/dir/f").write_bytes(b"1")
    (tmp_path / "root/dir/large").write_bytes(bytes(400_000))
    client.mkdir("victim")
    client.mkdir("copy")
    client.symlink("../victim", "copy/dir")
    report = client.put_tree(tmp_path / "root", "copy")
    assert b"/copy/dir" in [problem.path for problem in report.problems]
    assert client.listdir("victim") == []


def test_an_error_at_the_start_is_raised(client, tmp_path):
    with raises(errno.ENOENT):
        client.put_tree(tmp_path / "none", "copy")
    (tmp_path / "d").mkdir()
    with raises(errno.ENOENT):
        client.put_tree(tmp_path / "d", "none/copy")
    with raises(errno.ENOENT):
        client.get_tree("none", tmp_path / "copy")
    with raises(errno.ENOENT):
        client.get_tree("", tmp_path / "none/copy")
    for target in ("", ".", "..", "/"):
        with raises(errno.EINVAL):
            client.get_tree("", target)


def test_a_full_tree_is_told_and_keeps_no_part(client, tmp_path):
    client.attach("memory", "small", {"size": "1M"})
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").write_bytes(bytes(100))
    (tmp_path / "root/b").write_bytes(os.urandom(5_000_000))
    report = client.put_tree(tmp_path / "root", "small/copy")
    assert [(problem.path, problem.reason) for problem in report.problems] == [
        (os.fsencode(tmp_path / "root/b"), os.strerror(errno.ENOSPC))
    ]
    assert client.listdir("small/copy") == [b"a"]


# -- out of the tree ----------------------------------------------------------------------------


def test_nothing_is_written_through_a_symlink(client, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_bytes(b"mine")
    client.mkdir("t/dir", parents=True)
    client.write_bytes("t/dir/file", b"evil")
    client.write_bytes("t/file", b"evil")
    out = tmp_path / "out"
    out.mkdir()
    (out / "dir").symlink_to(victim)
    (out / "file").symlink_to(victim / "file")
    report = client.get_tree("t", out)
    assert [problem.path for problem in report.problems] == [b"out/dir"]
    assert (victim / "file").read_bytes() == b"mine"
    assert not (out / "file").is_symlink()
    assert (out / "file").read_bytes() == b"evil"


def test_a_symlink_as_the_destination_is_not_entered(client, tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "out").symlink_to("victim")
    client.mkdir("t")
    with raises(errno.ENOTDIR):
        client.get_tree("t", tmp_path / "out")


def test_a_symlink_that_the_copy_made_is_not_entered(client, tmp_path):
    (tmp_path / "victim").mkdir()
    client.mkdir("t")
    client.symlink(tmp_path / "victim", "t/way")
    client.get_tree("t", tmp_path / "out")
    client.unlink("t/way")
    client.mkdir("t/way")
    client.write_bytes("t/way/file", b"evil")
    report = client.get_tree("t", tmp_path / "out")
    assert [problem.path for problem in report.problems] == [b"out/way"]
    assert os.listdir(tmp_path / "victim") == []


def test_a_directory_in_the_way_is_named_and_no_temporary_file_stays(client, tmp_path):
    client.mkdir("t")
    client.write_bytes("t/f", b"1")
    client.write_bytes("t/large", bytes(400_000))
    client.symlink("x", "t/l")
    for name in ("f", "large", "l"):
        (tmp_path / "out" / name).mkdir(parents=True)
    report = client.get_tree("t", tmp_path / "out")
    assert len(report.problems) == 3
    assert sorted(os.listdir(tmp_path / "out")) == ["f", "l", "large"]


@pytest.mark.root
def test_anothers_setuid_bit_is_not_lent(client, tmp_path):
    for name, uid in (("mine", os.geteuid()), ("theirs", 1234)):
        client.write_bytes(name, b"1")
        client.setattr(name, uid=uid)
        client.setattr(name, mode=0o6755)
        client.get_tree(name, tmp_path / name)
    assert stat.S_IMODE(os.stat(tmp_path / "mine").st_mode) == 0o6755
    assert stat.S_IMODE(os.stat(tmp_path / "theirs").st_mode) == 0o755


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc", b"a\0b"])
def test_names_from_a_hostile_daemon_are_refused(name):
    record = [0, 1, *([0] * len(Stat._fields))]
    replies.page({"entries": [[b"fine", record]], "after": None})
    with raises(errno.EPROTO):
        replies.page({"entries": [[name, record]], "after": None})


def test_a_directory_swapped_for_a_symlink_midway_is_not_entered(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "out").mkdir()
    with landing.Landing(os.fsencode(tmp_path / "out")) as place:
        place.make_directory((b"d",))
        os.rename(tmp_path / "out/d", tmp_path / "out/was")
        os.symlink(tmp_path / "victim", tmp_path / "out/d")
        with pytest.raises(OSError):
            place.start_file((b"d", b"f"))
    assert os.listdir(tmp_path / "victim") == []
