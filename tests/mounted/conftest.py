"""What tests of mounts share."""

import pytest

from vfsd import client as client_module


@pytest.fixture
def connect(monkeypatch):
    """Give a function that connects to a mount's daemon."""

    def connected(mount):
        monkeypatch.setenv("XDG_RUNTIME_DIR", mount.environment["XDG_RUNTIME_DIR"])
        return client_module.connect(mount.path)

    return connected
