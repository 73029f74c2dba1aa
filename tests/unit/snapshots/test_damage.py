"""A flipped bit anywhere in the store is found and named, and hurts nobody else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.unit.snapshots.storeworld import World, fill
from vfsd.exitcodes import ExitCode
from vfsd.snapshots import records
from vfsd.snapshots.collection import collect, remove
from vfsd.snapshots.manifest import damage, write_manifest
from vfsd.snapshots.refusals import Damaged
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store
from vfsd.snapshots.verification import verify

POSITIONS = 60


@pytest.fixture
def kept(tmp_path) -> World:
    world = World(tmp_path)
    world.save("one", {"a": "1" * 100, "d/x": "x", "l": ("symlink", "a"), "changed": "1"})
    world.save("two", {"a": "2"}, on="one")
    world.save("other", {"o": "other"})
    (world.place / "made").write_bytes(b"an archive" * 20)
    for name in world.store.names():
        settle(world.store, name)
    world.store.save_packed("packed", str(world.place / "made"))
    return world


def files(world: World) -> list[Path]:
    found = [path for path in world.root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(path for path in found if path.stat().st_size)


def test_every_flipped_bit_is_found_and_named(kept):
    clean = verify(kept.store)
    assert clean.damages == []
    assert len(clean.layers) == 4
    users = {
        kept.store.snapshot("one").chain[0]: {"one", "two"},
        kept.store.snapshot("two").chain[0]: {"two"},
        kept.store.snapshot("other").chain[0]: {"other"},
        kept.store.snapshot("packed").chain[0]: {"packed"},
    }
    shown = {name: kept.shows(name) for name in ("one", "two", "other")}
    kinds = set()
    for path in files(kept):
        parts = path.relative_to(kept.root).parts
        kinds.add(parts[2] if parts[0] == "layers" else parts[0])
        hurt = (
            {parts[1]}
            if parts[0] == "snapshots"
            else users[parts[1]]
            if parts[0] == "layers"
            else set()
        )
        healthy = path.read_bytes()
        stat = path.stat()
        for position in range(0, len(healthy), max(1, len(healthy) // POSITIONS)):
            flipped = bytearray(healthy)
            flipped[position] ^= 1 << (position % 8)
            _overwrite(path, bytes(flipped), stat)
            found = verify(Store(str(kept.root)))
            assert found.damages, f"{path} at {position}"
            assert set(found.damaged) == hurt, f"{path} at {position}"
            told = " ".join(each.what for each in found.damages)
            assert str(path) in told or parts[1] in told
        if hurt:
            # Who does not need the file does not notice.
            for name in shown.keys() - hurt:
                assert kept.shows(name) == shown[name]
        _overwrite(path, healthy, stat)
    assert kinds == {"format", "snapshots", "record", "fingerprints", "manifest", "tree", "pack"}
    assert verify(kept.store).damages == []


def _overwrite(path: Path, data: bytes, stat: os.stat_result) -> None:
    """Change the bytes as a disk does it: the times stay."""
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("part", ["record", "fingerprints", "manifest", "tree", "pack"])
def test_what_is_cut_short_is_found(kept, part):
    for path in files(kept):
        if part in path.relative_to(kept.root).parts[1:3]:
            healthy, stat = path.read_bytes(), path.stat()
            for length in {0, 1, len(healthy) // 2, len(healthy) - 1} - {len(healthy)}:
                _overwrite(path, healthy[:length], stat)
                assert verify(kept.store).damages, f"{path} cut to {length}"
            _overwrite(path, healthy, stat)


@pytest.mark.parametrize("part", ["record", "manifest", "tree/a", "tree/d"])
def test_what_is_missing_is_found(kept, part):
    path = kept.root / "layers" / kept.store.snapshot("one").chain[0] / part
    path.rename(kept.place / "gone")
    found = verify(kept.store)
    assert found.damaged == ["one", "two"]


def test_what_was_not_there_is_found(kept):
    tree = kept.root / "layers" / kept.store.snapshot("one").chain[0] / "tree"
    stat = tree.stat()
    fill(tree, {"planted": "x"})
    os.utime(tree, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [each.what for each in verify(kept.store).damages] == [f"{tree}/planted was not there"]


@pytest.mark.parametrize("change", ["mode", "time", "attribute", "type", "target"])
def test_other_attributes_are_found(kept, change):
    tree = kept.root / "layers" / kept.store.snapshot("one").chain[0] / "tree"
    stat = (tree / "a").stat()
    if change == "mode":
        os.chmod(tree / "a", 0o4711)
    elif change == "time":
        os.utime(tree / "a", ns=(0, 0))
    elif change == "attribute":
        os.setxattr(tree / "a", "user.x", b"y")
    else:
        os.unlink(tree / ("a" if change == "type" else "l"))
        os.symlink("elsewhere", tree / ("a" if change == "type" else "l"))
        top = tree.stat()
        os.utime(tree, ns=(top.st_atime_ns, top.st_mtime_ns))
    assert verify(kept.store).damaged == ["one", "two"]
    assert stat


def test_a_damaged_snapshot_can_be_removed(kept):
    path = Path(kept.store.place.snapshot("two"))
    path.write_bytes(b"\0" * 50)
    with pytest.raises(Damaged) as caught:
        kept.store.lease("two")
    assert caught.value.exit_code == ExitCode.DAMAGED
    assert str(path) in caught.value.message
    remove(kept.store, "two")
    collect(kept.store)
    assert verify(kept.store).damages == []
    assert len(kept.store.layers()) == 3


def test_a_damaged_format_record_is_mended(kept):
    Path(kept.store.place.format).write_bytes(b"x")
    store = Store(str(kept.root))
    collect(store)
    assert verify(Store(str(kept.root))).damages == []


def test_a_record_that_is_no_snapshot(kept):
    """Healthy bytes, but not what a snapshot's record holds: refused, never believed."""
    path = kept.store.place.snapshot("two")
    value = records.read(path)
    for key, wrong in (
        ("chain", []),
        ("chain", ["../../../etc"]),
        ("chain", [1]),
        ("base", b"relative"),
        ("command", ["text"]),
        ("created_ns", "now"),
        ("settled", 1),
        ("unknown", 1),
    ):
        Path(path).write_bytes(records.pack({**value, key: wrong}))
        with pytest.raises(Damaged):
            kept.store.snapshot("two")
    for key in value:
        rest = {name: each for name, each in value.items() if name != key}
        Path(path).write_bytes(records.pack(rest))
        with pytest.raises(Damaged):
            kept.store.snapshot("two")


def test_one_that_an_earlier_boot_may_have_hurt_is_taken_when_told(world, monkeypatch):
    monkeypatch.setattr("vfsd.snapshots.store.boot", lambda: "an earlier one")
    world.save("one", {"a": "1"})
    monkeypatch.undo()
    assert verify(world.store).damaged == ["one"]
    assert collect(world.store).kept
    assert verify(world.store, ["one"], accept=True).damages == []
    assert world.shows("one")["a"] == "1"
    assert verify(world.store).damages == []


def test_a_large_file_has_the_same_digest_with_holes_and_without(tmp_path):
    holes = tmp_path / "holes"
    holes.mkdir()
    with open(holes / "f", "wb") as file:
        file.write(b"begin")
        file.seek(5 << 20)
        file.write(b"end")
        file.truncate(7 << 20)
    data = (holes / "f").read_bytes()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f").write_bytes(data)
    shutil.copystat(holes / "f", tmp_path / "full" / "f")
    shutil.copystat(holes, tmp_path / "full")
    manifest = str(tmp_path / "manifest")
    write_manifest(str(holes), manifest)
    assert list(damage(str(tmp_path / "full"), manifest)) == []
    for place in (0, 1 << 20, (3 << 20) - 1, (5 << 20) + 2, (7 << 20) - 1):
        flipped = bytearray(data)
        flipped[place] ^= 1
        _overwrite(tmp_path / "full" / "f", bytes(flipped), (holes / "f").stat())
        assert len(list(damage(str(tmp_path / "full"), manifest))) == 1, place
