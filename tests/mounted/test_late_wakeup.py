"""A change between the answer to a lookup and the waking up of who asked is not lost.

Until then the kernel does not know the inode and cannot be told about it. The one who asks runs
only when a busy CPU is otherwise idle, so the change comes first, often enough: without what
vfsd/fuse/invalidation.py does about it, some of these rounds showed the old mode for ever.
"""

import os
import signal
import subprocess
import sys

import pytest

from vfsd import client

pytestmark = pytest.mark.fuse

ROUNDS = 16

BUSY = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
ASK = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.stat(sys.argv[2])
"""


def test_a_change_before_the_caller_of_a_lookup_wakes_up_shows(vfsd_mount, monkeypatch):
    mount = vfsd_mount()
    monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
    cpu = str(min(os.sched_getaffinity(0)))
    busy = subprocess.Popen([sys.executable, "-S", "-c", BUSY, cpu])
    try:
        with client.connect(mount.path) as tree:
            for number in range(ROUNDS):
                name = f"d{number}/f"
                tree.mkdir(f"d{number}", 0o755)
                tree.write_bytes(name, b"", 0o644)
                os.stat(mount.path / f"d{number}")
                before = tree.status()["requests"].get("lookup", 0)
                asking = subprocess.Popen(
                    [sys.executable, "-S", "-c", ASK, cpu, str(mount.path / name)]
                )
                while tree.status()["requests"].get("lookup", 0) == before:
                    pass
                tree.setattr(name, mode=0o600)
                busy.send_signal(signal.SIGSTOP)
                assert asking.wait(30) == 0
                assert os.stat(mount.path / name).st_mode == 0o100600
                busy.send_signal(signal.SIGCONT)
    finally:
        busy.kill()
        busy.wait()
