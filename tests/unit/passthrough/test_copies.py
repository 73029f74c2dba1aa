"""A file is put whole, or not at all, by the C library as without it."""

import os
import resource

import pytest

from providers.passthrough import copies
from providers.passthrough.held import HeldFd
from providers.passthrough.look import look
from tests.unit.passthrough.openfds import no_fd_stays
from vfsd.provider import FileCopy, Stat

CONTENT = b"a\0b" * 1000
STAT = Stat(0o100640, 1, os.geteuid(), os.getegid(), 0, 0, 0, 5, 7, 0, 4096)
MARKS = ((b"user.empty", b""), (b"user.odd", b"\0\xff=\n"), (b"user.last", b"1" * 200))


@pytest.fixture
def place(tmp_path):
    """Two directories, open as the provider has them: one beside and one to put into."""
    held = []
    for name in ("beside", "directory"):
        (tmp_path / name).mkdir()
        held.append(HeldFd(os.open(tmp_path / name, os.O_PATH)))
    os.utime(tmp_path / "directory", ns=(-1_500_000_001, 4_000_000_000_000_000_001))
    return held


@pytest.fixture
def put(tmp_path, place, either):
    beside, directory = place

    def put(copy, *, name=b"file"):
        return copies.put(beside, b"spare", directory, name, copy, either)

    return put


@pytest.fixture
def refused(tmp_path, put):
    """Put what cannot be: nothing is left of it, and no fd."""

    def refused(copy):
        times = (tmp_path / "directory").stat().st_mtime_ns
        before = sorted(os.listdir(tmp_path / "directory")), os.listdir(tmp_path / "beside")
        with no_fd_stays():
            assert put(copy) is None
        after = sorted(os.listdir(tmp_path / "directory")), os.listdir(tmp_path / "beside")
        assert after == before
        assert (tmp_path / "directory").stat().st_mtime_ns == times

    return refused


@pytest.mark.parametrize("mode", [0o640, 0, 0o4755, 0o2755, 0o1777, 0o6711, 0o7777])
def test_it_is_as_it_was_asked_for(tmp_path, place, put, mode):
    owner = (STAT.uid, STAT.gid) if os.geteuid() else (4_000_000_000, 3_000_000_000)
    stat = STAT._replace(
        mode=0o100000 | mode,
        uid=owner[0],
        gid=owner[1],
        atime_ns=-1_500_000_001,
        mtime_ns=1_999_999_999,
    )
    # Who may not write to a file may not set these, unless it is root.
    marks = MARKS if mode & 0o200 or not os.geteuid() else ()
    umask = os.umask(0o077)
    try:
        found, held = put(FileCopy(stat, CONTENT, marks))
    finally:
        os.umask(umask)
    assert os.listdir(tmp_path / "beside") == []
    shown = look(place[1].fd, b"file", links=False)
    assert found._replace(stat=found.stat._replace(ctime_ns=0)) == (
        shown._replace(stat=shown.stat._replace(ctime_ns=0))
    )
    assert (shown.stat.mode, shown.stat.size) == (stat.mode, len(CONTENT))
    assert (shown.stat.uid, shown.stat.gid) == owner
    assert (shown.stat.atime_ns, shown.stat.mtime_ns) == (stat.atime_ns, stat.mtime_ns)
    assert (held.content, held.writable, os.get_inheritable(held.fd)) == (True, True, False)
    assert os.pread(held.fd, 2 * len(CONTENT), 0) == CONTENT
    names = (tmp_path / "directory").stat(), os.listxattr(held.fd)
    assert (names[0].st_atime_ns, names[0].st_mtime_ns) == (
        *(-1_500_000_001, 4_000_000_000_000_000_001),
    )
    assert {(os.fsencode(name), os.getxattr(held.fd, name)) for name in names[1]} == set(marks)
    assert os.pwrite(held.fd, b"more", len(CONTENT)) == 4


def test_of_an_empty_file_too(tmp_path, put):
    found, _ = put(FileCopy(STAT, b"", ()))
    assert (found.stat.size, found.stat.blocks) == (0, 0)
    assert (tmp_path / "directory" / "file").read_bytes() == b""


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_has_the_name_keeps_it(tmp_path, refused, kind):
    there = tmp_path / "directory" / "file"
    if kind == "file":
        there.write_bytes(b"there")
    elif kind == "directory":
        there.mkdir()
    else:
        there.symlink_to("elsewhere")
    refused(FileCopy(STAT, CONTENT, MARKS))
    assert kind != "file" or there.read_bytes() == b"there"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_stands_beside_already_is_not_its_own(tmp_path, refused, kind):
    (tmp_path / "other").write_bytes(b"other")
    spare = tmp_path / "beside" / "spare"
    if kind == "file":
        spare.write_bytes(b"another's")
    else:
        spare.symlink_to(tmp_path / "other")
    refused(FileCopy(STAT, CONTENT, MARKS))
    assert (tmp_path / "other").read_bytes() == b"other"
    assert spare.read_bytes() == (b"another's" if kind == "file" else b"other")


@pytest.mark.parametrize("room", [0, 10, len(CONTENT) - 1])
def test_where_there_is_no_room_for_all_of_it(refused, room):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        refused(FileCopy(STAT, CONTENT, MARKS))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize(
    "xattr", [(b"bogus.name", b"1"), (b"user.large", b"1" * 70_000), (b"user." + b"n" * 300, b"")]
)
def test_whose_attributes_cannot_be_set(refused, xattr):
    refused(FileCopy(STAT, CONTENT, (*MARKS, xattr)))


def test_whose_owner_cannot_be_had(refused):
    refused(FileCopy(STAT._replace(uid=(1 << 32) - 1), CONTENT, ()))


def test_where_the_directory_is_gone(tmp_path, put):
    (tmp_path / "directory").rmdir()
    assert put(FileCopy(STAT, CONTENT, ())) is None
    assert os.listdir(tmp_path / "beside") == []


def test_where_no_fd_is_left(put):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_PATH)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        assert put(FileCopy(STAT, CONTENT, ())) is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_owner_is_only_that_of_the_file(put):
    if os.geteuid():
        pytest.skip("only root makes files for others")
    assert put(FileCopy(STAT._replace(uid=12, gid=34), CONTENT, ()), name=b"theirs") is not None
    mine, _ = put(FileCopy(STAT, CONTENT, ()), name=b"mine")
    assert (mine.stat.uid, mine.stat.gid) == (os.geteuid(), os.getegid())
