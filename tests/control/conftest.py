"""Fixtures: a runtime directory of the test's own, a daemon in a thread, a client of it."""

import pytest

from vfsd import client as client_module

from .daemon import memory_daemon


@pytest.fixture(autouse=True)
def runtime_directory(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run" / "vfsd"


@pytest.fixture
def daemon(tmp_path):
    mountpoint = tmp_path / "mount"
    mountpoint.mkdir()
    daemon = memory_daemon(mountpoint)
    daemon.start()
    yield daemon
    daemon.stop()
    assert not daemon.handles.open_files, "virtual fds leaked"


@pytest.fixture
def client(daemon, tmp_path):
    with client_module.connect(tmp_path / "mount") as client:
        yield client
