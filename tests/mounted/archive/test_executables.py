"""Archives behind programs: each program still runs, and finds its files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipapp
import zipfile
from pathlib import Path

import pytest

from tests.mounted.archive.conftest import vfsd
from tests.mounted.daemon import REPOSITORY
from vfsd.archive.reader import Archive

READ_ASSET = """
import sys
sys.path.insert(0, {repository!r})
from vfsd.archive.reader import Archive
with Archive.open(sys.argv[0]) as archive:
    found = archive.lookup(1, archive.inode(1), b"asset.txt")
    print(bytes(archive.content(found.inode).read(0, 99)).decode(), end="")
"""


def run(*words, code=0, **more):
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, **more)
    assert done.returncode == code, done.stderr
    return done.stdout


def asset(path) -> bytes:
    """Read the asset as any program with a reader does."""
    with Archive.open(path) as archive:
        found = archive.lookup(1, archive.inode(1), b"asset.txt")
        return bytes(archive.content(found.inode).read(0, 99))


@pytest.fixture
def assets(tmp_path):
    tree = tmp_path / "assets"
    tree.mkdir()
    (tree / "asset.txt").write_text("the asset\n")
    return tree


def test_a_shell_script(assets, tmp_path):
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\necho "ran $1"\ntest "$1" = well')
    script.chmod(0o751)
    for _ in range(3):
        vfsd("pack", assets, "--append-to", script)
    assert run(script, "well") == "ran well\n"
    assert run(script, "ill", code=1) == "ran ill\n"
    assert run("bash", script, "well") == "ran well\n"
    assert script.stat().st_mode & 0o777 == 0o751
    assert asset(script) == b"the asset\n"
    # Appending again replaced the first archive, and added nothing.
    once = script.stat().st_size
    vfsd("pack", assets, "--append-to", script)
    assert script.stat().st_size == once


@pytest.mark.parametrize("interpreted", [True, False])
def test_a_zipapp(assets, tmp_path, interpreted):
    source = tmp_path / "source"
    source.mkdir()
    (source / "__main__.py").write_text(
        "import module; print(module.word)\n" + READ_ASSET.format(repository=str(REPOSITORY))
    )
    (source / "module.py").write_text("word = 'imported'\n")
    app = tmp_path / "app.pyz"
    zipapp.create_archive(source, app, sys.executable if interpreted else None, compressed=True)
    before = app.stat().st_size
    for _ in range(3):
        vfsd("pack", assets, "--append-to", app)
        words = [app] if interpreted else [sys.executable, app]
        assert run(*words) == "imported\nthe asset\n"
    assert asset(app) == b"the asset\n"
    with zipfile.ZipFile(app) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["__main__.py", "module.py"]
    # Large enough that a list of members before it would not be found any more.
    (assets / "large").write_bytes(os.urandom(200_000))
    vfsd("pack", assets, "--append-to", app)
    assert run(*words) == "imported\nthe asset\n"
    # And small again: nothing of the large one is left.
    (assets / "large").unlink()
    vfsd("pack", assets, "--append-to", app)
    assert app.stat().st_size < before + 40_000


def test_a_program(assets, tmp_path):
    program = tmp_path / "program"
    shutil.copy("/bin/echo", program)
    original = program.read_bytes()
    vfsd("pack", assets, "--append-to", program, "-o", tmp_path / "copy")
    assert program.read_bytes() == original
    assert run(tmp_path / "copy", "still", "here") == "still here\n"
    assert asset(tmp_path / "copy") == b"the asset\n"
    # Stripped of the archive it is the program that it was.
    vfsd("pack", assets, "--append-to", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes().startswith(original)


def test_perl(assets, tmp_path):
    perl = shutil.which("perl")
    assert perl, "perl is part of every Debian"
    script = tmp_path / "script"
    script.write_text(f"#!{perl}\nprint 'ran';\n")
    script.chmod(0o755)
    vfsd("pack", assets, "--append-to", script)
    assert run(script) == "ran"
    assert asset(script) == b"the asset\n"


def test_what_cannot_carry_an_archive(assets, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("#!/usr/bin/env python3\nprint('ran')\n")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-m", "vfsd", "pack", assets, "--append-to", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "is a script of python3, which reads it to its end" in done.stderr
    assert script.read_text() == "#!/usr/bin/env python3\nprint('ran')\n"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A `vfsd` on the path, and places of the test's own."""
    command = tmp_path / "bin" / "vfsd"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m vfsd "$@"\n')
    command.chmod(0o755)
    places = {name: tmp_path / name.lower() for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
    for place in places.values():
        place.mkdir(mode=0o700)
    return {
        **os.environ,
        **{name: str(place) for name, place in places.items()},
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }


@pytest.mark.fuse
@pytest.mark.bwrap
def test_one_file_that_runs_on_its_own_tree(assets, tmp_path, installed):
    """It mounts itself, for itself alone; what it writes is gone, the exit code is its own."""
    (assets / "run").write_text(
        '#!/bin/sh\npwd\ncat /sea/asset.txt\necho "$# $2"\necho x > /sea/written && ls\nexit 7\n'
    )
    (assets / "run").chmod(0o755)
    app = tmp_path / "app"
    words = ["--executable", "--entry", "./run first", "--quiet"]
    vfsd("pack", assets, "-o", app, *words)
    before = app.read_bytes()
    said = run(app, "second word", code=7, env=installed, cwd=tmp_path)
    assert said == "/sea\nthe asset\n2 second word\nasset.txt\nrun\nwritten\n"
    assert app.read_bytes() == before
    assert not Path("/sea").exists()
    assert "/sea" not in Path("/proc/self/mountinfo").read_text()
    assert asset(app) == b"the asset\n"


@pytest.mark.fuse
@pytest.mark.bwrap
def test_which_vfsd_one_file_takes(assets, tmp_path, installed):
    """VFSD's before the path's, before the user's own; and a sentence if there is none."""
    app = tmp_path / "app"
    vfsd("pack", assets, "-o", app, "--executable", "--entry", "cat asset.txt", "--quiet")
    command = Path(shutil.which("vfsd", path=installed["PATH"]))
    home = tmp_path / "home"
    bare = {**installed, "PATH": "/usr/bin:/bin", "HOME": str(home)}
    if not Path("/usr/local/bin/vfsd").exists():
        said = told(app, bare)
        assert said.startswith(f"{app}: needs vfsd, which is neither on PATH nor ")
        assert said.endswith("; install it, or name it in VFSD\n")
        assert said.count("\n") == 1
    assert run(app, env={**bare, "VFSD": str(command)}) == "the asset\n"
    (home / ".local" / "bin").mkdir(parents=True)
    command.rename(home / ".local" / "bin" / "vfsd")
    assert run(app, env=bare) == "the asset\n"
    # Named wrongly is not as good as not named.
    said = told(app, {**bare, "VFSD": "no-such-vfsd"})
    assert said == f"{app}: VFSD names no-such-vfsd, which cannot be run; mend it, or unset it\n"


def told(program, environment) -> str:
    """Run what fails because it has no vfsd, and return what it says."""
    done = subprocess.run(
        program, capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert (done.returncode, done.stdout) == (125, "")
    return done.stderr


@pytest.mark.fuse
@pytest.mark.bwrap
def test_a_program_that_carries_its_files_finds_them(assets, tmp_path, installed):
    """`vfsd run --base PROGRAM --at /sea`: the program itself runs, with its files at /sea."""
    program = tmp_path / "program"
    shutil.copy(shutil.which("cat"), program)
    vfsd("pack", assets, "--append-to", program)
    options = ["--quiet", "--base", program, "--at", "/sea", "--ro-bind", f"{program}:/program"]
    said = run(
        *(sys.executable, "-m", "vfsd", "run", *options, "--", "/program", "/sea/asset.txt"),
        env=installed,
        cwd=tmp_path,
    )
    assert said == "the asset\n"
