"""docs/PYTHON.md's examples run as they stand, in an empty directory, and print what they say."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vfsd
from tests.install.workplace import ROOT, environment, run
from tests.mounted.daemon import mounts_below

DOCUMENTS = ("docs/PYTHON.md", "README.md")
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.M | re.S)


def blocks(document: str) -> list[tuple[str, str, str, str]]:
    """Return language, note, content and what is printed of each block that is not that."""
    found = BLOCK.findall((ROOT / document).read_text())
    return [each for each in found if each[0] != "text"]


EXAMPLES = [
    pytest.param(content, printed, id=f"{document}-{number}")
    for document in DOCUMENTS
    for number, (language, note, content, printed) in enumerate(blocks(document))
    if (language, note) == ("python", "")
]


@pytest.fixture
def squares(tmp_path: Path) -> str:
    """The document's provider, as its package would be installed; its place for PYTHONPATH."""
    place = tmp_path / "packages"
    info = place / "squares-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: squares\nVersion: 1.0\n")
    entries = []
    for language, note, content, _ in blocks("docs/PYTHON.md"):
        if note.startswith("file="):
            (place / note.removeprefix("file=")).write_text(content)
        if language == "toml":
            for group, names in tomllib.loads(content)["project"]["entry-points"].items():
                entries += [f"[{group}]", *(f"{key} = {value}" for key, value in names.items())]
    (info / "entry_points.txt").write_text("\n".join(entries))
    return str(place)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


@pytest.mark.fuse
@pytest.mark.bwrap
@pytest.mark.parametrize(("content", "printed"), EXAMPLES)
def test_an_example_prints_what_it_says(
    place: Path, tmp_path: Path, squares: str, content: str, printed: str
) -> None:
    (place / "example.py").write_text(content)
    more = {"PYTHONPATH": squares, "XDG_STATE_HOME": str(tmp_path / "state"), "TMPDIR": str(place)}
    done = run(sys.executable, "-W", "error", "example.py", cwd=place, **more)
    assert (done.returncode, done.stdout) == (0, printed)
    left = {each.name for each in place.iterdir()} - {"example.py", "project"}
    assert left == set()


@pytest.mark.fuse
def test_the_example_of_tests_passes(place: Path) -> None:
    (content,) = [each[2] for each in blocks("docs/PYTHON.md") if each[1] == "pytest"]
    (place / "test_example.py").write_text(content)
    (place / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = run(sys.executable, "-m", "pytest", "-q", cwd=place, TMPDIR=str(place))
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert mounts_below(place) == []


def test_every_name_is_there_and_documented() -> None:
    document = (ROOT / "docs" / "PYTHON.md").read_text()
    for name in vfsd.__all__:
        assert getattr(vfsd, name) is not None
        assert f"vfsd.{name}" in document
    assert set(vfsd.__all__) <= set(dir(vfsd))
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        vfsd.nothing_of_that_name  # noqa: B018


def test_importing_it_imports_nothing() -> None:
    script = "import sys; a = set(sys.modules); import vfsd; print(*set(sys.modules) - a)"
    done = run(sys.executable, "-P", "-c", script, PYTHONPATH=str(ROOT))
    assert done.stdout.split() == ["vfsd"]


@pytest.mark.fuse
def test_a_failure_has_its_sentence_and_leaves_nothing(place: Path) -> None:
    (place / "full").mkdir()
    (place / "full" / "file").touch()
    with (
        pytest.raises(vfsd.UserError, match="is not empty") as failed,
        vfsd.mount(directory=place / "full"),
    ):
        pass
    assert failed.value.exit_code == vfsd.ExitCode.REFUSED
    with pytest.raises(vfsd.UserError, match="there is no provider"), vfsd.mount("nosuch"):
        pass
    with pytest.raises(ZeroDivisionError), vfsd.mount() as mounted:
        raise ZeroDivisionError
    assert not mounted.path.exists()
    assert mounts_below(place) == []


@pytest.mark.fuse
def test_what_another_has_mounted_stays(place: Path) -> None:
    with vfsd.mount(directory=place) as mounted:
        (mounted.path / "file").write_text("kept")
        with (
            pytest.raises(vfsd.UserError, match="mounted by vfsd already"),
            vfsd.mount(directory=place),
        ):
            pass
        assert (mounted.path / "file").read_text() == "kept"
    assert list(place.iterdir()) == []


@pytest.mark.fuse
def test_a_directory_given_as_a_path(place: Path) -> None:
    (place / "source").mkdir()
    (place / "source" / "file").write_text("data")
    with vfsd.mount(place / "source", read_only=True) as mounted:
        assert (mounted.path / "file").read_text() == "data"
        with pytest.raises(OSError, match="Read-only file system"):
            (mounted.path / "new").touch()


@pytest.mark.fuse
def test_what_is_in_use_is_unmounted_and_told(place: Path) -> None:
    with pytest.warns(ResourceWarning, match="was in use"), vfsd.mount(directory=place) as mounted:
        file = open(mounted.path / "file", "wb")  # noqa: SIM115
    file.close()
    assert not place.is_mount()


@pytest.mark.fuse
def test_a_killed_program_leaves_no_mount(place: Path) -> None:
    script = (
        "import time, vfsd\n"
        "with vfsd.mount() as mounted:\n"
        "    print(mounted.path, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=place,
        env=environment(TMPDIR=str(place)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        path = Path(program.stdout.readline().strip())
        assert path.is_mount()
        watched = subprocess.Popen(
            ["sh", "-c", 'while [ -e "$1" ]; do sleep 0.05; done', "sh", path]
        )
        program.send_signal(signal.SIGKILL)
    with watched:
        assert watched.wait(60) == 0
    assert list(place.iterdir()) == []
