"""Whatever the host did to a path that the snapshot touches is a conflict, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.snapshots.test_apply import apply, assert_complete, between
from tests.unit.snapshots.treedump import dump_directory
from vfsd.snapshots.applyplan import Plan, Side, plan
from vfsd.snapshots.fingerprint import Fingerprints, from_record
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.layered import LayeredView
from vfsd.snapshots.touched import DIGEST_FILE_BYTES_MAX, see

BIG = b"x" * (DIGEST_FILE_BYTES_MAX + 1)


def world(place: Path) -> tuple[Path, Path]:
    """Make a base, and a layer over it that changes, adds and removes of everything."""
    base, layer = place / "base", place / "layer"
    for folder in ("dir", "gone-dir/inner", "to-file", "quiet"):
        (base / folder).mkdir(parents=True)
    for name in (
        *("changed", "gone", "chmodded", "untouched", "to-dir", "dir/changed", "quiet/file"),
        *("gone-dir/file", "gone-dir/inner/file", "to-file/file"),
    ):
        (base / name).write_text("base")
    (base / "big").write_bytes(BIG)
    os.symlink("base", base / "link")
    (layer / "dir").mkdir(parents=True)
    (layer / "to-dir").mkdir()
    for name in ("changed", "added", "dir/changed", "dir/added", "to-file", "to-dir/file"):
        (layer / name).write_text("layer")
    (layer / "big").write_bytes(b"y" * len(BIG))
    (layer / "chmodded").write_text("base")
    (layer / "chmodded").chmod(0o755)
    os.utime(layer / "chmodded", ns=(1, (base / "chmodded").stat().st_mtime_ns))
    os.symlink("layer", layer / "link")
    for name in ("gone", "gone-dir"):
        os.mknod(layer / name, 0o20000, 0)
    return base, layer


def planned(base: Path, layer: Path, taken: Fingerprints, side: Side = Side.NEITHER) -> Plan:
    with HostTree(base) as host, LayeredView.of([layer], base) as view:
        return plan(host, view, taken, side)


def fingerprints(base: Path, layer: Path) -> Fingerprints:
    """Return them as the store takes and keeps them."""
    with HostTree(base) as host, HostTree(layer, marks=True, kind="layer") as upper:
        return from_record(see(upper, host).touched)


def forge(path: Path, data: bytes) -> None:
    """Write what has the size and the time of what was there."""
    before = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def replace_directory(path: Path) -> None:
    for each in path.iterdir():
        each.unlink()
    path.rmdir()
    path.write_text("host")


MATRIX: dict[str, tuple[Callable[[Path], object], set[bytes]]] = {
    "a changed file was written": (
        lambda base: (base / "changed").write_text("host"),
        {b"changed"},
    ),
    "with size and time forged": (lambda base: forge(base / "changed", b"tsoh"), {b"changed"}),
    "a large file, with size and time forged": (
        lambda base: forge(base / "big", b"z" * len(BIG)),
        {b"big"},
    ),
    "a changed file was removed": (lambda base: (base / "changed").unlink(), {b"changed"}),
    "a removed file was written": (lambda base: (base / "gone").write_text("host"), {b"gone"}),
    "a removed file changed its permissions": (
        lambda base: (base / "gone").chmod(0o600),
        {b"gone"},
    ),
    "an added file is there": (lambda base: (base / "added").write_text("host"), {b"added"}),
    "an added file is a directory": (lambda base: (base / "added").mkdir(), {b"added"}),
    "other permissions": (lambda base: (base / "chmodded").chmod(0o600), {b"chmodded"}),
    "a symlink leads elsewhere": (
        lambda base: ((base / "link").unlink(), os.symlink("host", base / "link")),
        {b"link"},
    ),
    "something new in a removed directory": (
        lambda base: (base / "gone-dir" / "inner" / "new").write_text("host"),
        {b"gone-dir/inner/new"},
    ),
    "something changed in a removed directory": (
        lambda base: (base / "gone-dir" / "inner" / "file").write_text("host"),
        {b"gone-dir/inner/file"},
    ),
    "something new in a replaced directory": (
        lambda base: (base / "to-file" / "new").write_text("host"),
        {b"to-file/new"},
    ),
    "a file to become a directory was written": (
        lambda base: (base / "to-dir").write_text("host"),
        {b"to-dir"},
    ),
    "a directory of changes became a file": (
        lambda base: replace_directory(base / "dir"),
        {b"dir", b"dir/changed"},
    ),
    "a directory of changes is gone": (
        lambda base: ((base / "dir" / "changed").unlink(), (base / "dir").rmdir()),
        {b"dir", b"dir/changed"},
    ),
    "two at once": (
        lambda base: ((base / "changed").unlink(), (base / "gone").write_text("host")),
        {b"changed", b"gone"},
    ),
    "a changed file was touched": (lambda base: os.utime(base / "changed"), set()),
    "an untouched file was written": (
        lambda base: (base / "untouched").write_text("host"),
        set(),
    ),
    "an untouched file is gone": (lambda base: (base / "untouched").unlink(), set()),
    "something new beside": (lambda base: (base / "dir" / "beside").write_text("host"), set()),
    "the same was done on the host": (
        lambda base: ((base / "changed").write_text("layer"), (base / "gone").unlink()),
        set(),
    ),
    "a hard link was made": (lambda base: os.link(base / "big", base / "copy"), set()),
    "nothing": (lambda base: None, set()),
}


@pytest.mark.root
@pytest.mark.parametrize("what", MATRIX)
def test_the_matrix(tmp_path, what):
    act, expected = MATRIX[what]
    base, layer = world(tmp_path)
    taken = fingerprints(base, layer)
    act(base)
    host_state = dump_directory(base)
    refused = planned(base, layer, taken)
    assert {conflict.path for conflict in refused.conflicts} == expected
    assert (refused.changes == []) == bool(expected)
    with LayeredView.of([layer], base) as view:
        assert_complete(apply(base, view, taken, Side.THEIRS))
    theirs = dump_directory(base)
    for path in expected:
        assert theirs.get(path, ())[:6] == host_state.get(path, ())[:6]
    if b"dir" not in expected:
        assert (base / "dir" / "added").read_text() == "layer"
    with LayeredView.of([layer], base) as view:
        assert_complete(apply(base, view, taken, Side.OURS))
    for name in ("changed", "added", "dir/changed", "dir/added", "to-file", "to-dir/file"):
        assert (base / name).read_text() == "layer"
    assert os.readlink(base / "link") == "layer"
    assert not os.path.lexists(base / "gone")
    assert not os.path.lexists(base / "gone-dir")
    assert planned(base, layer, taken).changes == []


def test_another_directory_with_the_same_files_is_as_good(tmp_path):
    for name, text in (("a", "base"), ("b", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
    taken = between(tmp_path / "a", tmp_path / "b")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("base")
    with HostTree(tmp_path / "b") as view:
        assert_complete(apply(tmp_path / "other", view, taken))
    assert (tmp_path / "other" / "file").read_text() == "new"


def test_a_name_that_led_the_hard_links_is_kept_and_the_others_stay_together(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for root in (a, b):
        root.mkdir()
        (root / "1").write_text(root.name)
        os.link(root / "1", root / "2")
        os.link(root / "1", root / "3")
    taken = between(a, b)
    (a / "1").unlink()
    (a / "1").write_text("the host's")
    with HostTree(b) as view:
        assert_complete(apply(a, view, taken, Side.THEIRS))
    assert (a / "1").read_text() == "the host's"
    assert (a / "2").read_text() == (a / "3").read_text() == "b"
    assert (a / "2").stat().st_ino == (a / "3").stat().st_ino


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        {"text": [0] * 8 + [b""]},
        {b"short": [0, b""]},
        {b"types": ["0"] * 8 + [b""]},
        {b"digest": [0] * 9},
        {b"no list": 5},
    ],
)
def test_a_malformed_record_is_refused(record):
    with pytest.raises(ValueError, match="fingerprint"):
        from_record(record)
