"""Where a file comes from, as `getfattr -n` tells it: truthful, not listed, and nobody's to set."""

import errno
import os
import re
import subprocess
from itertools import product

import pytest
import xxhash

from vfsd.client import Client
from vfsd.runtime import Served, socket_path

pytestmark = pytest.mark.fuse


def told(path, word):
    """Return an attribute's value, None if there is no such one."""
    try:
        return os.getxattr(path, f"user.vfsd.{word}").decode()
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return None


def everything(path):
    return {word: told(path, word) for word in ("provider", "layer", "origin", "digest")}


@pytest.fixture
def assembled(vfsd_mount, monkeypatch):
    """A mount with a passthrough attached, and an overlay over the same directory."""
    mount = vfsd_mount()
    source = mount.root / "source"
    (source / "d").mkdir(parents=True)
    (source / "d" / "low").write_text("low")
    (source / "moved").write_text("moved")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(mount.root / "run"))
    with connected(mount) as client:
        client.attach(source, "host")
        client.attach("overlay", "over", {"lower": str(source)})
    (mount.path / "plain").write_text("plain")
    yield mount
    with connected(mount) as client:
        client.detach("host")
        client.detach("over")


def connected(mount):
    mountpoint = os.fsencode(mount.path)
    return Client(Served(socket_path(mountpoint), mountpoint, b"", os.geteuid()), 30.0)


def test_each_provider_tells_the_truth_and_no_host_path(assembled):
    path = assembled.path
    nothing = {"provider": None, "layer": None, "origin": None, "digest": None}
    assert everything(path / "plain") == {**nothing, "provider": "memory"}
    assert everything(path / "host/d/low") == {
        **nothing,
        "provider": "passthrough",
        "origin": "d/low",
    }
    assert everything(path / "host") == {**nothing, "provider": "passthrough", "origin": "."}


def test_an_archive_tells_the_digest(assembled):
    archive = assembled.root / "a.vfsa"
    assert (
        assembled.vfsd("pack", str(assembled.root / "source"), "-o", str(archive)).returncode == 0
    )
    with connected(assembled) as client:
        client.attach(archive, "archive")
        digest = xxhash.xxh3_128_hexdigest(b"low")
        assert everything(assembled.path / "archive/d/low") == {
            "provider": "archive",
            "layer": None,
            "origin": None,
            "digest": f"xxh3-128:{digest}",
        }
        assert told(assembled.path / "archive/d", "digest") is None
        client.detach("archive")


def test_an_overlay_says_which_layer_before_and_after_a_copy_up(assembled):
    over = assembled.path / "over"
    low = {"provider": "overlay", "layer": "lower-1", "origin": "d/low", "digest": None}
    assert everything(over / "d/low") == low
    with open(over / "d/low", "a") as file:
        file.write("er")
    assert everything(over / "d/low") == {**low, "layer": "upper", "origin": None}
    assert told(over / "d", "layer") == "upper,lower-1"
    (over / "new").write_text("new")
    assert told(over / "new", "layer") == "upper"
    os.rename(over / "moved", over / "elsewhere")
    assert told(over / "elsewhere", "layer") == "upper"


def test_the_origin_follows_a_rename(assembled):
    host = assembled.path / "host"
    os.rename(host / "d", host / "e")
    assert told(host / "e/low", "origin") == "e/low"
    os.rename(host / "e", host / "d")


def test_they_are_not_listed_and_no_copy_carries_them(assembled):
    path = assembled.path / "plain"
    os.setxattr(path, "user.own", b"1")
    assert os.listxattr(path) == ["user.own"]
    subprocess.run(["cp", "-a", path, assembled.path / "host/copied"], check=True)
    assert os.listxattr(assembled.root / "source/copied") == ["user.own"]


def test_a_mount_option_lists_them(vfsd_mount):
    mount = vfsd_mount("--list-provenance")
    path = mount.path / "f"
    path.touch()
    os.setxattr(path, "user.own", b"1")
    assert os.listxattr(path) == ["user.own", "user.vfsd.provider"]
    subprocess.run(["cp", "-a", path, mount.path / "g"], check=True)
    assert os.getxattr(mount.path / "g", "user.own") == b"1"


def test_nobody_sets_or_removes_one(assembled):
    refusal = re.escape(os.strerror(errno.EOPNOTSUPP))
    paths = (assembled.path / "plain", assembled.path / "host/d/low")
    for path, word in product(paths, ("provider", "layer", "anything")):
        with pytest.raises(OSError, match=refusal):
            os.setxattr(path, f"user.vfsd.{word}", b"x")
        with pytest.raises(OSError, match=refusal):
            os.removexattr(path, f"user.vfsd.{word}")
    assert os.listxattr(assembled.root / "source/d/low") == []


def test_one_that_the_host_file_has_is_not_believed(assembled):
    os.setxattr(assembled.root / "source/d/low", "user.vfsd.provider", b"forged")
    os.setxattr(assembled.root / "source/d/low", "user.vfsd.digest", b"forged")
    assert told(assembled.path / "host/d/low", "provider") == "passthrough"
    assert told(assembled.path / "host/d/low", "digest") is None
    assert told(assembled.path / "over/d/low", "digest") is None


def test_without_attributes_there_are_none(vfsd_mount):
    path = vfsd_mount("--no-xattrs").path
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EOPNOTSUPP))):
        os.getxattr(path, "user.vfsd.provider")


def test_the_socket_tells_the_same(assembled):
    with connected(assembled) as client:
        assert client.getxattr("over/d/low", "user.vfsd.layer") == b"lower-1"
        assert client.listxattr("over/d/low") == []
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.EOPNOTSUPP))):
            client.setxattr("plain", "user.vfsd.layer", b"x")
