"""Layers that are archives: read as they are, unpacked once where a directory is needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.snapshots.overlaymount import overlay
from tests.unit.snapshots.storeworld import OPAQUE, WHITEOUT, Files, World
from tests.unit.snapshots.treedump import dump, dump_directory
from vfsd.archive.outfile import OutFile
from vfsd.archive.writer import ArchiveWriter
from vfsd.snapshots.collection import remove
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.packing import pack_view
from vfsd.snapshots.packlayer import PackLayer
from vfsd.snapshots.refusals import Damaged
from vfsd.snapshots.settling import settle
from vfsd.snapshots.verification import verify
from vfsd.snapshots.writing import write_tree

pytestmark = pytest.mark.root


def save_packed(world: World, name: str, files: Files, on: str | None = None) -> None:
    if on is None:
        world.store.save_packed(name, world.pack(files), base=str(world.base))
        return
    with world.store.lease(on) as lease:
        world.store.save_packed(
            name, world.pack(files), base=lease.base, chain=lease.snapshot.chain, parent=on
        )


@pytest.fixture
def kept(world) -> World:
    """Packed over a directory over packed."""
    save_packed(
        world,
        "one",
        {"a": "1", "d/x": "1", "same": ("link", "a"), "kept": WHITEOUT, "t/u": "1"},
    )
    world.save("two", {"d/y": "2", "t": OPAQUE, "t/v": "2"}, on="one")
    save_packed(world, "three", {"a": WHITEOUT, "s": ("symlink", "d"), "t": OPAQUE}, on="two")
    return world


EXPECTED = {
    "one": {"a": "1", "d/x": "1", "d/f": "base", "same": "1", "changed": "base", "t/u": "1"},
    "two": {
        **{"a": "1", "d/x": "1", "d/y": "2", "d/f": "base"},
        **{"same": "1", "changed": "base", "t/v": "2"},
    },
    "three": {"d/x": "1", "d/y": "2", "d/f": "base", "same": "1", "changed": "base"},
}


def test_archives_are_read_as_they_are(kept):
    assert {name: kept.shows(name) for name in EXPECTED} == EXPECTED
    packs = [layer for layer in kept.store.layers() if kept.store.layer(layer).kind == "packed"]
    assert len(packs) == 2
    assert not any((kept.root / "layers" / layer / "tree").exists() for layer in packs)


def test_unpacked_they_show_the_same_to_the_kernel(kept, tmp_path):
    with kept.store.lease("three") as lease:
        with lease.view() as view:
            packed = dump(view)
        lowers = lease.lowerdirs()
        inodes = [os.stat(lower).st_ino for lower in lowers]
        with overlay(tmp_path, [Path(each) for each in (*lowers, kept.base)]) as point:
            through = dump_directory(point)
        assert through == packed
        assert [os.stat(lower).st_ino for lower in lease.lowerdirs()] == inodes
    assert os.listdir(kept.store.place.staging) == []
    assert verify(kept.store).damages == []


def test_they_merge_like_others(kept):
    remove(kept.store, "one")
    remove(kept.store, "two")
    assert kept.shows("three") == EXPECTED["three"]
    (layer,) = kept.store.snapshot("three").chain
    assert kept.store.layers() == [layer]
    settle(kept.store, "three")
    assert verify(kept.store).damages == []


def test_damage_at_first_read_is_told(kept):
    layer = kept.store.snapshot("one").chain[0]
    path = kept.root / "layers" / layer / "pack"
    data = bytearray(path.read_bytes())
    at = data.index(b"1")
    failures = 0
    for position in range(at, len(data), 23):
        flipped = bytearray(data)
        flipped[position] ^= 4
        path.write_bytes(bytes(flipped))
        for call in (lambda: kept.shows("one"), lambda: unpacked(kept, "one")):
            message = complaint(call)
            failures += message is not None
            assert message is None or str(path) in message
        assert not (path.parent / "tree").exists() or unpacked(kept, "one")
        subprocess.run(["rm", "-rf", path.parent / "tree", path.parent / "manifest"], check=True)
        assert verify(kept.store, ["one"]).damaged == ["one"]
    assert failures > 3
    assert os.listdir(kept.store.place.staging) == []
    path.write_bytes(data)
    assert kept.shows("three") == EXPECTED["three"]


def complaint(call) -> str | None:
    try:
        call()
    except Damaged as error:
        return error.message
    return None


def unpacked(world: World, name: str) -> list[str]:
    with world.store.lease(name) as lease:
        return lease.lowerdirs()


def test_a_damaged_directory_is_made_anew(kept):
    (tree,) = unpacked(kept, "one")
    stat = os.stat(f"{tree}/a")
    Path(tree, "a").write_text("7")
    os.utime(f"{tree}/a", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with kept.store.lease("one"):
        assert verify(kept.store).damaged == ["one", "three", "two"]
        assert os.path.isdir(tree)
    assert verify(kept.store).damages
    assert not os.path.isdir(tree)
    assert verify(kept.store).damages == []
    assert unpacked(kept, "one") == [tree]
    assert Path(tree, "a").read_text() == "1"


def test_a_missing_archive(kept):
    layer = kept.store.snapshot("one").chain[0]
    os.unlink(kept.root / "layers" / layer / "pack")
    for call in (lambda: kept.shows("one"), lambda: unpacked(kept, "one")):
        with pytest.raises(Damaged):
            call()
    assert verify(kept.store).damaged == ["one", "three", "two"]


def test_holes_stay_holes(world):
    """A tebibyte that is one block on disk is one block when it is unpacked."""
    upper = Path(world.upper({}))
    with open(upper / "sparse", "wb") as file:
        file.seek(1 << 40)
        file.write(b"end")
    path = str(world.place / "packed")
    with OutFile(path) as out, HostTree(upper, marks=True) as view:
        with ArchiveWriter(out.fd) as writer:
            pack_view(view, writer)
            writer.finish()
        out.commit()
    with PackLayer("sparse", path) as view:
        write_tree(view, str(world.place / "target"))
    found = os.stat(world.place / "target" / "sparse")
    assert found.st_size == (1 << 40) + 3
    assert found.st_blocks * 512 < 1 << 20
    with open(world.place / "target" / "sparse", "rb") as file:
        assert file.read(4096) == bytes(4096)
        file.seek(1 << 40)
        assert file.read() == b"end"


def test_paths_longer_than_the_kernel_takes_are_unpacked_and_merged(world):
    name = "n" * 200
    path = "/".join([name] * 25)
    upper = world.upper({})
    script = f"cd {upper}; for i in $(seq 25); do mkdir {name}; cd -P {name}; done; echo deep > f"
    subprocess.run(["sh", "-ec", script], check=True)
    packed = str(world.place / "packed")
    with OutFile(packed) as out, HostTree(upper, marks=True) as view:
        with ArchiveWriter(out.fd) as writer:
            pack_view(view, writer)
            writer.finish()
        out.commit()
    world.store.save_packed("one", packed)
    world.save("two", {"x": "x"}, on="one")
    remove(world.store, "one")
    assert len(world.store.snapshot("two").chain) == 1
    deep = os.fsencode(path) + b"/f"
    with world.store.lease("two") as lease, lease.view() as view, view.open(deep) as file:
        assert file.read() == b"deep\n"
    remove(world.store, "two")
    # pytest's own removal does not manage such a path.
    subprocess.run(["rm", "-rf", upper], check=True)
