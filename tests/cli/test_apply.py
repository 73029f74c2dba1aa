"""`vfsd apply` and `vfsd diff` of snapshots in the store: what they say, write and refuse."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.command import vfsd
from tests.unit.snapshots.treedump import dump_directory
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store

pytestmark = pytest.mark.root


def write(root: Path, files: dict[str, str | None]) -> Path:
    """Write files; None is a whiteout."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            os.mknod(path, 0o20000, 0)
        else:
            path.write_text(text)
    return root


@pytest.fixture
def place(tmp_path) -> Path:
    """A base, and a snapshot of it named `work`, saved as a run saves it."""
    base = write(
        tmp_path / "base",
        {"changed": "old\n", "gone": "old\n", "dir/kept": "old\n", "dir/changed": "old\n"},
    )
    upper = write(
        tmp_path / "upper",
        {"changed": "new\n", "gone": None, "dir/changed": "new\n", "added": "new\n"},
    )
    store = Store(str(tmp_path / "state" / "vfsd" / "store"))
    store.save_directory("work", str(upper), base=str(base))
    return tmp_path


def test_a_snapshot_is_compared_with_its_base_and_applied_to_it(place):
    letters = vfsd("diff", "--name-status", "work", cwd=place).out
    assert letters == b"A\tadded\nM\tchanged\nM\tdir/changed\nD\tgone\n"
    done = vfsd("apply", "work", cwd=place)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(b"base: 1 added, 2 changed, 1 removed\n")
    assert (place / "base" / "dir" / "changed").read_text() == "new\n"
    assert not (place / "base" / "gone").exists()
    assert vfsd("diff", "--times", "work", cwd=place).out == b""
    again = vfsd("apply", "work", cwd=place)
    assert again.code == 0
    assert again.out.endswith(b"base has all of it already\n")


def test_a_snapshot_may_be_named_as_a_source(place):
    plain = vfsd("diff", "--name-status", "work", cwd=place)
    assert vfsd("diff", "--name-status", "snapshot:work", cwd=place) == plain
    for verb in ("show", "verify"):
        assert vfsd("snapshot", verb, "snapshot:work", cwd=place).code == 0
    assert vfsd("snapshot", "export", "snapshot:work", "-o", "a.tar", cwd=place).code == 0
    assert vfsd("pack", "snapshot:work", "-o", "a.vfsa", cwd=place).code == 0
    done = vfsd("apply", "snapshot:work", cwd=place)
    assert done.out.endswith(b"base: 1 added, 2 changed, 1 removed\n")
    assert vfsd("snapshot", "mv", "snapshot:work", "other", cwd=place).code == 0
    assert vfsd("snapshot", "rm", "snapshot:other", cwd=place).code == 0


def test_nothing_is_written_where_one_path_conflicts(place):
    (place / "base" / "gone").write_text("host\n")
    (place / "base" / "added").write_text("host\n")
    before = dump_directory(place / "base")
    done = vfsd("apply", "work", cwd=place)
    assert done.code == ExitCode.CONFLICT
    assert "  gone: was changed on the host\n" in done.err
    assert "  added: appeared on the host\n" in done.err
    assert "changed:" not in done.err.replace("was changed", "")
    assert dump_directory(place / "base") == before
    told = vfsd("apply", "--json", "work", cwd=place)
    assert told.code == ExitCode.CONFLICT
    assert [row["path"] for row in json.loads(told.out)["conflicts"]] == ["added", "gone"]


def test_theirs(place):
    (place / "base" / "gone").write_text("host\n")
    done = vfsd("apply", "--theirs", "work", cwd=place)
    assert done.code == 0
    assert "  gone: was changed on the host\n" in done.err
    assert (place / "base" / "gone").read_text() == "host\n"
    assert (place / "base" / "changed").read_text() == "new\n"


def test_force(place):
    (place / "base" / "gone").write_text("host\n")
    assert vfsd("apply", "--force", "work", cwd=place).code == 0
    assert not (place / "base" / "gone").exists()
    assert vfsd("apply", "--force", "--theirs", "work", cwd=place).code == ExitCode.USAGE


def test_a_dry_run(place):
    before = dump_directory(place / "base")
    done = vfsd("apply", "--dry-run", "work", cwd=place)
    assert done.code == 0
    assert b"A\tadded\n" in done.out
    assert dump_directory(place / "base") == before
    rows = json.loads(vfsd("apply", "-n", "--json", "work", cwd=place).out)["changes"]
    assert {"status": "D", "path": "gone"} in rows


def test_another_directory(place):
    copy = write(place / "copy", {"changed": "old\n", "gone": "old\n", "dir/changed": "old\n"})
    assert vfsd("apply", "work", "copy", cwd=place).code == 0
    assert (copy / "changed").read_text() == "new\n"
    assert (place / "base" / "changed").read_text() == "old\n"


def test_a_snapshot_that_stands_on_nothing(place):
    tree = write(place / "tree", {"one": "1\n", "two/three": "3\n"})
    Store(str(place / "state" / "vfsd" / "store")).save_directory("whole", str(tree))
    letters = vfsd("diff", "--name-status", "whole", cwd=place).out
    assert letters == b"A\tone\nA\ttwo/\nA\ttwo/three\n"
    assert vfsd("apply", "whole", cwd=place).code == ExitCode.USAGE
    target = write(place / "target", {"other": "stays\n"})
    assert vfsd("apply", "whole", "target", cwd=place).code == 0
    assert (target / "two" / "three").read_text() == "3\n"
    assert (target / "other").read_text() == "stays\n"
    (target / "one").write_text("host\n")
    assert vfsd("apply", "whole", "target", cwd=place).code == ExitCode.CONFLICT


def test_two_snapshots(place):
    upper = write(place / "more", {"added": None, "dir/kept": "newer\n"})
    store = Store(str(place / "state" / "vfsd" / "store"))
    work = store.snapshot("work")
    store.save_directory("more", str(upper), base=work.base, chain=work.chain, parent="work")
    letters = vfsd("diff", "--name-status", "work", "more", cwd=place).out
    assert letters == b"D\tadded\nM\tdir/kept\n"
    assert vfsd("apply", "more", cwd=place).code == 0
    assert (place / "base" / "dir" / "kept").read_text() == "newer\n"
    assert (place / "base" / "changed").read_text() == "new\n"


def test_a_name_that_is_not_there(place):
    assert vfsd("apply", "nothing", cwd=place).code == ExitCode.NOT_FOUND
    assert vfsd("apply", "work", "./nowhere", cwd=place).code == ExitCode.NOT_FOUND


def test_what_is_damaged_is_refused(place):
    [layer] = Store(str(place / "state" / "vfsd" / "store")).layers()
    path = place / "state" / "vfsd" / "store" / "layers" / layer / "fingerprints"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = vfsd("apply", "work", cwd=place)
    assert done.code == ExitCode.DAMAGED
    assert str(path) in done.err
    assert (place / "base" / "changed").read_text() == "old\n"


def test_a_flipped_bit_is_not_applied(place):
    store = Store(str(place / "state" / "vfsd" / "store"))
    settle(store, "work")
    [layer] = store.layers()
    path = Path(store.place.layer(layer, "tree/changed"))
    before = path.stat()
    path.write_text("neW\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for words in (["apply", "work"], ["snapshot", "export", "work", "-o", "x.tar"]):
        done = vfsd(*words, cwd=place)
        assert done.code == ExitCode.DAMAGED
        assert "tree/changed" in done.err
    assert (place / "base" / "changed").read_text() == "old\n"
    assert not (place / "x.tar").exists()
    assert vfsd("apply", "--no-verify", "work", cwd=place).code == 0
    assert (place / "base" / "changed").read_text() == "neW\n"


def test_a_packed_layer_is_compared_applied_and_exported(place):
    tree = write(place / "tree", {"one": "1\n", "two/three": "3\n"})
    os.link(tree / "one", tree / "two" / "link")
    os.symlink("one", tree / "symlink")
    assert vfsd("pack", "tree", "-o", "tree.vfsa", cwd=place).code == 0
    store = Store(str(place / "state" / "vfsd" / "store"))
    store.save_packed("packed", str(place / "tree.vfsa"))
    assert vfsd("diff", "--times", "--exit-code", "packed", "./tree", cwd=place).out == b""
    (place / "target").mkdir()
    assert vfsd("apply", "packed", "target", cwd=place).code == 0
    assert dump_directory(place / "target") == dump_directory(tree)
    assert vfsd("snapshot", "export", "packed", "--layers", "-o", "image", cwd=place).code == 0
    assert vfsd("snapshot", "import", "image", "back", cwd=place).code == 0
    assert vfsd("diff", "--times", "--exit-code", "packed", "back", cwd=place).code == 0
