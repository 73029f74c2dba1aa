"""Servers that hang, lie, drop connections or list nonsense: errors for what concerns it only."""

import os
import random
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.fuse

DATA = random.Random(9).randbytes(3_000_000)


def failing(call, *arguments):
    with pytest.raises(OSError) as caught:
        call(*arguments)
    return caught.value.errno


def read(path):
    return path.read_bytes()


def test_files_of_unknown_length(web, attach, counters, tmp_path):
    web.lengths = False
    web.files = {"f": DATA, "empty": b""}
    path = attach(web.url, "cache=1M", "block=64K")
    script = f"cp f {tmp_path}/copy && cat empty && cat f | wc -c && tail -c 5 f >{tmp_path}/tail"
    done = subprocess.run(["sh", "-c", script], cwd=path, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(len(DATA)), "")
    assert (tmp_path / "copy").read_bytes() == DATA
    assert (tmp_path / "tail").read_bytes() == DATA[-5:]
    with open(path / "f", "rb", buffering=0) as file:
        for offset in (2_000_000, 10, len(DATA) + 5):
            assert os.pread(file.fileno(), 10, offset) == DATA[offset : offset + 10]
    assert counters()["cached_bytes"] <= 1 << 20


def test_a_server_that_hangs_holds_up_nothing_else(web, attach, mount, counters):
    web.files = {"f": b"data", "g": b"data", "big": DATA}
    web.hanging = {"f", "big"}
    mount.expected_logs.append("no answer within")
    path = attach(web.url, "timeout=2")
    started = time.monotonic()
    readers = [
        subprocess.Popen([sys.executable, "-c", f"open({str(path / name)!r}).read()"],
                         stderr=subprocess.PIPE, text=True)
        for name in ("f", "big") * 20
    ]  # fmt: skip
    (mount.path / "beside").write_bytes(b"beside")
    assert (mount.path / "beside").read_bytes() == b"beside"
    assert mount.vfsd("attach", "memory", str(mount.path / "m")).returncode == 0
    assert mount.vfsd("detach", str(mount.path / "m")).returncode == 0
    for reader in readers:
        assert "Connection timed out" in reader.communicate(timeout=60)[1]
    assert time.monotonic() - started < 60
    assert counters()["calls_timed_out"] > 0
    web.hanging = set()
    web.go_on.set()
    assert read(path / "g") == b"data"
    assert read(path / "f") == b"data", "and when it answers again, all is well"


def test_what_hangs_can_be_detached_and_unmounted(web, attach, mount):
    web.files = {"f": b"data"}
    path = attach(web.url, "timeout=3000")
    web.hanging = {"f"}
    reader = subprocess.Popen(["cat", path / "f"], stderr=subprocess.PIPE)
    while not any(name == "f" for _, name, _ in web.asked):
        assert reader.poll() is None, "nothing was asked for, and it ended"
        time.sleep(0.01)
    done = mount.vfsd("detach", "--lazy", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert not (mount.path / "r/f").exists()
    reader.communicate(timeout=30)
    assert reader.returncode != 0, "whoever waits gets an error"
