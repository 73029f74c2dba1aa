"""`make demo` works from start to end and leaves nothing behind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.install.workplace import ROOT, run


def mounts() -> str:
    return Path("/proc/self/mountinfo").read_text()


@pytest.mark.network
@pytest.mark.fuse
@pytest.mark.bwrap
def test_the_demo_works_and_cleans_up(tmp_path: Path) -> None:
    result = run("make", "demo", timeout_s=900, TMPDIR=str(tmp_path))
    assert result.returncode == 0, result.stdout[-8000:]
    for proof in ("added ", "pass 3", "2 problems", "# PASS:  7", "nothing is left behind"):
        assert proof in result.stdout, result.stdout[-8000:]
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) not in mounts()


@pytest.mark.fuse
@pytest.mark.bwrap
@pytest.mark.skipif(not shutil.which("npm"), reason="needs npm, which `make demo` installs")
def test_a_failing_step_ends_the_demo_and_unmounts(tmp_path: Path) -> None:
    for folder in ("demo", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / "checkout" / folder)
    (tmp_path / "checkout/demo/ts-project/package-lock.json").write_text("not a lock file")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    result = run(tmp_path / "checkout/demo/run", TMPDIR=str(scratch))
    assert result.returncode == 1
    assert "existing package-lock.json" in result.stdout, "npm's own words"
    assert "this failed with exit code 1: retry vfsd run --write --net -- npm ci" in result.stdout
    assert "The demo failed." in result.stdout
    assert list(scratch.iterdir()) == []
    assert str(scratch) not in mounts()
