"""Files are opened, and looked at one by one, the same with the C library and without it."""

import errno
import os
import resource
import threading

import pytest

from providers.passthrough.look import look, names_in, open_at, stat_at
from providers.passthrough.nodes import KIND, Identity
from tests.unit.passthrough.openfds import no_fd_stays
from tests.unit.passthrough.serving import served

ACCESS = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_APPEND)


@pytest.fixture
def place(tmp_path):
    """Give the test's directory, open, with a file in it; no fd may be left."""
    (tmp_path / "file").write_bytes(b"content")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    with no_fd_stays():
        yield fd
    os.close(fd)


def identity_of(dirfd, name):
    dev, ino, stat, mark, _ = look(dirfd, name, links=False)
    return Identity(dev, ino, stat.mode & KIND, mark)


def outcome(call):
    """Return what the call returns, or the errno and the name that it raises."""
    try:
        return call()
    except OSError as error:
        return type(error), error.errno


def test_it_is_open_as_asked_for(place, either):
    identity = identity_of(place, b"file")
    for flags in ACCESS:
        held, *told = open_at(place, b"file", identity, flags, None, either)
        stat = os.fstat(held.fd)
        assert told == [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        assert (held.content, held.writable) == (True, flags != os.O_RDONLY)
        assert not os.get_inheritable(held.fd)
        if flags & os.O_APPEND:
            os.write(held.fd, b" more")
            assert os.pread(held.fd, 100, 0) == b"content more"
        del held


@pytest.mark.parametrize("flags", [*ACCESS, os.O_RDWR | os.O_TRUNC])
def test_whatever_stands_there_both_ways_say_the_same(scenery, library, flags):
    meant = identity_of(scenery, b"fifo")._replace(kind=0o100000)
    names = [*names_in(scenery), b"missing", b"a" * 256, b"file\xff"]
    with no_fd_stays():
        for name in names:
            found = outcome(lambda name=name: identity_of(scenery, name))
            for identity in (meant, found if isinstance(found, Identity) else meant):
                ways = [
                    outcome(lambda args=(name, identity, flags, None, by): open_at(scenery, *args))
                    for by in (None, library)
                ]
                failed = [way for way in ways if isinstance(way[0], type)]
                assert failed == ([] if len(failed) == 0 else ways)
                assert len(set(failed)) < 2
                del ways


def test_what_is_no_file_any_more_is_stale(place, tmp_path, either):
    identity = identity_of(place, b"file")
    (tmp_path / "file").rename(tmp_path / "moved")
    for make in (
        lambda: None,
        lambda: (tmp_path / "file").mkdir(),
        lambda: (tmp_path / "file").rmdir() or (tmp_path / "file").symlink_to("moved"),
        lambda: (tmp_path / "file").unlink() or os.mkfifo(tmp_path / "file"),
        lambda: (tmp_path / "file").unlink() or (tmp_path / "file").write_bytes(b"another"),
    ):
        make()
        for flags in (*ACCESS, os.O_WRONLY | os.O_TRUNC):
            with pytest.raises(OSError) as caught:
                open_at(place, b"file", identity, flags, None, either)
            assert caught.value.errno == errno.ESTALE
            del caught
        with pytest.raises(OSError) as caught:
            stat_at(place, b"file", identity, either)
        assert caught.value.errno == errno.ESTALE
        del caught
    assert (tmp_path / "file").read_bytes() == b"another"  # only what was meant is emptied


def test_a_later_file_with_the_same_inode_number_is_stale(place, either):
    identity = identity_of(place, b"file")
    if not identity.mark:
        pytest.skip("this file system has no handles")
    for mark in (identity.mark[:-1], identity.mark + b"\0", bytes(len(identity.mark))):
        other = identity._replace(mark=mark)
        for call in (
            lambda other=other: open_at(place, b"file", other, os.O_RDONLY, None, either),
            lambda other=other: stat_at(place, b"file", other, either),
        ):
            with pytest.raises(OSError) as caught:
                call()
            assert caught.value.errno == errno.ESTALE
            del caught
    # Where marks cannot be had there is none to compare.
    unmarked = identity._replace(mark=b"")
    assert stat_at(place, b"file", unmarked, either).size == 7
    assert open_at(place, b"file", unmarked, os.O_RDONLY, None, either)[0].content


def test_it_is_emptied_and_loses_its_bits(place, tmp_path, either):
    (tmp_path / "file").chmod(0o6711)
    for flags in (os.O_WRONLY, os.O_RDONLY):
        (tmp_path / "file").write_bytes(b"content")
        (tmp_path / "file").chmod(0o6711)
        identity = identity_of(place, b"file")
        held, size, mtime_ns, _ = open_at(place, b"file", identity, flags | os.O_TRUNC, 12, either)
        stat = os.fstat(held.fd)
        assert (stat.st_size, stat.st_mode & 0o7777, mtime_ns) == (0, 0o711, stat.st_mtime_ns)
        assert size == 0
        del held


def test_the_limit_of_open_files_is_told(place, either):
    identity = identity_of(place, b"file")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_PATH)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        found = outcome(lambda: open_at(place, b"file", identity, os.O_RDONLY, None, either))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == (OSError, errno.EMFILE)


def test_a_directory_that_is_none_is_told(either):
    identity = Identity(1, 2, 0o100000, b"")
    found = outcome(lambda: open_at(4_000_000, b"file", identity, os.O_RDONLY, None, either))
    assert found == (OSError, errno.EBADF)
    assert outcome(lambda: look(4_000_000, b"file", False, None, either)) == found


def test_marks_that_do_not_fit_are_asked_for_by_themselves(place, library, monkeypatch):
    from providers.passthrough import looking

    identity = identity_of(place, b"file")
    if not identity.mark:
        pytest.skip("this file system has no handles")
    # As if it were one that the library leaves out.
    monkeypatch.setattr(looking, "MARK_ELSEWHERE", len(identity.mark))
    assert open_at(place, b"file", identity, os.O_RDONLY, None, library)[0].content
    assert stat_at(place, b"file", identity, library).size == 7
    with pytest.raises(OSError) as caught:
        open_at(place, b"file", identity._replace(mark=b"other"), os.O_RDONLY, None, library)
    assert caught.value.errno == errno.ESTALE
    del caught


@pytest.mark.parametrize("links", [False, True])
def test_one_look_is_like_many(scenery, library, links):
    for name in names_in(scenery):
        found = look(scenery, name, links, None, library)
        assert found == look(scenery, name, links)
    for name in (b"missing", b"a" * 256):
        ways = [
            outcome(lambda by=by, n=name: look(scenery, n, links, None, by))
            for by in (None, library)
        ]
        assert ways[0] == ways[1]
        assert isinstance(ways[0][0], type)


def test_threads_do_not_get_each_others_files(place, tmp_path, library):
    wrong = []

    def work(number):
        name = b"%d" % number
        (tmp_path / os.fsdecode(name)).write_bytes(b"x" * number)
        identity = identity_of(place, name)
        for _ in range(300):
            held, size, mtime_ns, _ = open_at(place, name, identity, os.O_RDONLY, None, library)
            stat = os.fstat(held.fd)
            if (stat.st_size, stat.st_size, stat.st_mtime_ns) != (number, size, mtime_ns):
                wrong.append(number)
            if look(place, name, False, None, library).stat.size != number:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("native", ["auto", "off"])
async def test_a_file_that_moved_is_found_at_its_other_name(tmp_path, native):
    (tmp_path / "file").write_bytes(b"content")
    os.link(tmp_path / "file", tmp_path / "other")
    async with served(tmp_path, native=native, watch="off") as files:
        for name in (b"file", b"other"):
            node = await files.node(name)
        (tmp_path / "other").unlink()
        (tmp_path / "other").write_bytes(b"not this")
        assert (await files.provider.getattr(node)).size == len(b"content")
        assert await files.get(b"file") == b"content"
