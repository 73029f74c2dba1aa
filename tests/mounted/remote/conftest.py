"""A mount with an empty memory tree, and fsspec sources attached in it."""

from __future__ import annotations

import json

import pytest

from tests.mounted.remote.webserver import WebServer

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


@pytest.fixture
def web():
    with WebServer() as web:
        yield web


@pytest.fixture
def mount(vfsd_mount):
    return vfsd_mount()


@pytest.fixture
def attach(mount):
    """Attach a URL at a name and return the path; detached at the end, so that no fd is left."""
    names = []

    def attach(url, *options, name="r"):
        words = [word for option in options for word in ("-o", option)]
        done = mount.vfsd("attach", f"fsspec:{url}", str(mount.path / name), *words)
        assert (done.returncode, done.stderr) == (0, "")
        names.append(name)
        return mount.path / name

    yield attach
    for name in reversed(names):
        mount.vfsd("detach", "--lazy", str(mount.path / name))


@pytest.fixture
def counters(mount):
    """Return what `vfsd status` counts for the attachment of a name."""

    def counters(name="r"):
        found = json.loads(mount.vfsd("status", "--json", str(mount.path)).stdout)
        [mounted] = found if isinstance(found, list) else [found]
        return next(each for each in mounted["attachments"] if each["prefix"] == name)

    return counters
