"""The C library, and a directory with files of all types."""

import os
import socket
import stat as stat_module

import pytest

from providers.passthrough import looking
from tests.unit.passthrough.serving import ODD


@pytest.fixture
def library():
    if looking.library is None:
        pytest.fail("the library was not built; scripts/setup builds it where a compiler is")
    return looking.library


@pytest.fixture
def scenery(tmp_path):
    """A directory with a file of each type that anybody may make, and its O_PATH fd."""
    (tmp_path / "file").write_bytes(b"x" * 70_000)
    os.link(tmp_path / "file", tmp_path / "other name")
    (tmp_path / "directory" / "below").mkdir(parents=True)
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "leading out").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    os.utime(tmp_path / "file", ns=(-1_500_000_001, 4_000_000_000_123_456_789))
    os.chmod(tmp_path / "file", 0o4751)
    for name in ODD:
        (tmp_path / os.fsdecode(name)).touch()
    if os.geteuid() == 0:
        os.chown(tmp_path / "fifo", 4_000_000_000, 3_000_000_000)
        os.mknod(tmp_path / "device", stat_module.S_IFCHR | 0o600, os.makedev(4095, 1_000_000))
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=["in one trip", "one by one"])
def either(request):
    """The library, and then none: what is done must be the same."""
    return request.getfixturevalue("library") if request.param == "in one trip" else None
