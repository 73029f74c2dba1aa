"""Archives and images that go out come back the same, and other tools read and write them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.snapshots.randomtree import fill
from tests.unit.snapshots.test_apply import SEEDS
from tests.unit.snapshots.treedump import dump, dump_directory
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.changes import compare
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.layertar import LayerTar, whole_tree
from vfsd.snapshots.ociexport import Layout, write_layout_tar
from vfsd.snapshots.ociimport import Import
from vfsd.snapshots.store import Store
from vfsd.snapshots.tarstream import Compression, Compressor

pytestmark = pytest.mark.root


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "store"))


def tree_tar(root: Path) -> bytes:
    """Return the archive of a whole directory."""
    written: list[bytes] = []
    with HostTree(root) as view:
        LayerTar(view, written.append).run(whole_tree(view))
    return b"".join(written)


def changes_tar(old: Path, new: Path) -> bytes:
    written: list[bytes] = []
    with HostTree(old) as before, HostTree(new) as view:
        LayerTar(view, written.append).run(compare(before, view))
    return b"".join(written)


def imported(store: Store, source: Path, name: str = "it", base: Path | None = None) -> dict:
    """Import a file and return what the snapshot shows."""
    work = Import(store)
    work.run(str(source), name, base=None if base is None else str(base))
    assert (work.left_out, work.incomplete) == ([], [])
    with store.lease(name) as lease, lease.view() as view:
        return dump(view)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tree_comes_back_the_same(tmp_path, store, seed):
    fill(tmp_path / "a", random.Random(seed), owners=True)
    (tmp_path / "a.tar").write_bytes(tree_tar(tmp_path / "a"))
    assert imported(store, tmp_path / "a.tar") == dump_directory(tmp_path / "a")


@pytest.mark.parametrize("seed", SEEDS)
def test_changes_over_a_base_come_back_the_same(tmp_path, store, seed):
    rng = random.Random(seed)
    fill(tmp_path / "a", rng, owners=True)
    fill(tmp_path / "b", rng, owners=True)
    (tmp_path / "changes.tar").write_bytes(changes_tar(tmp_path / "a", tmp_path / "b"))
    found = imported(store, tmp_path / "changes.tar", base=tmp_path / "a")
    assert without_links(found) == without_links(dump_directory(tmp_path / "b"))


def without_links(files: dict) -> dict:
    """A layer's file is not one file with one of the layer below, as it was before."""
    return {path: state[:7] for path, state in files.items()}


@pytest.mark.parametrize("compression", list(Compression))
def test_an_image_of_several_layers_comes_back_the_same(tmp_path, store, compression):
    rng = random.Random(compression.value)
    for name in ("one", "two", "three"):
        fill(tmp_path / name, rng, owners=True)
    views = [HostTree(tmp_path / name) for name in ("one", "two", "three")]
    (tmp_path / "image").mkdir()
    layout = Layout(tmp_path / "image", compression)
    layout.add_trees(views, ["first", "second", "third"])
    layout.finish("name")
    for view in views:
        view.close()
    found = imported(store, tmp_path / "image")
    assert found == dump_directory(tmp_path / "three")
    with open(tmp_path / "image.tar.gz", "wb") as file:
        outer = Compressor(file.write, Compression.GZIP)
        write_layout_tar(tmp_path / "image", outer.write)
        outer.finish()
    assert imported(store, tmp_path / "image.tar.gz", "packed") == found
    blobs = tmp_path / "image" / "blobs" / "sha256"
    for blob in blobs.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_the_same_tree_gives_the_same_bytes(tmp_path):
    fill(tmp_path / "a", random.Random(1), owners=True)
    subprocess.run(["cp", "-a", tmp_path / "a", tmp_path / "b"], check=True)
    assert tree_tar(tmp_path / "a") == tree_tar(tmp_path / "b")
    for way in ("always", "never"):
        target = tmp_path / way
        subprocess.run(["cp", "-a", f"--sparse={way}", tmp_path / "a", target], check=True)
        assert tree_tar(target) == tree_tar(tmp_path / "a")


def _gnu_tar(archive: Path, target: Path) -> None:
    subprocess.run(
        ["tar", "-x", "--xattrs", "--xattrs-include=*", "--same-owner", "-p", "-f", archive],
        cwd=target,
        check=True,
        stderr=subprocess.DEVNULL,
    )


def _bsdtar(archive: Path, target: Path) -> None:
    subprocess.run(
        ["bsdtar", "-x", "-p", "--xattrs", "--acls", "--same-owner", "-f", archive],
        cwd=target,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )


@pytest.mark.parametrize("unpack", [_gnu_tar, _bsdtar])
@pytest.mark.parametrize("seed", range(3))
def test_other_tools_unpack_what_we_write(tmp_path, unpack: Callable, seed):
    fill(tmp_path / "a", random.Random(seed), owners=True)
    (tmp_path / "a.tar").write_bytes(tree_tar(tmp_path / "a"))
    (tmp_path / "out").mkdir()
    # bsdtar leaves the times of the directory that it unpacks into.
    found, expected = tmp_path / "out", tmp_path / "a"
    unpack(tmp_path / "a.tar", found)
    os.utime(found, ns=(0, expected.stat().st_mtime_ns))
    assert dump_directory(found) == dump_directory(expected)


def test_python_reads_what_we_write(tmp_path):
    fill(tmp_path / "a", random.Random(4), owners=True)
    (tmp_path / "a.tar").write_bytes(tree_tar(tmp_path / "a"))
    expected = dump_directory(tmp_path / "a")
    with tarfile.open(tmp_path / "a.tar") as archive:
        members = {os.fsencode(each.name).strip(b"./"): each for each in archive}
        for path, state in expected.items():
            member = members[path.strip(b"./")]
            assert member.mode == state[0] & 0o7777
            if member.isreg():
                file = archive.extractfile(member)
                assert file is not None
                assert file.read() == state[5]
    assert len(members) == len(expected)


@pytest.mark.parametrize(
    "options",
    [
        ["tar", "--format=pax", "--xattrs", "--sparse"],
        ["tar", "--format=pax", "--xattrs", "--sparse", "--sparse-version=0.0"],
        ["tar", "--format=pax", "--xattrs", "--sparse", "--sparse-version=0.1"],
        ["tar", "--format=gnu", "--sparse"],
        ["tar", "--format=ustar"],
        ["tar", "--format=v7"],
        ["tar", "--format=pax", "--xattrs", "-z"],
        ["tar", "--format=pax", "--xattrs", "-J"],
        ["tar", "--format=pax", "--xattrs", "-j"],
        ["tar", "--format=pax", "--xattrs", "--zstd"],
        ["bsdtar", "--format=pax", "--xattrs"],
    ],
    ids=" ".join,
)
def test_what_other_tools_write_is_imported(tmp_path, store, options):
    is_whole = "--format=pax" in options
    fill(tmp_path / "a", random.Random(9), owners=True)
    if is_whole:
        (tmp_path / "a" / ("long" * 40)).mkdir()
        (tmp_path / "a" / ("long" * 40) / ("name" * 60)).write_text("x")
        os.symlink("target" * 80, tmp_path / "a" / "longlink")
        os.chown(tmp_path / "a" / "longlink", 4_000_000_000, 3_000_000, follow_symlinks=False)
    for each in list((tmp_path / "a").rglob("*")):
        # GNU tar makes two of a FIFO with two names, and v7 has none at all.
        found = each.lstat()
        if stat.S_ISFIFO(found.st_mode) and (found.st_nlink > 1 or "v7" in options[1]):
            each.unlink()
    command = [options[0], "-c", *options[1:], "-f", tmp_path / "a.tar", "-C", tmp_path / "a", "."]
    subprocess.run(command, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    files, expected = imported(store, tmp_path / "a.tar"), dump_directory(tmp_path / "a")
    if not is_whole:
        files, expected = (
            {path: _rough(state) for path, state in each.items()} for each in (files, expected)
        )
    assert files == expected


def _rough(state: tuple) -> tuple:
    """What the older formats keep: whole seconds, no attributes."""
    return (*state[:4], state[4] // 10**9, state[5], *state[7:])


def test_what_docker_save_writes_is_imported(tmp_path, store):
    rng = random.Random(3)
    fill(tmp_path / "a", rng, owners=True)
    fill(tmp_path / "b", rng, owners=True)
    layers = [tree_tar(tmp_path / "a"), changes_tar(tmp_path / "a", tmp_path / "b")]
    place = tmp_path / "saved"
    names, ids = [], []
    for data in layers:
        ids.append("sha256:" + hashlib.sha256(data).hexdigest())
        folder = place / hashlib.sha256(data + b"id").hexdigest()
        folder.mkdir(parents=True)
        (folder / "layer.tar").write_bytes(data)
        names.append(f"{folder.name}/layer.tar")
    # As docker writes a layer that an image has twice: a link to the first.
    again = place / ("0" * 64)
    again.mkdir()
    os.symlink(f"../{names[0]}", again / "layer.tar")
    names[0] = f"{again.name}/layer.tar"
    config = {"rootfs": {"type": "layers", "diff_ids": ids}}
    (place / "config.json").write_text(json.dumps(config))
    manifest = [{"Config": "config.json", "RepoTags": ["a:latest"], "Layers": names}]
    (place / "manifest.json").write_text(json.dumps(manifest))
    archive = tmp_path / "saved.tar"
    subprocess.run(["tar", "-cf", archive, "-C", place, *os.listdir(place)], check=True)
    assert without_links(imported(store, archive)) == without_links(dump_directory(tmp_path / "b"))
    (place / names[1]).write_bytes(layers[1] + bytes(512))
    subprocess.run(["tar", "-cf", archive, "-C", place, *os.listdir(place)], check=True)
    with pytest.raises(UserError, match="digest") as refused:
        imported(store, archive, "damaged")
    assert refused.value.exit_code == ExitCode.DAMAGED
    assert store.names() == ["it"]


def test_a_whiteout_hides_the_layer_below_wherever_it_stands(tmp_path, store):
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for name in ("d/old", "d/both", "e/old", "f", "g/x"):
        (lower / name).parent.mkdir(parents=True, exist_ok=True)
        (lower / name).write_text("lower")
    for name in ("d/new", "d/both", "e/new", "g/y"):
        (upper / name).parent.mkdir(parents=True, exist_ok=True)
        (upper / name).write_text("upper")
    (upper / ".wh.f").touch()
    (upper / "d" / ".wh..wh..opq").touch()
    (upper / ".wh.g").touch()
    (upper / "e" / ".wh.new").touch()
    (upper / ".wh..wh.plnk").touch()
    for order in ([], ["--sort=name"]):
        layout = two_layers(tmp_path, lower, upper, order)
        found = imported(store, layout, f"order{len(order)}")
        files = {path for path, state in found.items() if state[3] is not None}
        assert files == {b"d/new", b"d/both", b"e/old", b"e/new", b"g/y"}
        assert found[b"d/both"][5] == b"upper"


def two_layers(place: Path, lower: Path, upper: Path, options: list[str]) -> Path:
    """Make an image of two directories by GNU tar."""
    root = place / "image"
    shutil.rmtree(root, ignore_errors=True)
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    plain = []
    for folder, names in ((lower, ["."]), (upper, sorted(os.listdir(upper), reverse=True))):
        command = ["tar", "-c", *options, "-C", folder, *names]
        plain.append(subprocess.run(command, check=True, capture_output=True).stdout)
    ids = ["sha256:" + hashlib.sha256(data).hexdigest() for data in plain]
    layers = [put(gzip.compress(data)) for data in plain]
    config = put(json.dumps({"rootfs": {"type": "layers", "diff_ids": ids}}).encode())
    manifest = put(json.dumps({"config": config, "layers": layers}).encode())
    (root / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return root


def test_an_upper_directory_as_it_stood_is_imported(tmp_path, store):
    """Its whiteouts are devices, and its opaque directories have an attribute."""
    base, upper = tmp_path / "base", tmp_path / "upper"
    for name in ("gone", "d/old"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("base")
    (upper / "d").mkdir(parents=True)
    (upper / "d" / "new").write_text("upper")
    os.setxattr(upper / "d", "user.overlay.opaque", b"y")
    os.mknod(upper / "gone", 0o20000, 0)
    command = ["tar", "-c", "--xattrs", "-f", tmp_path / "u.tar", "-C", upper, "."]
    subprocess.run(command, check=True)
    found = imported(store, tmp_path / "u.tar", base=base)
    assert set(found) == {b"", b"d", b"d/new"}


def test_a_base_keeps_the_attributes_of_directories_that_the_archive_does_not_have(tmp_path, store):
    base, upper = tmp_path / "base", tmp_path / "upper"
    (base / "d" / "e").mkdir(parents=True)
    (base / "d").chmod(0o2700)
    os.chown(base / "d", 5, 6)
    (upper / "d" / "e").mkdir(parents=True)
    (upper / "d" / "e" / "file").write_text("x")
    command = ["tar", "-cf", tmp_path / "u.tar", "-C", upper, "d/e/file"]
    subprocess.run(command, check=True)
    found, expected = imported(store, tmp_path / "u.tar", base=base), dump_directory(base)
    for path in (b"", b"d"):
        assert found[path][:5] == expected[path][:5]


def test_names_that_are_whiteouts_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".wh.odd").touch()
    with pytest.raises(UserError, match=r"\.wh\.odd"):
        tree_tar(tmp_path / "a")
