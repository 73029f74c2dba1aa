"""A small file is given to the kernel along with its opening: nothing is asked, and it is right."""

import mmap
import os
import threading

import pytest

from vfsd.fuse.openfiles import GIVEN_MAX

pytestmark = pytest.mark.fuse

PAGE = 4096
SIZES = (0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 5, GIVEN_MAX)
FILES = 100
READERS = 3


@pytest.fixture(params=["memory", "passthrough", "overlay"])
def laid(request, vfsd_mount, connect, tmp_path):
    """Make a mount in which a function puts a file, by another way than the mount."""
    tmp_path.chmod(0o755)
    place = tmp_path / "place"
    place.mkdir()
    if request.param == "memory":
        mount = vfsd_mount()
        with connect(mount) as client:
            yield mount, client.write_bytes
        return
    overlay = ("overlay", "-o", f"lower={place}", "-o", "upper=memory")
    mount = vfsd_mount(*(overlay if request.param == "overlay" else (str(place),)))

    def put(name, content):
        (place / name).write_bytes(content)

    yield mount, put


def reads(client):
    return client.status()["requests"].get("read", 0)


def test_a_small_file_is_read_without_asking(laid, connect):
    mount, put = laid
    for size in SIZES:
        put(f"f{size}", os.urandom(size))
    with connect(mount) as client:
        before = reads(client)
        for size in SIZES:
            content = (mount.path / f"f{size}").read_bytes()
            assert len(content) == size
            assert content == client.read_bytes(f"f{size}")
            if size:
                with (
                    open(mount.path / f"f{size}", "rb") as file,
                    mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
                ):
                    assert mapped[:] == content
        assert reads(client) == before


def test_a_larger_file_is_asked_for(laid, connect):
    mount, put = laid
    content = os.urandom(GIVEN_MAX + 1)
    put("f", content)
    with connect(mount) as client:
        before = reads(client)
        assert (mount.path / "f").read_bytes() == content
        assert reads(client) > before


def test_what_is_changed_after_it_was_given_is_seen(laid, connect):
    mount, _ = laid
    with connect(mount) as client:
        for content in (b"first" * 1000, b"longer" * 2000, b"short", b"", b"again"):
            client.write_bytes("f", content)
            assert (mount.path / "f").read_bytes() == content


def test_it_is_given_at_the_first_opening_only(laid, connect):
    """Later there may be readers who wait for a page, which giving would have to wait for."""
    mount, put = laid
    put("f", b"first")
    with connect(mount) as client:
        before = reads(client)
        with open(mount.path / "f", "rb") as file:
            assert file.read() == b"first"
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert (mount.path / "f").read_bytes() == b"first"
        assert reads(client) == before + 1


def test_nothing_is_given_where_changes_are_not_told(vfsd_mount, connect, tmp_path):
    tmp_path.chmod(0o755)
    mount = vfsd_mount(f"passthrough:{tmp_path}", "-o", "watch=off")
    (tmp_path / "f").write_bytes(b"old")
    with open(mount.path / "f", "rb") as file:
        (tmp_path / "f").write_bytes(b"new")
        assert file.read() == b"new"


def test_those_who_open_at_the_same_time_wait_for_nobody(laid):
    """Readers who come first, others who cut the file off, and one who writes it anew."""
    mount, put = laid
    whole, wrong = b"w" * PAGE, []

    def read_all(number):
        content = (mount.path / f"f{number}").read_bytes()
        if content not in (b"", whole):
            wrong.append((number, content[:10]))

    def write(number):
        fd = os.open(mount.path / f"f{number}", os.O_RDWR | os.O_TRUNC)
        os.pwrite(fd, whole, 0)
        os.close(fd)

    for number in range(FILES):
        put(f"f{number}", whole)
        calls = [*([read_all] * READERS), write]
        threads = [threading.Thread(target=call, args=(number,)) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (mount.path / f"f{number}").read_bytes() == whole
    assert wrong == []
