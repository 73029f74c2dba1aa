"""A mount whose tree is kept, by the real command line."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.daemon.conftest import Place, make_place, mounted_below


class KeptPlace:
    """A place with a configuration that keeps its root, and attachments more."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.path = place.mount
        self.file = place.root / "tree.toml"
        self.store = place.root / "state" / "vfsd" / "store"
        self.journals = place.root / "state" / "vfsd" / "persist"

    def configure(self, more: str = "", root: str = "") -> None:
        self.file.write_text(f'[provider]\npersist = "work"\n{root}\n{more}')

    def mount(self) -> None:
        self.place.vfsd("mount", self.path, "--config", self.file)

    def unmount(self) -> None:
        self.place.vfsd("unmount", self.path)

    def kill(self) -> None:
        pid = self.place.status()["pid"]
        os.kill(pid, signal.SIGKILL)
        self.wait_gone(pid)
        self.place.vfsd("unmount", "--dead", self.path)

    def wait_gone(self, pid: int) -> None:
        deadline = time.monotonic() + 30
        while os.path.exists(f"/proc/{pid}"):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def wait_for_log(self, wanted: str, before: int = 0) -> None:
        deadline = time.monotonic() + 60
        while wanted not in self.place.log()[before:]:
            assert time.monotonic() < deadline, self.place.log()
            time.sleep(0.02)


@pytest.fixture
def kept(tmp_path):
    place = make_place(tmp_path)
    kept = KeptPlace(place)
    kept.configure()
    yield kept
    for point in mounted_below(tmp_path):
        subprocess.run(["fusermount3", "-u", "-z", point], check=False)
