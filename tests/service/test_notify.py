"""What the service manager is told, by a socket of our own in its place."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.mounted.daemon import REPOSITORY, detach

pytestmark = pytest.mark.fuse


@pytest.fixture
def told(tmp_path):
    """A daemon that is supervised, and what yields the next message that it sends."""
    for name in ("mount", "run"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "tree.toml").write_text(f'[mount]\ndirectory = "{tmp_path}/mount"\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ears:
        ears.bind(str(tmp_path / "notify"))
        ears.settimeout(60)
        daemon = subprocess.Popen(
            [
                *(sys.executable, "-m", "vfsd", "mount", "--foreground"),
                *("--config", tmp_path / "tree.toml"),
            ],
            env={
                **os.environ,
                "PYTHONPATH": str(REPOSITORY),
                "XDG_RUNTIME_DIR": str(tmp_path / "run"),
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": "100000",
            },
            stderr=subprocess.PIPE,
        )

        def until(wanted: str) -> list[str]:
            heard: list[str] = []
            while wanted not in heard:
                heard += ears.recv(4096).decode().splitlines()
            return heard

        yield daemon, until
        if daemon.poll() is None:
            daemon.kill()
        daemon.communicate()
        detach(str(tmp_path / "mount"))


def test_ready_comes_first_and_the_watchdog_is_fed(told, tmp_path):
    daemon, until = told
    heard = until("READY=1")
    assert not {"WATCHDOG=1", "STOPPING=1"} & set(heard)
    assert os.path.ismount(tmp_path / "mount")
    assert f"MAINPID={daemon.pid}" in heard
    for _ in range(3):
        until("WATCHDOG=1")
    daemon.send_signal(signal.SIGHUP)
    heard = until("RELOADING=1")
    heard += until("READY=1")
    assert "STOPPING=1" not in heard
    daemon.send_signal(signal.SIGTERM)
    until("STOPPING=1")
    assert daemon.wait(60) == 0
