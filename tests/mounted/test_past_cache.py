"""What is written through a file opened for writing only goes past the kernel's cache: it shows.

Each test keeps the file's data in the kernel's cache by other means (a read, a map) while it is
written, and looks at it right after each write, by whatever door the writer came.
"""

import mmap
import os
import signal
import subprocess
import sys

import pytest

from providers.passthrough.backing import has_fine_ctime
from vfsd import client as client_module

pytestmark = pytest.mark.fuse

ROUNDS = 300
PAGE = 4096

READ_ON = """
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print(flush=True)
while True:
    os.pread(fd, 65536, 0)
"""


@pytest.fixture(params=["memory", "passthrough", "overlay", "copied up"])
def mount(request, vfsd_mount, tmp_path, monkeypatch):
    """A mount of memory, of a real directory, and of an overlay that writes to one.

    The file is made by the test, or stands in the lower and is copied up by the first write.
    """
    tmp_path.chmod(0o755)
    (tmp_path / "lower").mkdir()
    (tmp_path / "upper").mkdir()
    if request.param == "copied up":
        (tmp_path / "lower" / "f").write_bytes(b"." * 3 * PAGE)
    over = f"upper={tmp_path / 'upper'},lower={tmp_path / 'lower'}"
    sources = {
        "memory": (),
        "passthrough": (str(tmp_path / "upper"),),
        "overlay": ("overlay", "-o", over),
        "copied up": ("overlay", "-o", over),
    }
    mount = vfsd_mount(*sources[request.param])
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    return mount


@pytest.fixture
def path(mount):
    path = mount.path / "f"
    if not path.exists():
        path.write_bytes(b"." * 3 * PAGE)
    return path


def requests(mount):
    with client_module.connect(mount.path) as client:
        return client.status()["requests"]


def test_a_file_that_is_only_written_costs_no_question_for_its_capability(mount, tmp_path):
    place = os.open(tmp_path, os.O_PATH)
    fine = has_fine_ctime(place)
    os.close(place)
    if not fine:
        pytest.skip("the backing file system's times do not tell each change from the next")
    before = requests(mount).get("getxattr", 0)
    (mount.path / "new").write_bytes(b"x" * 10_000)
    with open(mount.path / "new", "ab") as file:
        file.write(b"y")
    assert (mount.path / "new").read_bytes() == b"x" * 10_000 + b"y"
    assert requests(mount).get("getxattr", 0) == before


def test_each_write_shows_to_a_reader_and_through_a_map_while_another_reads_on(path):
    busy = subprocess.Popen([sys.executable, "-S", "-c", READ_ON, path], stdout=subprocess.PIPE)
    try:
        busy.stdout.readline()
        reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
        with mmap.mmap(reader, 0, mmap.MAP_SHARED, mmap.PROT_READ) as shown:
            for number in range(ROUNDS):
                data = b"%08d" % number
                place = number * 37 % (3 * PAGE - 8)
                assert os.pwrite(writer, data, place) == 8
                assert shown[place : place + 8] == data
                assert os.pread(reader, 8, place) == data
        os.close(reader)
        os.close(writer)
    finally:
        busy.send_signal(signal.SIGKILL)
        busy.communicate()


def test_the_time_of_change_may_be_put_back_after_each_write(path):
    """So rsync --inplace does; the time is what the kernel compares when it is told nothing."""
    times = os.stat(path)
    busy = subprocess.Popen([sys.executable, "-S", "-c", READ_ON, path], stdout=subprocess.PIPE)
    try:
        busy.stdout.readline()
        reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
        for number in range(ROUNDS):
            data = b"%08d" % number
            os.pwrite(writer, data, PAGE)
            os.utime(writer, ns=(times.st_atime_ns, times.st_mtime_ns))
            assert os.pread(reader, 8, PAGE) == data
        os.close(reader)
        os.close(writer)
    finally:
        busy.send_signal(signal.SIGKILL)
        busy.communicate()


def test_what_is_appended_shows_to_who_follows(path):
    reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY | os.O_APPEND)
    seen = os.read(reader, 1 << 20)
    for number in range(100):
        line = b"line %d\n" % number
        os.write(writer, line)
        seen += (got := os.read(reader, 1 << 20))
        assert got == line
    os.close(reader)
    os.close(writer)
    assert path.read_bytes() == seen


def test_cached_data_of_a_closed_file_is_not_shown_after_a_write(path):
    for number in range(20):
        before = path.read_bytes()
        writer = os.open(path, os.O_WRONLY)
        os.pwrite(writer, b"%04d" % number, PAGE - 2)
        os.close(writer)
        after = path.read_bytes()
        assert after == before[: PAGE - 2] + b"%04d" % number + before[PAGE + 2 :]


def test_the_kernel_copies_into_it_from_a_file_and_a_pipe(mount, path):
    source = os.open(path, os.O_RDONLY)
    target = os.open(mount.path / "copy", os.O_WRONLY | os.O_CREAT)
    sent = 0
    while count := os.sendfile(target, source, sent, 5000):
        sent += count
    out, into = os.pipe()
    os.write(into, b"piped")
    assert os.splice(out, target, 5) == 5
    for fd in (out, into, source, target):
        os.close(fd)
    assert (mount.path / "copy").read_bytes() == path.read_bytes() + b"piped"


def test_a_map_of_the_file_can_be_what_is_written_into_it(path):
    """The kernel takes the data from the very pages it drops."""
    path.write_bytes(bytes(range(256)) * (3 * PAGE // 256))
    before = path.read_bytes()
    reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
    with mmap.mmap(reader, 0, mmap.MAP_SHARED, mmap.PROT_READ) as shown:
        assert os.pwritev(writer, [memoryview(shown)[: 2 * PAGE]], PAGE - 1) == 2 * PAGE
    os.close(reader)
    os.close(writer)
    assert path.read_bytes() == before[: PAGE - 1] + before[: 2 * PAGE] + before[3 * PAGE - 1 :]


def test_what_was_read_while_a_write_was_in_the_making_is_dropped(vfsd_mount, tmp_path):
    """Newer kernels drop it by themselves after the write; those of Linux 6.6 do not."""
    tmp_path.chmod(0o755)
    info = tmp_path / "slowmemory-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slowmemory\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[vfsd.providers]\nslow = tests.mounted.slow_memory:SlowMemory\n"
    )
    path = vfsd_mount("slow", packages=tmp_path).path / "f"
    path.write_bytes(b"before")
    reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
    assert os.pread(reader, 6, 0) == b"before"
    child = os.fork()
    if not child:
        os.pwrite(writer, b"after.", 0)
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        seen = os.pread(reader, 6, 0)
    assert os.pread(reader, 6, 0) == b"after."
    assert seen in (b"before", b"after.")
    os.close(reader)
    os.close(writer)
