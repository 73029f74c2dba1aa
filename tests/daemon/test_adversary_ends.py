"""Ends under load, and what is left of many attachments."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from vfsd import client

pytestmark = pytest.mark.fuse

HANGING = """
    import stat
    import trio
    from vfsd.provider import PathProvider, Stat, Traits

    class Provided(PathProvider):
        @classmethod
        async def from_options(cls, source, options):
            return cls()

        @property
        def traits(self):
            return Traits(writable=False, immutable=True)

        async def stat(self, path):
            if path != b"":
                await trio.sleep_forever()
            return Stat(stat.S_IFDIR | 0o755, 2, 0, 0, 0, 0, 0, 0, 0, 0)

        async def readdir_path(self, path):
            return []

        async def open_path(self, path, flags, caller):
            raise IsADirectoryError
"""

BUSY = """
    import os, sys
    from vfsd import client

    mount, by_door = sys.argv[1:]
    tree = client.connect(mount) if by_door == "door" else None
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        try:
            if tree is not None:
                tree.write_bytes(f"f{number % 20}", bytes(3000))
            else:
                with open(f"{mount}/f{number % 20}", "wb") as file:
                    file.write(bytes(9000))
                os.listdir(mount)
                os.unlink(f"{mount}/f{number * 7 % 20}")
        except FileNotFoundError:
            pass
        except OSError:
            sys.exit()
"""


def wait_for_the_end_of(pid: int) -> None:
    for _ in range(1000):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.01)
    raise AssertionError("the daemon did not end")


def test_a_stop_under_load_from_both_doors_ends_daemon_and_callers(place):
    for _ in range(3):
        place.vfsd("mount", place.mount)
        pid = place.status()["pid"]
        callers = [
            subprocess.Popen(
                [sys.executable, "-c", textwrap.dedent(BUSY), place.mount, door],
                env=place.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            for door in ("door", "mount", "door", "mount")
        ]
        try:
            for caller in callers:
                assert caller.stdout is not None
                assert caller.stdout.readline() == b"ready\n"
            os.kill(pid, signal.SIGTERM)
            wait_for_the_end_of(pid)
        finally:
            for caller in callers:
                caller.kill()
                caller.communicate(timeout=20)
        assert not os.path.ismount(place.mount)
        for left in os.listdir(place.mount):  # written after the unmount
            os.unlink(place.mount / left)
    assert "Traceback" not in place.log()
    assert "ERROR" not in place.log()


def test_a_stop_while_a_provider_hangs_and_a_change_waits_for_it(place, third_party):
    """The hanging look-up holds its directory's lock, on which an invalidation then waits."""
    third_party("hanging", HANGING)
    place.vfsd("mount", place.mount)
    pid = place.status()["pid"]
    place.vfsd("attach", "hanging", place.mount / "h")
    os.stat(place.mount / "h")
    caller = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.stat({str(place.mount / 'h/x')!r})"],
        stderr=subprocess.PIPE,
    )
    while not place.status()["requests"].get("lookup", 0) >= 2:
        time.sleep(0.02)
    lazily = subprocess.Popen(
        [sys.executable, "-m", "vfsd", "detach", "--lazy", place.mount / "h"],
        env=place.environment,
        stderr=subprocess.DEVNULL,
    )
    while len(place.status()["attachments"]) > 1:
        time.sleep(0.02)
    os.kill(pid, signal.SIGTERM)
    try:
        wait_for_the_end_of(pid)
        assert b"not connected" in caller.communicate(timeout=20)[1]
        assert not os.path.ismount(place.mount)
    finally:
        for each in (caller, lazily):
            each.kill()
            each.wait(timeout=20)


def test_many_attachments_leave_nothing(mounted, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", mounted.environment["XDG_RUNTIME_DIR"])
    with client.connect(mounted.mount) as tree:
        pid = tree.status()["pid"]

        def cycle(times: int) -> tuple[int, int]:
            for _ in range(times):
                tree.attach("memory", "/p/q")
                tree.detach("/p/q")
            with open(f"/proc/{pid}/statm") as pages:
                resident = int(pages.read().split()[1])
            return resident, len(os.listdir(f"/proc/{pid}/fd"))

        resident, fds = cycle(200)
        resident_later, fds_later = cycle(400)
        assert fds_later == fds
        # 4 KiB of garbage for each would be 400 pages.
        assert resident_later - resident < 300
        assert tree.status()["inodes"] <= 3
