"""A daemon that is killed while it waits for its own mount dies, and its mount with it."""

import os
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.fuse

PROVIDER = """
import trio
from providers.memory import MemoryProvider

class Provided(MemoryProvider):
    '''Never says what room there is, which is what the daemon asks of its mount first.'''

    @classmethod
    async def from_options(cls, source, options):
        provider = cls()
        provider.place = options["told"]
        return provider

    async def statfs(self):
        open(self.place, "w").close()
        await trio.sleep_forever()
"""


def test_it_is_gone_and_its_mount_answers_nobody(tmp_path):
    (tmp_path / "hanging.py").write_text(PROVIDER)
    info = tmp_path / "hanging-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vfsd.providers]\nhanging = hanging:Provided\n")
    mountpoint, told = tmp_path / "mnt", tmp_path / "told"
    mountpoint.mkdir()
    daemon = subprocess.Popen(
        [
            *(sys.executable, "-m", "vfsd", "mount", "--foreground", mountpoint),
            *("hanging", "-o", f"told={told}"),
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not told.exists():
            assert time.monotonic() < deadline, "the daemon does not ask its mount"
            time.sleep(0.01)
        daemon.kill()
        assert daemon.wait(60) == -9
        with pytest.raises(OSError, match="not connected"):
            os.listdir(mountpoint)
    finally:
        daemon.kill()
        subprocess.run(["fusermount3", "-uz", mountpoint], check=False)
