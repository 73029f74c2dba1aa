"""The source archive and the wheel: built with the pinned tools, installed, complete.

The new environment takes vfsd from the wheel and what vfsd depends on from this one: nothing is
fetched. That an environment of its own can be filled is what `make install` shows
(test_setup.py).
"""

from __future__ import annotations

import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.install.workplace import ROOT, run
from tests.tidy.files import all_files
from vfsd.version import __version__


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive of this checkout, and the wheel made from nothing but that."""
    target = tmp_path_factory.mktemp("built")
    made = run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", target)
    assert made.returncode == 0, made.stdout
    (sdist,) = target.glob("*.tar.gz")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    offline = ("--no-build-isolation", "--no-deps", "--no-index")
    made = run(*pip, "wheel", *offline, "--wheel-dir", target, sdist, cwd=target)
    assert made.returncode == 0, made.stdout
    (wheel,) = target.glob("*.whl")
    return sdist, wheel


def test_the_source_archive_has_all_that_a_clone_has(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    top = built[0].name.removesuffix(".tar.gz")
    assert top == f"vfsd-{__version__}"
    made_in_place = ("vfsd/fuse/_shim.", "vfsd/sandbox/_enter", "providers/passthrough/_looking.")
    wanted = {
        name
        for path in all_files()
        if not (name := str(path.relative_to(ROOT))).startswith(made_in_place)
    }
    assert wanted - inside == set()
    assert {name for name in inside if name.startswith((*made_in_place, ".venv"))} == set()


def test_the_wheel_has_all_modules_and_the_licence(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        inside = set(wheel.namelist())
        info = f"vfsd-{__version__}.dist-info"
        licence = wheel.read(f"{info}/licenses/LICENSE")
        metadata = wheel.read(f"{info}/METADATA").decode()
        entries = wheel.read(f"{info}/entry_points.txt").decode()
    wanted = {
        str(path.relative_to(ROOT))
        for path in all_files()
        if path.relative_to(ROOT).parts[0] in ("vfsd", "providers")
        and path.suffix in (".py", ".typed")
    }
    assert wanted - inside == set()
    compiled = {
        *("vfsd/fuse/_shim.so", "vfsd/sandbox/_enter"),
        "providers/passthrough/_looking.so",
    }
    assert {*compiled, "vfsd/systemd/vfsd@.service"} <= inside
    data = f"vfsd-{__version__}.data"
    assert {name.partition("/")[0] for name in inside} == {"vfsd", "providers", info, data}
    assert {name for name in inside if name.startswith(data)} == {f"{data}/scripts/vfsd"}
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert f"\nVersion: {__version__}\n" in metadata
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert "[pytest11]" in entries
    assert "[fsspec.specs]" in entries


def test_the_version_stands_in_one_place() -> None:
    stated = f'"{__version__}"'
    sources = [ROOT / "pyproject.toml", *(p for p in all_files() if p.suffix == ".py")]
    shipped = [p for p in sources if p.relative_to(ROOT).parts[0] in ("pyproject.toml", "vfsd")]
    assert [p.name for p in shipped if stated in p.read_text()] == ["version.py"]


@pytest.mark.fuse
def test_the_wheel_works_where_it_is_installed(built: tuple[Path, Path], tmp_path: Path) -> None:
    fresh = tmp_path / "fresh and spacious"
    assert run(sys.executable, "-m", "venv", "--without-pip", fresh).returncode == 0
    python = fresh / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    done = run(*pip, "--quiet", "install", "--no-index", "--no-deps", built[1], cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    version = run(fresh / "bin" / "vfsd", "--version", cwd=tmp_path)
    assert (version.returncode, version.stdout) == (0, f"vfsd {__version__}\n")

    # A .pth in a directory that a .pth names is not read: the editable vfsd stays unseen.
    (packages,) = fresh.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    script = (
        "import vfsd, providers.memory\n"
        "print(vfsd.__file__, providers.memory.__file__, sep='\\t')\n"
        "with vfsd.mount() as mounted:\n"
        "    (mounted.path / 'file').write_text('from the wheel')\n"
        "    print(mounted.client.read_bytes('file').decode())\n"
    )
    done = run(python, "-W", "error", "-c", script, cwd=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout
    where, said = done.stdout.splitlines()
    assert all(each.startswith(f"{packages}/") for each in where.split("\t"))
    assert said == "from the wheel"
