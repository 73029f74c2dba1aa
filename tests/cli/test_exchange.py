"""`vfsd snapshot export` and `import`: forms, names, refusals, and streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import vfsd
from tests.cli.test_apply import place, write
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.store import Store

__all__ = ["place"]

pytestmark = pytest.mark.root


def test_every_form_goes_out_and_comes_back(place):
    shown = {}
    for number, (words, target) in enumerate(
        [
            ([], "tree.tar"),
            ([], "tree.tar.gz"),
            (["--compress", "zstd"], "tree"),
            (["--layers"], "image"),
            (["--layers", "--compress", "zstd"], "image.tar"),
        ]
    ):
        done = vfsd("snapshot", "export", "work", *words, "-o", target, cwd=place)
        assert (done.code, done.err) == (0, ""), done.err
        done = vfsd("snapshot", "import", target, f"back{number}", cwd=place)
        assert (done.code, done.err) == (0, ""), done.err
        diff = vfsd("diff", "--times", "--exit-code", "work", f"back{number}", cwd=place)
        assert (diff.code, diff.out) == (0, b"")
        shown[target] = (place / target).exists()
    assert all(shown.values())
    assert sorted(os.listdir(place / "image")) == ["blobs", "index.json", "oci-layout"]
    assert not [name for name in os.listdir(place) if name.startswith(".")]


def test_changes_are_imported_over_their_base(place):
    done = vfsd("snapshot", "export", "work", "--changes", "-o", "c.tar.zst", cwd=place)
    assert done.code == 0
    assert vfsd("snapshot", "import", "c.tar.zst", "c", "--base", "base", cwd=place).code == 0
    assert vfsd("diff", "--times", "--exit-code", "work", "c", cwd=place).code == 0
    # Applied, it conflicts as the first one would.
    (place / "base" / "changed").write_text("host\n")
    assert vfsd("apply", "c", cwd=place).code == ExitCode.CONFLICT
    assert vfsd("apply", "--theirs", "c", cwd=place).code == 0
    assert not (place / "base" / "gone").exists()


def test_a_stream(place):
    environment = {**os.environ, "XDG_STATE_HOME": str(place / "state")}
    command = [sys.executable, "-m", "vfsd", "snapshot"]
    subprocess.run(
        ["sh", "-ec", '"$@" export work --compress gzip -o - | "$@" import - back', "sh", *command],
        check=True,
        cwd=place,
        env=environment,
    )
    assert vfsd("diff", "--exit-code", "work", "back", cwd=place).code == 0


def test_refusals(place):
    tree = write(place / "odd", {".wh.name": "x"})
    subprocess.run(["tar", "-cf", place / "odd.tar", "-C", place / "base", "."], check=True)
    assert vfsd("snapshot", "import", "odd.tar", "work", cwd=place).code == ExitCode.REFUSED
    assert vfsd("snapshot", "import", "odd.tar", "work", "--replace", cwd=place).code == 0
    assert vfsd("snapshot", "import", "odd.tar", "a/b", cwd=place).code == ExitCode.USAGE
    assert vfsd("snapshot", "import", "nothing.tar", "n", cwd=place).code == ExitCode.NOT_FOUND
    assert vfsd("snapshot", "import", str(tree), "n", cwd=place).code == ExitCode.USAGE
    assert vfsd("snapshot", "import", "--limit", "x", "odd.tar", "n", cwd=place).code == 2
    small = vfsd("snapshot", "import", "--limit", "1K", "odd.tar", "n", cwd=place)
    assert small.code == ExitCode.DAMAGED
    assert "limit" in small.err
    assert vfsd("snapshot", "export", "none", "-o", "x.tar", cwd=place).code == 5
    full = vfsd("snapshot", "export", "work", "--layers", "-o", "odd", cwd=place)
    assert full.code == ExitCode.REFUSED
    (place / "empty").touch()
    assert vfsd("snapshot", "import", "empty", "n", cwd=place).code == ExitCode.DAMAGED
    (place / "text").write_text("this is no archive, however one looks at it\n" * 50)
    assert vfsd("snapshot", "import", "text", "n", cwd=place).code == ExitCode.DAMAGED


def test_what_cannot_be_exported_leaves_no_file(place):
    write(place / "base", {".wh.name": "x"})
    done = vfsd("snapshot", "export", "work", "-o", "x.tar", cwd=place)
    assert done.code == ExitCode.REFUSED
    assert ".wh.name" in done.err
    assert not Path(place / "x.tar").exists()
    done = vfsd("snapshot", "export", "work", "--layers", "-o", "image", cwd=place)
    assert done.code == ExitCode.REFUSED
    assert not Path(place / "image").exists()
    assert not [name for name in os.listdir(place) if name.startswith(".")]


def test_a_huge_sparse_file_costs_what_it_holds(place):
    # Whatever read its zeros would take hours.
    with open(place / "base" / "huge", "wb") as file:
        file.write(b"begin")
        file.seek(512 << 30)
        file.write(b"middle")
        file.truncate(1 << 40)
    subprocess.run(["tar", "-cSf", "huge.tar", "-C", "base", "huge"], cwd=place, check=True)
    (place / "copy").mkdir()
    for words in (
        ("snapshot", "import", "huge.tar", "huge"),
        ("snapshot", "verify", "huge"),
        ("gc",),
        ("snapshot", "export", "huge", "-o", "again.tar"),
        ("snapshot", "export", "huge", "--layers", "-o", "image"),
        ("snapshot", "import", "image", "again"),
        ("snapshot", "verify", "again"),
        ("diff", "--exit-code", "huge", "again"),
        ("apply", "again", "copy"),
        ("diff", "--exit-code", "again", "copy"),
        ("pack", "again", "-o", "huge.vfsd"),
        ("verify", "huge.vfsd"),
        ("unpack", "huge.vfsd", "unpacked"),
        ("diff", "--exit-code", "unpacked", "copy"),
    ):
        done = vfsd(*words, cwd=place)
        assert (done.code, done.err) == (0, ""), (words, done.err)
    with open(place / "unpacked" / "huge", "rb") as file:
        assert file.read(6) == b"begin\0"
        file.seek(512 << 30)
        assert file.read(7) == b"middle\0"
    stat = (place / "unpacked" / "huge").stat()
    assert (stat.st_size, stat.st_blocks < 4096) == (1 << 40, True)


def test_attributes_that_are_named_like_marks(place):
    upper = place / "upper"
    (upper / "d").mkdir(parents=True)
    os.setxattr(upper / "d", "user.overlay.overlay.opaque", b"y")
    (place / "base" / "d").mkdir(exist_ok=True)
    (place / "base" / "d" / "low").write_text("low")
    store = Store(str(place / "state" / "vfsd" / "store"))
    store.save_directory("marked", str(upper), base=str(place / "base"))
    assert vfsd("snapshot", "export", "marked", "-o", "marked.tar", cwd=place).code == 0
    assert vfsd("snapshot", "import", "marked.tar", "back", cwd=place).code == 0
    assert vfsd("diff", "--exit-code", "marked", "back", cwd=place).code == 0
    done = vfsd("apply", "marked", cwd=place)
    assert done.code == 0
    assert "user.overlay.opaque" in done.err
    assert os.listxattr(place / "base" / "d") == []
    assert (place / "base" / "d" / "low").read_text() == "low"
