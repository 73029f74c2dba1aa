"""A daemon that is killed while it waits for its own mount dies, and its mount with it."""

import os
import subprocess
import sys

import pytest

from .test_adversary_hanging import until

pytestmark = pytest.mark.fuse

PROVIDER = """
    import trio
    from providers.memory import MemoryProvider

    class Provided(MemoryProvider):
        '''Never says what room there is, which is what the daemon asks of its mount first.'''

        @classmethod
        async def from_options(cls, source, options):
            provider = cls()
            provider.told = options["told"]
            return provider

        async def statfs(self):
            open(self.told, "w").close()
            await trio.sleep_forever()
"""


def test_it_is_gone_and_its_mount_answers_nobody(place, third_party):
    third_party("hanging", PROVIDER)
    told = place.root / "told"
    daemon = subprocess.Popen(
        [
            *(sys.executable, "-m", "vfsd", "mount", "--foreground", place.mount),
            *("hanging", "-o", f"told={told}"),
        ],
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(told.exists, "the daemon asks its mount")
        daemon.kill()
        assert daemon.wait(60) == -9
        with pytest.raises(OSError, match="not connected"):
            os.listdir(place.mount)
    finally:
        daemon.kill()
        subprocess.run(["fusermount3", "-uz", place.mount], check=False)
