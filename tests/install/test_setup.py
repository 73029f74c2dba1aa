"""`make setup`, `install`, `uninstall` and `clean-mounts` do what they say, and only that.

That a bare machine becomes ready is proved where there is one (a new container runs
`.ci/run`); here a machine that is ready must be left alone, and one that cannot be made ready
told so.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.install.workplace import ROOT, run

needs_venv = pytest.mark.skipif(
    not (ROOT / ".venv" / ".vfsd-stamp").exists(), reason="needs the .venv of `make setup`"
)


def plain_python() -> str:
    """Return a Python that other users can run as well, not a version manager's wrapper."""
    system = "/usr/bin/python3"
    return system if os.path.exists(system) else os.path.realpath(sys.executable)


def tools_only(folder: Path, *names: str) -> str:
    """Fill `folder` with links to these tools and nothing else; return it as a PATH."""
    folder.mkdir()
    for name in names:
        found = plain_python() if name == "python3" else shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return str(folder)


@needs_venv
def test_a_ready_checkout_is_left_alone() -> None:
    stamp = ROOT / ".venv" / ".vfsd-stamp"
    before = stamp.stat().st_mtime_ns
    # The PATH that made it: the environment's own python3 comes first in what `run` passes on.
    result = run("scripts/setup", PATH=os.environ["PATH"])
    assert result.returncode == 0
    assert result.stdout == ""
    assert stamp.stat().st_mtime_ns == before


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout that was never set up: what scripts/setup reads, and no .venv."""
    target = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", target / "scripts")
    for name in ("requirements.txt", "requirements-build.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, target)
    (target / "vfsd").mkdir()
    shutil.copy(ROOT / "vfsd" / "version.py", target / "vfsd")
    return target


BARE = ("bash", "env", "cat", "cut", "dirname", "sha256sum", "flock", "python3", "sleep")


def test_without_apt_it_names_the_packages(copy: Path, tmp_path: Path) -> None:
    result = run(copy / "scripts" / "setup", PATH=tools_only(tmp_path / "bin", *BARE))
    assert result.returncode == 1
    last = result.stdout.splitlines()[-1]
    assert "not a machine with apt" in last
    for package in ("fuse3", "libfuse3-dev", "bubblewrap", "pkg-config", "gcc", "libc6-dev"):
        assert package in last.split()
    assert not (copy / ".venv").exists()


@pytest.mark.root
def test_without_root_and_sudo_it_names_the_packages(copy: Path, tmp_path: Path) -> None:
    path = tools_only(tmp_path / "bin", *BARE)
    (tmp_path / "bin" / "apt-get").symlink_to("/bin/false")
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o055)
        if folder.name.startswith("pytest-of-"):
            break
    result = run(
        *("/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        copy / "scripts" / "setup",
        PATH=path,
    )
    assert result.returncode == 1
    assert "neither root nor sudo" in result.stdout
    assert "bubblewrap" in result.stdout


def test_an_old_python_is_told_so(copy: Path, tmp_path: Path) -> None:
    path = tools_only(tmp_path / "bin", *(name for name in BARE if name != "python3"))
    old = tmp_path / "bin" / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = run(copy / "scripts" / "setup", PATH=path)
    assert result.returncode == 1
    assert "Python 3.11 or newer is needed" in result.stdout


def test_a_wrong_argument_is_told_so(copy: Path) -> None:
    result = run(copy / "scripts" / "setup", "--everything")
    assert result.returncode == 1
    assert "usage: scripts/setup [--demo]" in result.stdout
    assert not (copy / ".venv").exists()


@needs_venv
def test_install_and_uninstall(tmp_path: Path) -> None:
    prefix = tmp_path / "pre fix"
    installed = run("scripts/install", "install", prefix)
    assert installed.returncode == 0, installed.stdout
    vfsd = prefix / "bin" / "vfsd"
    version = run(vfsd, "--version", cwd=tmp_path)
    assert version.returncode == 0
    where = run(
        prefix / "lib" / "vfsd" / "bin" / "python",
        *("-c", "import vfsd, providers, pyfuse3; print(vfsd.__file__)"),
        cwd=tmp_path,
    )
    assert where.stdout.startswith(str(prefix)), "it must not depend on the checkout"
    share = prefix / "share"
    assert (share / "man/man1/vfsd-run.1").read_text().startswith('.TH "VFSD-RUN"')
    for script in (
        "bash-completion/completions/vfsd",
        "zsh/site-functions/_vfsd",
        "fish/vendor_completions.d/vfsd.fish",
    ):
        assert "snapshot" in (share / script).read_text()
    (share / "man/man1/vfsd-run.1").unlink()
    (share / "man/man1/vfsd-run.1").write_text("somebody else's")
    (share / "man/man1/vfsd-gone.1").symlink_to(prefix / "lib/vfsd/share/man/man1/vfsd-gone.1")
    again = run("scripts/install", "install", prefix)
    assert again.returncode == 0, again.stdout
    assert not (share / "man/man1/vfsd-gone.1").is_symlink()
    removed = run("scripts/install", "uninstall", prefix)
    assert removed.returncode == 0
    foreign = share / "man/man1/vfsd-run.1"
    assert foreign.read_text() == "somebody else's"
    foreign.unlink()
    assert [path for path in prefix.rglob("*") if not path.is_dir()] == []


def test_install_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vfsd").write_text("somebody else's\n")
    for action in ("install", "uninstall"):
        result = run("scripts/install", action, tmp_path)
        assert result.returncode == 1
        assert "was not put there by this" in result.stdout
    assert (tmp_path / "bin" / "vfsd").read_text() == "somebody else's\n"
    assert not (tmp_path / "lib").exists()


@pytest.mark.parametrize("arguments", [(), ("install",), ("install", "relative"), ("rm", "/tmp/x")])
def test_install_refuses_wrong_arguments(arguments: tuple[str, ...]) -> None:
    result = run("scripts/install", *arguments)
    assert result.returncode == 1
    assert "usage: scripts/install" in result.stdout
