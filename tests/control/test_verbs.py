"""The verbs on files: what they do, what they refuse, and that they tell what they changed."""

import errno
import os
import stat

import pytest

from vfsd.client import calls
from vfsd.control.batchverbs import PutEntry
from vfsd.control.framing import DATA_LIMIT_BYTES

NAMES = ["plain", "späße ☃", b"\xff\xfe\x01".decode("utf-8", "surrogateescape"), "-r", "a\nb", " "]


def raises(code: int):
    return pytest.raises(OSError, check=lambda error: error.errno == code)


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_kept(client, name):
    client.write_bytes(name, b"1")
    client.rename(name, name + "2")
    assert client.listdir() == [os.fsencode(name + "2")]
    assert client.read_bytes(name + "2") == b"1"
    with raises(errno.ENOENT):
        client.unlink(name)


@pytest.mark.parametrize("size", [0, 1, DATA_LIMIT_BYTES, DATA_LIMIT_BYTES + 1, 3_500_000])
def test_whole_files_of_any_size(client, size):
    data = os.urandom(size)
    client.write_bytes("f", data)
    assert client.read_bytes("f") == data
    client.write_bytes("f", b"short")
    assert client.read_bytes("f") == b"short"
    assert client.listdir() == [b"f"]


@pytest.mark.parametrize("size", [5, DATA_LIMIT_BYTES + 5])
def test_replacing_keeps_mode_and_owner_and_leaves_other_links_alone(client, size):
    client.write_bytes("f", b"old")
    client.setattr("f", mode=0o4711, uid=7, gid=8)
    client.link("f", "g")
    client.write_bytes("f", b"x" * size, mode=0o600)
    found = client.stat("f").stat
    assert (found.mode & 0o7777, found.uid, found.gid, found.nlink) == (0o4711, 7, 8, 1)
    assert client.read_bytes("g") == b"old"
    assert client.stat("g").stat.nlink == 1


def test_the_umask_is_the_clients(client, monkeypatch):
    from vfsd.control import modes

    assert modes.read_umask() == _umask()
    before = os.umask(0o027)
    try:
        client.mkdir("d")
        client.write_bytes("d/f", b"")
        client.open("d/g", "wb").close()
    finally:
        os.umask(before)
    assert client.stat("d").stat.mode & 0o7777 == 0o750
    assert client.stat("d/f").stat.mode & 0o7777 == 0o640
    assert client.stat("d/g").stat.mode & 0o7777 == 0o640


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


def test_new_files_belong_to_the_peer(client):
    client.mkdir("d")
    found = client.stat("d").stat
    assert (found.uid, found.gid) == (os.geteuid(), os.getegid())


def test_a_symlink_is_replaced_and_never_written_through(client):
    client.write_bytes("kept", b"kept")
    client.symlink("kept", "link")
    client.write_bytes("link", b"new")
    assert client.read_bytes("kept") == b"kept"
    assert client.stat("link", follow=False).is_file


def test_failing_to_replace_leaves_the_old_file_and_nothing_else(tmp_path, daemon, client):
    client.attach("memory", "small", {"size": "64k"})
    client.write_bytes("small/f", b"o" * 10_000)
    for size in (100_000, DATA_LIMIT_BYTES + 1):
        with raises(errno.ENOSPC):
            client.write_bytes("small/f", b"n" * size)
        with raises(errno.ENOSPC):
            client.write_bytes("small/g", b"n" * size)
    assert client.listdir("small") == [b"f"]
    assert client.read_bytes("small/f") == b"o" * 10_000


def test_nothing_is_removed_when_making_fails_on_a_name_that_is_taken(client):
    client.attach("memory", "sealed")
    client.write_bytes("sealed/f", b"1")
    client.snapshot("sealed", "snap")
    for attempt in (
        lambda: client.write_bytes("snap/f", b"2"),
        lambda: client.write_bytes("snap/g", b"2"),
        lambda: client.unlink("snap/f"),
        lambda: client.mkdir("snap/d"),
        lambda: client.setattr("snap/f", mode=0o600),
        lambda: client.open("snap/f", "r+b"),
        lambda: client.remove_tree("snap/f"),
    ):
        with raises(errno.EROFS):
            attempt()
    assert client.read_bytes("snap/f") == b"1"


def test_directories_and_special_files(client):
    client.mkdir("a/b/c", parents=True)
    client.mkdir("a/b/c", parents=True)
    with raises(errno.EEXIST):
        client.mkdir("a")
    client.write_bytes("a/f", b"")
    with raises(errno.ENOTDIR):
        client.mkdir("a/f/x", parents=True)
    with raises(errno.EEXIST):
        client.mkdir("a/f", parents=True)
    client.mknod("a/p", stat.S_IFIFO | 0o600)
    assert stat.S_ISFIFO(client.stat("a/p").stat.mode)
    with raises(errno.ENXIO):
        client.open("a/p")
    with raises(errno.EINVAL):
        client.read_bytes("a/p")
    with raises(errno.EISDIR):
        client.read_bytes("a")
    with raises(errno.EISDIR):
        client.write_bytes("a", b"")
    with raises(errno.EISDIR):
        client.write_bytes("a", b"x" * (DATA_LIMIT_BYTES + 1))
    with raises(errno.EINVAL):
        client.mknod("a/l", stat.S_IFLNK)
    with raises(errno.ENOTEMPTY):
        client.rmdir("a")
    with raises(errno.EPERM):
        client.link("a", "hard")
    assert client.listdir("a") == [b"b", b"f", b"p"]


def test_symlinks_and_their_limits(client):
    client.symlink("../x", "l")
    assert client.readlink("l") == b"../x"
    for target, code in ((b"", errno.ENOENT), (b"x" * 4096, errno.ENAMETOOLONG)):
        with raises(code):
            client.symlink(target, "m")
    client.symlink("loop", "loop")
    with raises(errno.ELOOP):
        client.stat("loop")
    client.symlink(client.mountpoint + b"/d", "absolute")
    client.mkdir("d")
    client.write_bytes("absolute/f", b"1")
    assert client.listdir("d") == [b"f"]
    client.symlink("/etc", "out")
    with raises(errno.EXDEV):
        client.listdir("out")


def test_renaming(client):
    client.write_bytes("a", b"a")
    client.write_bytes("b", b"b")
    with raises(errno.EEXIST):
        client.rename("a", "b", 1)
    client.rename("a", "b", 2)
    assert client.read_bytes("a") == b"b"
    client.rename("a", "b")
    assert client.listdir() == [b"b"]
    with raises(errno.EINVAL):
        client.rename("b", "c", 4)


def test_attributes_and_xattrs(client):
    client.write_bytes("f", b"12345")
    client.truncate("f", 3)
    found = client.setattr("f", mode=0o640, mtime_ns=-5, atime_ns=7)
    assert (found.stat.size, found.stat.mode & 0o7777) == (3, 0o640)
    assert (found.stat.mtime_ns, found.stat.atime_ns) == (-5, 7)
    client.setxattr("f", "user.a", b"\xff")
    assert client.listxattr("f") == [b"user.a"]
    assert client.getxattr("f", "user.a") == b"\xff"
    client.removexattr("f", "user.a")
    with raises(errno.ENODATA):
        client.getxattr("f", "user.a")
    for name in ("", "x" * 256):
        with raises(errno.ERANGE):
            client.setxattr("f", name, b"")
    assert client.statfs().block_size > 0


def test_attach_points_are_protected(client):
    client.attach("memory", "x/y")
    client.write_bytes("x/y/f", b"1")
    client.write_bytes("g", b"1")
    for attempt in (
        lambda: client.rmdir("x/y"),
        lambda: client.rmdir("x"),
        lambda: client.rename("x", "z"),
        lambda: client.rename("x/y", "z"),
        lambda: client.remove_tree("x"),
        lambda: client.remove_tree("x/y"),
    ):
        with raises(errno.EBUSY):
            attempt()
    with client.open("x/y/f"), raises(errno.EBUSY):
        client.detach("x/y")
    with raises(errno.EXDEV):
        client.rename("g", "x/y/g")
    with raises(errno.EXDEV):
        client.link("g", "x/y/g")
    assert client.read_bytes("x/y/f") == b"1"
    client.detach("x/y", lazy=True)
    assert client.listdir("x/y") == []


def test_snapshot_and_fork_do_not_see_each_other(client):
    client.attach("memory", "base")
    client.write_bytes("base/f", b"1")
    assert client.snapshot("base", "snap").read_only
    client.fork("base", "fork")
    client.write_bytes("fork/f", b"2")
    client.write_bytes("base/f", b"3")
    assert [client.read_bytes(f"{at}/f") for at in ("snap", "fork", "base")] == [b"1", b"2", b"3"]
    with raises(errno.EINVAL):
        client.fork("fork/f", "other")
    with raises(errno.EBUSY):
        client.fork("base", "fork")


def test_remove_tree_counts_and_tells_progress(client):
    entries: list[PutEntry] = [(b"d", 0o40755, None, None)]
    entries += [(b"d/%04d" % i, 0o100644, None, b"") for i in range(2000)]
    assert client._call(calls.put(b"", entries)) == []
    told = []
    assert client.remove_tree("d", told.append) == 2001
    assert told == [1024]
    with raises(errno.ENOENT):
        client.remove_tree("d")


def test_a_large_directory_is_listed_in_pages_while_it_changes(client):
    names = [b"%05d" % i for i in range(9000)]
    for start in range(0, len(names), 3000):
        entries = [(name, 0o100644, None, b"") for name in names[start : start + 3000]]
        assert client._call(calls.put(b"", entries)) == []
    assert client.listdir() == names
    page = client._call(calls.list_page(b""))
    assert 0 < len(page.entries) <= 4096
    client.unlink(page.after)  # where the next page starts is gone: nothing is lost by it
    rest = []
    while page.after is not None:
        page = client._call(calls.list_page(b"", page.after))
        rest += [name for name, _ in page.entries]
    assert rest == names[names.index(rest[0]) :]
    assert len(rest) + 4096 == len(names)


def test_listings_of_several_directories_do_not_mix(client):
    for place in (b"a", b"b"):
        entries: list[PutEntry] = [(place, 0o40755, None, None)]
        entries += [(place + b"/%s-%04d" % (place, i), 0o100644, None, b"") for i in range(6)]
        assert client._call(calls.put(b"", entries)) == []
    found = {b"a": [], b"b": []}
    after = {b"a": b"", b"b": b""}
    for _ in range(3):  # both at the same names, page by page in turn
        for place in (b"a", b"b"):
            page = client._call(calls.list_page(place, after[place], limit=2))
            found[place] += [name for name, _ in page.entries]
            after[place] = page.after
    assert after == {b"a": None, b"b": None}
    assert found == {place: [b"%s-%04d" % (place, i) for i in range(6)] for place in (b"a", b"b")}


def test_a_page_is_of_what_stands_at_the_path_now(client):
    for name in (b"d", b"e"):
        entries: list[PutEntry] = [(name, 0o40755, None, None)]
        entries += [(name + b"/%d" % i, 0o100644, None, b"") for i in range(4)]
        assert client._call(calls.put(b"", entries)) == []
    client.write_bytes("e/x", b"")
    page = client._call(calls.list_page(b"d", limit=2))
    client.rename("d", "gone")
    client.rename("e", "d")
    rest = client._call(calls.list_page(b"d", page.after, limit=9))
    assert [name for name, _ in rest.entries] == [b"2", b"3", b"x"]


# -- open files -------------------------------------------------------------------------------


def test_a_virtual_fd_outlives_its_name(client, daemon):
    with client.open("f", "w+b") as opened:
        assert 0x4000_0000 <= opened.fd <= 0x7FFF_FFFF
        assert opened.write(b"hello") == 5
        client.unlink("f")
        opened.seek(0)
        assert opened.read() == b"hello"
        assert opened.stat().stat.nlink == 0
        opened.truncate(2)
        assert opened.seek(0, os.SEEK_END) == 2
        opened.sync()
    assert daemon.handles.open_files == {}
    with pytest.raises(ValueError, match="closed"):
        opened.read(1)


def test_appending_is_at_the_end_whoever_else_writes(client):
    with client.open("f", "ab") as one, client.open("f", "ab") as two:
        for turn in range(10):
            one.write(b"1%d" % turn)
            two.write(b"2%d" % turn)
    assert client.read_bytes("f") == b"".join(b"1%d2%d" % (i, i) for i in range(10))


@pytest.mark.parametrize("mode", ["r", "q", "rw", "wb+b", ""])
def test_open_modes_are_checked(client, mode):
    if mode == "r":
        with raises(errno.ENOENT):
            client.open("f", mode)
    else:
        with pytest.raises(ValueError, match="no mode"):
            client.open("f", mode)


def test_open_flags(client):
    client.write_bytes("f", b"12345")
    client.symlink("f", "l")
    client.symlink("gone", "dangling")
    client.mkdir("d")
    with raises(errno.EEXIST):
        client.open("f", "xb")
    with client.open("l", "r+b") as opened:
        opened.write(b"X")
    assert client.read_bytes("f") == b"X2345"
    client.open("l", "wb").close()
    assert client.read_bytes("f") == b""
    with raises(errno.EEXIST):
        client.open("l", "xb")
    with raises(errno.ENOENT):
        client.open("dangling", "wb")
    with raises(errno.EISDIR):
        client.open("d", "wb")
    for flags in (os.O_DIRECTORY, os.O_PATH, 3, os.O_SYNC):
        with raises(errno.EINVAL):
            client._call(calls.open_file(b"f", flags, 0))
    with raises(errno.ELOOP):
        client._call(calls.open_file(b"l", os.O_NOFOLLOW, 0))


def test_a_file_opened_for_reading_cannot_be_written(client):
    client.write_bytes("f", b"1")
    with client.open("f") as opened:
        for attempt, code in (
            (calls.write(opened.fd, 0, b"2"), errno.EBADF),
            (calls.ftruncate(opened.fd, 0), errno.EINVAL),
            (calls.write(opened.fd, (1 << 63) - 1, b"2"), errno.EFBIG),
        ):
            with raises(code):
                client._call(attempt)
    with raises(errno.EBADF):
        client._call(calls.read(3, 0, 1))


def test_a_staged_file_has_no_name_until_it_is_committed(client, daemon):
    client.mkdir("d")
    fd = client._call(calls.stage(b"d", b""))
    client._call(calls.write(fd, 0, b"data"))
    assert b"f" not in client.listdir("d")
    for name in (b"", b".", b"..", b"a/b"):
        with raises(errno.EINVAL):
            client._call(calls.commit(fd, name, 0o600, None))
    client._call(calls.commit(fd, b"f", 0o640, 5))
    assert client.listdir("d") == [b"f"]
    assert client.stat("d/f").stat.mtime_ns == 5
    with raises(errno.EBADF):
        client._call(calls.close(fd))
    fd = client._call(calls.stage(b"", b"d"))
    client._call(calls.close(fd))
    assert client.listdir("d") == [b"f"]
    client.symlink("d", "l")
    with raises(errno.ENOTDIR):
        client._call(calls.stage(b"", b"l"))


# -- what is told -----------------------------------------------------------------------------


def _told(daemon, action):
    recorder = daemon.recorder
    recorder.told.clear()
    settles = recorder.settles
    action()
    assert recorder.unsettled == 0, "answered before the kernel's caches were settled"
    assert recorder.settles == settles + 1
    return {(change.name, change.data) for change in recorder.told}


def test_every_change_is_told_and_settled_before_the_answer(client, daemon):
    entry, attributes, data = lambda name: (name, True), (None, False), (None, True)
    client.write_bytes("f", b"1")
    for action, expected in (
        (lambda: client.write_bytes("g", b""), {entry(b"g"), attributes}),
        (lambda: client.mkdir("d"), {entry(b"d"), attributes}),
        (lambda: client.symlink("x", "l"), {entry(b"l"), attributes}),
        (lambda: client.link("f", "h"), {entry(b"h"), attributes}),
        (lambda: client.rename("h", "i"), {entry(b"h"), entry(b"i"), attributes}),
        (lambda: client.unlink("i"), {entry(b"i"), attributes}),
        (lambda: client.rmdir("d"), {entry(b"d"), attributes}),
        (lambda: client.setattr("f", mode=0o600), {attributes}),
        (lambda: client.truncate("f", 0), {data}),
        (lambda: client.setxattr("f", "user.x", b""), {attributes}),
        (lambda: client.removexattr("f", "user.x"), {attributes}),
    ):
        assert _told(daemon, action) == expected
    with client.open("f", "r+b") as opened:
        assert _told(daemon, lambda: opened.pwrite(b"1", 0)) == {data}
        assert _told(daemon, lambda: opened.truncate(0)) == {data}
    assert _told(daemon, lambda: client._call(calls.open_file(b"f", os.O_RDWR | os.O_TRUNC, 0)))


def test_a_batch_is_settled_once_and_replacing_tells_the_temporary_name(client, daemon):
    entries = [(b"f%d" % i, 0o100644, None, b"x") for i in range(500)]
    told = _told(daemon, lambda: client._call(calls.put(b"", entries)))
    assert {name for name, _ in told} == {None, *(entry[0] for entry in entries)}
    told = _told(daemon, lambda: client.write_bytes("f1", b"2"))
    assert sum(name is not None and name.startswith(b".vfsd-") for name, _ in told) == 1


def test_looking_tells_nothing(client, daemon):
    client.write_bytes("f", b"1")
    daemon.recorder.told.clear()
    settles = daemon.recorder.settles
    client.read_bytes("f")
    client.scandir()
    client.statfs()
    with client.open("f") as opened:
        opened.read()
    assert daemon.recorder.told == []
    assert daemon.recorder.settles == settles


def test_watching(client):
    client.attach("memory", "x")
    with client.watch("x") as changes:
        client.write_bytes("elsewhere", b"")
        client.write_bytes("x/f", b"1")
        event = next(changes)
        assert (event.prefix, event.node, event.name) == (b"x", 1, b"f")
        client.truncate("x/f", 0)
        node = client.stat("x/f").node
        assert any(event.node == node and event.data for event in changes)
    with pytest.raises(ConnectionError):
        next(changes)


# -- put --------------------------------------------------------------------------------------


def test_a_batch_goes_on_past_what_fails(client):
    client.mkdir("dir")
    client.symlink("dir", "link")
    entries: list[PutEntry] = [
        (b"a", 0o100644, 5, b"1"),
        (b"missing/b", 0o100644, None, b"1"),
        (b"link/c", 0o100644, None, b"1"),
        (b"../d", 0o100644, None, b"1"),
        (b"dir", 0o100644, None, b"1"),
        (b"link", 0o40755, None, None),
        (b"hard", 0, None, b"a"),
        (b"hard2", 0, None, b"dir"),
        (b"e", 0o100644, None, None),
        (b"sym", 0o120777, 7, b"a"),
        (b"fifo", 0o10640, 9, None),
        (b"dir", 0o41777, 11, None),
        (b"", 0o40700, 13, None),
        (b"z", 0o106755, None, b"setuid"),
    ]
    failed = dict(client._call(calls.put(b"", entries)))
    assert failed == {
        1: errno.ENOENT,
        2: errno.ENOTDIR,
        3: errno.EINVAL,
        4: errno.EISDIR,
        5: errno.EEXIST,
        7: errno.EPERM,
        8: errno.EINVAL,
    }
    assert client.stat("a").stat.nlink == 2
    assert client.stat("a").stat.mtime_ns == 5
    assert client.stat("sym", follow=False).stat.mtime_ns == 7
    assert client.stat("fifo").stat.mtime_ns == 9
    assert client.stat("dir").stat.mode & 0o7777 == 0o1777
    assert client.stat("z").stat.mode & 0o7777 == 0o6755
    assert client.stat("").stat.mode & 0o7777 == 0o700
    assert client.listdir("dir") == []
    again = dict(client._call(calls.put(b"", entries)))
    assert again == failed
    assert client.stat("a").stat.nlink == 2
    assert not any(name.startswith(b".vfsd-") for name in client.listdir())


def test_fetching_stops_where_a_message_is_full_and_tells_what_is_no_file(client):
    client.mkdir("d")
    for name in ("a", "b", "c"):
        client.write_bytes(f"d/{name}", name.encode() * 500_000)
    client.write_bytes("d/huge", b"h" * (DATA_LIMIT_BYTES + 1))
    client.symlink("a", "d/link")
    assert client._call(calls.fetch(b"d", [b"a", b"b", b"c"])) == [b"a" * 500_000, b"b" * 500_000]
    answers = client._call(calls.fetch(b"d", [b"huge", b"link", b"none", b"..", b"x/y"]))
    assert answers == [errno.EFBIG, errno.EINVAL, errno.ENOENT, errno.EINVAL, errno.EINVAL]
