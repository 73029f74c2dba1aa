"""Providers that misbehave: what they do wrong stays theirs, and nothing leaks by it."""

import errno
import os
import time

import pytest

pytestmark = pytest.mark.fuse

ODD = """
    import errno
    import os
    import stat
    import trio
    from vfsd.provider import Handle, PathProvider, Stat, Traits

    ERRNOS = {b"text": "EIO", b"huge": 2**40, b"kernel": 524, b"negative": -5, b"zero": 0}
    MANY = [b"%04d" % number for number in range(200)]

    class Empty(Handle):
        async def read(self, offset, size):
            return b""

        async def getattr(self):
            return Stat(stat.S_IFREG | 0o444, 1, 0, 0, 0, 0, 0, 0, 0, 0)

    class Provided(PathProvider):
        def __init__(self, options):
            super().__init__()
            self.options = options

        @classmethod
        async def from_options(cls, source, options):
            return cls(options)

        @property
        def traits(self):
            return Traits(writable=False, immutable=True)

        async def aclose(self):
            if "aclose" in self.options:
                raise ZeroDivisionError("a bug in aclose")

        async def stat(self, path):
            if path == b"":
                if os.path.exists(self.options.get("break_root", "")):
                    raise OSError(errno.EIO, "the root is broken")
                return Stat(stat.S_IFDIR | 0o755, 2, 0, 0, 0, 0, 0, 0, 0, 0)
            if path in ERRNOS:
                raise OSError(ERRNOS[path], "an odd errno")
            if path == b"odd_stat":
                return Stat(stat.S_IFREG | 0o444, 1, -1, 2**70, 0, 5, 1, 0, 0, 0)
            if path == b"0150" and "half" in self.options:
                raise OSError(errno.EUCLEAN, "damaged from here on")
            if path in MANY:
                return Stat(stat.S_IFREG | 0o444, 1, 0, 0, 0, 0, 0, 0, 0, 0)
            raise FileNotFoundError(errno.ENOENT, "no")

        async def readdir_path(self, path):
            return MANY

        async def open_path(self, path, flags, caller):
            return Empty()
"""


@pytest.fixture
def odd(place, third_party):
    third_party("odd", ODD)
    place.vfsd("mount", place.mount)
    yield place
    place.vfsd("unmount", place.mount)


def inodes_after_forgetting(place, expected: int) -> int:
    """Have the kernel forget what nobody uses; return what the daemon still counts."""
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("2")
    for _ in range(100):  # forgets are sent in their own time
        if (inodes := place.status()["inodes"]) <= expected:
            break
        time.sleep(0.02)
    return inodes


def test_a_provider_that_cannot_close_does_not_end_the_daemon(odd):
    odd.vfsd("attach", "odd", odd.mount / "o", "-o", "aclose=1")
    odd.vfsd("detach", odd.mount / "o")
    assert os.listdir(odd.mount) == ["o"]
    assert "a bug in aclose" in odd.log()


@pytest.mark.parametrize("name", ["text", "huge", "kernel", "negative", "zero"])
def test_an_errno_that_is_none_is_an_input_output_error(odd, name):
    odd.vfsd("attach", "odd", odd.mount / "o")
    with pytest.raises(OSError, match="Input/output"):
        os.stat(odd.mount / "o" / name)
    assert len(os.listdir(odd.mount / "o")) == 200


def test_attributes_out_of_range_are_an_error_and_leak_no_lookup(odd):
    odd.vfsd("attach", "odd", odd.mount / "o")
    for _ in range(10):
        with pytest.raises(OSError, match="Input/output"):
            os.stat(odd.mount / "o/odd_stat")
    odd.vfsd("detach", odd.mount / "o")
    assert inodes_after_forgetting(odd, 1) == 1


def test_a_listing_that_fails_half_way_says_so_and_leaks_no_lookup(odd):
    odd.vfsd("attach", "odd", odd.mount / "o", "-o", "half=1")
    for _ in range(10):
        with pytest.raises(OSError, match="clean") as caught:
            os.listdir(odd.mount / "o")
        assert caught.value.errno == errno.EUCLEAN
    odd.vfsd("detach", odd.mount / "o")
    assert inodes_after_forgetting(odd, 1) == 1


def test_a_broken_attachment_leaves_the_directory_around_it_readable(odd):
    broken = odd.root / "broken"
    odd.vfsd("attach", "odd", odd.mount / "o", "-o", f"break_root={broken}")
    (odd.mount / "beside").touch()
    broken.touch()
    assert sorted(os.listdir(odd.mount)) == ["beside", "o"]
    with pytest.raises(OSError, match="Input/output"):
        os.stat(odd.mount / "o")
    broken.unlink()
    assert len(os.listdir(odd.mount / "o")) == 200
