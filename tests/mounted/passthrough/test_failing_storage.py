"""What the backing storage refuses arrives as it is, and harms nothing that was acknowledged."""

import errno
import os

import pytest

from tests.mounted.passthrough.attached import attach

__all__ = ["attach"]

pytestmark = pytest.mark.fuse

KEPT = b"acknowledged " * 1000


@pytest.fixture
def storage(vfsd_mount, tmp_path, monkeypatch):
    """A file system of the kernel's, and the file that says how it fails."""
    tmp_path.chmod(0o755)
    info = tmp_path / "failing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: failing\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[vfsd.providers]\nfailing = tests.mounted.passthrough.failingstorage:FailingProvider\n"
    )
    fault = tmp_path / "fault"
    fault.write_text("")
    monkeypatch.setenv("FAULT", str(fault))
    return vfsd_mount("failing", packages=tmp_path).path, fault


def failed(call, *arguments):
    """Return the errno with which a call fails."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0


def append(path, data):
    with open(path, "ab", buffering=0) as file:
        file.write(data)


@pytest.mark.parametrize("kind", ["passthrough", "upper"])
def test_an_error_of_the_storage_arrives_unchanged(storage, attach, tmp_path, kind):
    backing, fault = storage
    lower = tmp_path / "lower"
    lower.mkdir()
    low = []
    if kind == "passthrough":
        _, path = attach(backing)
    else:
        low = ["low"]
        (lower / "low").write_bytes(KEPT)
        _, path = attach("overlay", "-o", f"lower={lower}", "-o", f"upper={backing}")
    (path / "d").mkdir()
    (path / "d/f").write_bytes(KEPT)
    (path / "gone").write_bytes(b"")
    expected = KEPT
    with open(path / "d/f", "r+b", buffering=0) as file:
        for name in ("EIO", "EDQUOT", "ENOSPC", "EACCES"):
            fault.write_text(name)
            refusals = [
                failed(os.pwrite, file.fileno(), b"more", len(expected)),
                failed(os.fsync, file.fileno()),
                failed(os.truncate, path / "d/f", 0),
                failed(append, path / "new", b""),
                failed(os.mkdir, path / "e"),
                failed(os.unlink, path / "gone"),
                failed(os.rename, path / "gone", path / "d/gone"),
                *(failed(append, path / each, b"more") for each in low),
            ]
            assert refusals == [getattr(errno, name)] * len(refusals)
            fault.write_text("")
            assert sorted(os.listdir(path)) == ["d", "gone", *low]
            assert os.listdir(path / "d") == ["f"]
            assert (path / "d/f").read_bytes() == expected
            # Once the storage works again all goes on, also on what was open.
            assert os.pwrite(file.fileno(), b"more", len(expected)) == 4
            expected += b"more"
            assert (path / "d/f").read_bytes() == expected
    (path / "gone").unlink()
    for each in low:
        append(path / each, b"more")
        assert (path / each).read_bytes() == KEPT + b"more"
        assert (lower / each).read_bytes() == KEPT
