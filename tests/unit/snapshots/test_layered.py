"""A chain of layers shows what the kernel's overlayfs shows of the same layers."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
from pathlib import Path

import pytest

from tests.unit.snapshots.overlaymount import overlay
from tests.unit.snapshots.treedump import dump, dump_directory
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.layered import LayeredView

pytestmark = pytest.mark.root


def make(root: Path, files: dict[str, object]) -> Path:
    """Fill a layer: str and bytes are content, see `_make` for the rest."""
    root.mkdir()
    for name, what in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _make(root, path, what)
    return root


def _make(root: Path, path: Path, what: object) -> None:
    if isinstance(what, str):
        path.write_text(what)
    elif what == ("whiteout",):
        os.mknod(path, stat.S_IFCHR, 0)
    elif what == ("file whiteout",):
        path.write_bytes(b"")
        os.setxattr(path, "user.overlay.whiteout", b"")
        os.setxattr(path.parent, "user.overlay.opaque", b"x")
    elif what == ("opaque",):
        path.mkdir(exist_ok=True)
        os.setxattr(path, "user.overlay.opaque", b"y")
    elif what == ("directory",):
        path.mkdir(exist_ok=True)
    elif isinstance(what, tuple) and what[0] == "link":
        os.link(root / what[1], path)
    elif isinstance(what, tuple) and what[0] == "symlink":
        os.symlink(what[1], path)


BASE = {
    "kept": "base",
    "changed": "base",
    "gone": "base",
    "dir/one": "base one",
    "dir/two": "base two",
    "dir/deep/x": "base x",
    "replaced/by-a-file": "base",
    "file-to-dir": "base",
    "opaque/hidden": "base",
    "untouched/a/b": "base",
    "twice": "base",
    "linked-1": "one file",
    "linked-2": ("link", "linked-1"),
    "linked-3": ("link", "linked-1"),
    "symlink": ("symlink", "kept"),
    "symlink-dir": ("symlink", "dir"),
}
MIDDLE = {
    "changed": "middle",
    "gone": ("whiteout",),
    "dir/one": ("whiteout",),
    "dir/three": "middle three",
    "replaced": "now a file",
    "file-to-dir/inner": "middle",
    "opaque": ("opaque",),
    "opaque/shown": "middle",
    "only-here/a/b": "middle",
    "twice": ("whiteout",),
    "xdir/filler": "middle",
    "new-1": "new file",
    "new-2": ("link", "new-1"),
    "linked-1": "broken off",
}
TOP = {
    "dir/two": ("whiteout",),
    "dir/one": "came back",
    "dir/deep": ("whiteout",),
    "twice/again": "top",
    "only-here/a/c": "top",
    "opaque/more": "top",
    "untouched/a/b": ("file whiteout",),
    "xdir/filler": ("file whiteout",),
    "xdir/real-empty": "",
    "symlink-dir/x": "a directory in place of a symlink",
    "kept": ("symlink", "nowhere"),
}


@pytest.mark.parametrize(
    "count", [1, 2, 3], ids=["base alone", "one layer over it", "two layers over it"]
)
def test_the_kernel_shows_the_same(tmp_path, count):
    trees = [
        make(tmp_path / "top", TOP),
        make(tmp_path / "middle", MIDDLE),
        make(tmp_path / "base", BASE),
    ][3 - count :]
    with overlay(tmp_path, [*trees, make(tmp_path / "none", {})]) as point:
        expected = dump_directory(point)
    with LayeredView.of(trees[:-1], trees[-1]) as view:
        shown = dump(view)
    # The root's attributes are the top one's, in both.
    assert shown == expected


def test_a_complete_chain_needs_no_base(tmp_path):
    trees = [make(tmp_path / "top", TOP), make(tmp_path / "bottom", BASE)]
    with overlay(tmp_path, trees) as point, LayeredView.of(trees) as view:
        assert dump(view) == dump_directory(point)


def test_what_the_kernel_writes_is_read_as_it_shows_it(tmp_path):
    base = make(tmp_path / "base", BASE)
    upper = make(tmp_path / "upper", {})
    with overlay(tmp_path, [base], upper) as point:
        rng = random.Random(7)
        for step in range(400):
            _change(point, rng, step)
        expected = dump_directory(point)
    with LayeredView.of([upper], base) as view:
        shown = dump(view)
    # A file that was copied up alone has left its hard links, in the kernel as here; the kernel
    # keeps links made inside the mount.
    assert shown == expected


def _change(point: Path, rng: random.Random, step: int) -> None:
    everything = sorted(point.rglob("*"), key=str)
    folders = [point, *(each for each in everything if each.is_dir() and not each.is_symlink())]
    files = [each for each in everything if each.is_symlink() or not each.is_dir()]
    target = rng.choice(folders) / f"n{rng.randrange(6)}"
    action = rng.choice(["write", "mkdir", "remove", "remove", "link", "rmtree", "chmod", "back"])
    if action == "write" and not target.is_dir():
        target.write_text(f"step {step}")
    elif action == "mkdir" and not os.path.lexists(target):
        target.mkdir()
    elif action == "remove" and files:
        os.unlink(rng.choice(files))
    elif action == "link" and files and not os.path.lexists(target):
        os.link(rng.choice(files), target, follow_symlinks=False)
    elif action == "chmod":
        os.chmod(rng.choice(folders), rng.choice([0o700, 0o755, 0o2775]))
    elif action == "rmtree" and len(folders) > 6:
        _empty(rng.choice(folders[1:]))
    elif action == "back":
        for name in ("dir", "opaque"):
            if not os.path.lexists(point / name):
                (point / name).mkdir()


def _empty(folder: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            _empty(each)
        else:
            each.unlink()
    folder.rmdir()


def test_the_spelling_of_roots_mounts_is_read(tmp_path):
    base = make(tmp_path / "base", {"d/old": "base", "gone": "base"})
    layer = make(tmp_path / "layer", {"d/new": "layer"})
    os.setxattr(layer / "d", "trusted.overlay.opaque", b"y")
    with LayeredView.of([layer], base) as view:
        assert set(view.scan(b"d")) == {b"new"}
        assert view.xattrs(b"d") == {}


def test_subtrees_of_one_tree_keep_their_source(tmp_path):
    base = make(tmp_path / "base", BASE)
    middle = make(tmp_path / "middle", MIDDLE)
    top = make(tmp_path / "top", TOP)
    with (
        HostTree(base) as host,
        LayeredView.of([middle], base) as older,
        LayeredView.of([top, middle], base) as newer,
    ):
        untouched = older.item(b"untouched").source
        assert untouched == host.item(b"untouched").source is not None
        assert older.scan(b"")[b"untouched"].source == untouched
        assert newer.item(b"untouched").source is None
        assert older.item(b"new-1").source == newer.item(b"new-1").source is not None
        assert older.item(b"only-here").source is not None
        assert newer.item(b"only-here").source is None
        assert older.item(b"changed").source != host.item(b"changed").source
        # Opaque, and a directory over a file: nothing of the base shows.
        assert older.item(b"opaque").source is not None
        assert older.item(b"file-to-dir").source is not None
        assert older.item(b"").source is None


def test_a_layers_own_subtree_and_a_host_directory_are_told_apart(tmp_path):
    layer = make(tmp_path / "layer", {"d/gone": ("whiteout",), "d/x": "x"})
    with HostTree(layer) as host, LayeredView.of([layer]) as view:
        assert set(host.scan(b"d")) == {b"gone", b"x"}
        assert set(view.scan(b"d")) == {b"x"}
        assert host.item(b"d").source != view.item(b"d").source


def test_a_redirect_is_refused_and_not_misread(tmp_path):
    layer = make(tmp_path / "layer", {"moved/new": "x", "data": "y"})
    os.setxattr(layer / "moved", "user.overlay.redirect", b"/elsewhere")
    os.setxattr(layer / "data", "user.overlay.metacopy", b"")
    with LayeredView.of([layer]) as view:
        for call, path in ((view.item, b"moved"), (view.scan, b""), (view.open, b"data")):
            with pytest.raises(PermissionError):
                call(path)


def test_a_base_that_changes_is_seen_as_it_is(tmp_path):
    base = make(tmp_path / "base", {"d/a": "1", "e/f": "1"})
    layer = make(tmp_path / "layer", {"d/mine": "layer"})
    with LayeredView.of([layer], base) as view:
        assert set(view.scan(b"d")) == {b"a", b"mine"}
        (base / "d" / "b").write_text("2")
        assert set(view.scan(b"d")) == {b"a", b"b", b"mine"}
        (base / "d" / "a").unlink()
        (base / "d" / "b").unlink()
        (base / "d").rmdir()
        (base / "d").write_text("a file now")
        assert set(view.scan(b"d")) == {b"mine"}
        (base / "e" / "f").unlink()
        (base / "e").rmdir()
        with pytest.raises(FileNotFoundError):
            view.scan(b"e")


def test_errors_are_those_of_the_kernel(tmp_path):
    base = make(tmp_path / "base", BASE)
    layer = make(tmp_path / "layer", MIDDLE)
    with LayeredView.of([layer], base) as view:
        cases = {
            b"gone": errno.ENOENT,
            b"dir/one": errno.ENOENT,
            b"replaced/by-a-file": errno.ENOTDIR,
            b"nowhere/at/all": errno.ENOENT,
            b"opaque/hidden": errno.ENOENT,
        }
        for path, code in cases.items():
            for call in (view.item, view.scan, view.open, view.readlink, view.xattrs):
                with pytest.raises(OSError) as caught:
                    call(path)
                assert caught.value.errno == code, path
        with pytest.raises(NotADirectoryError):
            view.scan(b"kept")
        with pytest.raises(OSError) as caught:
            view.readlink(b"kept")
        assert caught.value.errno == errno.EINVAL


def test_a_deep_tree_is_walked_without_recursion(tmp_path):
    base = make(tmp_path / "base", {})
    layer = make(tmp_path / "layer", {})
    subprocess.run(["mkdir", "-p", f"{base}/" + "/".join("d" * 1500)], check=True)
    path = b"/".join([b"d"] * 1500)
    with LayeredView.of([layer], base) as view:
        assert view.scan(path) == {}
    # pytest's own removal recurses.
    subprocess.run(["rm", "-rf", base], check=True)


def test_no_layer_and_no_base_is_no_tree():
    with pytest.raises(OSError):
        LayeredView([])


def test_a_layer_that_is_missing_leaves_nothing_open(tmp_path):
    layer = make(tmp_path / "layer", {})
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        LayeredView.of([layer, tmp_path / "none"])
    assert os.listdir("/proc/self/fd") == before
