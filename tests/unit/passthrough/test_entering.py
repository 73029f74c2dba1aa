"""A directory that is found is opened and watched in one trip, if it is the one that was found."""

import errno
import os
import re

import pytest

from providers.passthrough.beneath import reach_watched
from providers.passthrough.held import HeldFd
from providers.passthrough.inotify import CREATE, WATCHED
from providers.passthrough.looking import Looking
from providers.passthrough.syscalls import inotify_init
from tests.unit.passthrough.openfds import no_fd_stays
from tests.unit.passthrough.serving import GUARDS, served


@pytest.fixture
def base(tmp_path):
    """A directory with what may stand where another directory stood."""
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    (root / "d" / "below").mkdir(parents=True)
    (root / "other").mkdir()
    (root / "file").touch()
    os.mkfifo(root / "fifo")
    (root / "link").symlink_to("d")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "up").symlink_to("..")
    return HeldFd(os.open(root, os.O_PATH | os.O_DIRECTORY))


@pytest.fixture
def inotify():
    fd = inotify_init()
    yield fd
    os.close(fd)


def key_of(base, name):
    found = os.stat(name, dir_fd=base.fd)
    return found.st_dev, found.st_ino


def watches(fd):
    with open(f"/proc/self/fdinfo/{fd}") as info:
        return re.findall(r"^inotify wd:(\w+) ino:(\w+)", info.read(), re.MULTILINE)


def test_it_is_open_and_watched(tmp_path, library, base, inotify):
    dev, ino = key_of(base, b"d")
    held, wd = reach_watched(library, base, b"d", (dev, ino), inotify, WATCHED)
    assert (os.fstat(held.fd).st_dev, os.fstat(held.fd).st_ino) == (dev, ino)
    assert not os.get_inheritable(held.fd)
    with pytest.raises(OSError) as caught:
        os.listdir(held.fd)  # O_PATH
    assert caught.value.errno == errno.EBADF
    assert watches(inotify) == [(f"{wd:x}", f"{ino:x}")]
    (tmp_path / "root" / "d" / "new").mkdir()
    event = os.read(inotify, 1000)
    assert int.from_bytes(event[4:8], "little") & CREATE
    assert b"new\0" in event


@pytest.mark.parametrize("name", [b"missing", b"file", b"fifo", b"link", b"out", b"up", b"other"])
def test_what_is_another_by_now_is_stale(library, base, inotify, name):
    # Even where a link leads to the very one.
    key = key_of(base, b"d" if name in (b"missing", b"link", b"other") else name)
    with no_fd_stays():
        with pytest.raises(OSError) as caught:
            reach_watched(library, base, name, key, inotify, WATCHED)
        assert caught.value.errno == errno.ESTALE
    assert watches(inotify) == []


@pytest.mark.parametrize("name", [b"", b".", b"..", b"d/below", b"/", b"d\0"])
def test_it_is_one_component(library, base, inotify, name):
    with pytest.raises(OSError) as caught:
        reach_watched(library, base, name, key_of(base, b"."), inotify, WATCHED)
    assert caught.value.errno == errno.EINVAL
    assert watches(inotify) == []


def test_what_cannot_be_watched_is_open_all_the_same(library, base):
    held, error = reach_watched(library, base, b"d", key_of(base, b"d"), base.fd, WATCHED)
    assert (error, os.fstat(held.fd).st_ino) == (-errno.EBADF, key_of(base, b"d")[1])


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("native", ["auto", "off"])
async def test_only_by_openat2_and_the_library(tmp_path, monkeypatch, base, guard, native):
    entered = []
    enter = Looking.enter

    def noted(self, dirfd, name, *rest):
        entered.append(name)
        return enter(self, dirfd, name, *rest)

    monkeypatch.setattr(Looking, "enter", noted)
    os.link(tmp_path / "root" / "file", tmp_path / "root" / "d" / "second")
    async with served(tmp_path / "root", guard=guard, native=native, links="keep") as files:
        names = await files.provider.readdir(files.root)
        entries = await files.provider.lookup_many(files.root, sorted(names))
        in_one_trip = guard == "openat2" and native == "auto"
        assert entered == ([b"d", b"other"] if in_one_trip else [])
        assert files.provider.statistics()["watches"] == 4  # and the root, and the file
        assert files.provider.statistics()["directory_fds"] == 2
        inotify = files.provider._live._inotify
        watched = {int(ino, 16) for _, ino in watches(inotify.fd)}
        linked = [each.node for each in entries if each.stat.nlink > 1]
        assert watched == {each.ino for each in (*linked, files.root)}
