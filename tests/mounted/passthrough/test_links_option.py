"""`vfsd attach --links`: what is done with symlinks that lead out, as a person says it."""

import errno
import os

import pytest

from tests.mounted.passthrough.attached import eventually

pytestmark = [pytest.mark.fuse, pytest.mark.root]


@pytest.fixture
def mount(vfsd_mount):
    return vfsd_mount()


@pytest.fixture
def attach(mount):
    names = []

    def attach(source, name, *options):
        done = mount.vfsd("attach", str(source), str(mount.path / name), *options)
        if done.returncode == 0:
            names.append(name)
        return done, mount.path / name

    yield attach
    for name in names:
        assert mount.vfsd("detach", str(mount.path / name)).returncode == 0


@pytest.fixture
def tree(tmp_path):
    root, store = tmp_path / "root", tmp_path / "store"
    root.mkdir()
    store.mkdir()
    (store / "package").write_bytes(b"from the store")
    (root / "link").symlink_to(store / "package")
    (root / "tool").symlink_to("/usr/bin/env")
    return root, store


def test_deny_is_the_default(attach, tree):
    for name, options in (("one", ()), ("two", ("--links", "deny"))):
        _, path = attach(tree[0], name, *options)
        with pytest.raises(PermissionError):
            (path / "link").read_bytes()
        assert sorted(os.listdir(path)) == ["link", "tool"]


def test_hide(attach, tree):
    _, path = attach(tree[0], "app", "--links", "hide")
    assert os.listdir(path) == []
    with pytest.raises(FileNotFoundError):
        os.lstat(path / "link")


def test_map_to_another_attachment_and_to_the_host(attach, tree):
    root, store = tree
    _, store_path = attach(store, "store", "--read-only")
    _, path = attach(root, "app", "--links", f"map={store}:{store_path}:/usr:/usr")
    assert os.readlink(path / "link") == f"{store_path}/package"
    assert (path / "link").read_bytes() == b"from the store"
    assert os.readlink(path / "tool") == "/usr/bin/env"
    with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
        (path / "link").write_bytes(b"x")


def test_prefix_alone_means_what_is_attached_there(attach, tree):
    root, store = tree
    _, store_path = attach(store, "store")
    _, path = attach(root, "app", "--links", f"map={store_path}")
    assert (path / "link").read_bytes() == b"from the store"
    with pytest.raises(PermissionError):
        os.readlink(path / "tool")


def test_map_of_a_directory_in_the_mount_does_not_wait_for_itself(attach, tree):
    root, store = tree
    _, store_path = attach(store, "store")
    (store / "new").mkdir()
    done, path = attach(root, "app", "--links", f"map={store_path}/new/x:/somewhere")
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(path)) == ["link", "tool"]


def test_keep(attach, tree):
    root, store = tree
    _, path = attach(root, "app", "--links", "keep")
    assert os.readlink(path / "link") == str(store / "package")
    assert (path / "link").read_bytes() == b"from the store"
    assert os.path.realpath(path / "tool") == os.path.realpath("/usr/bin/env")


def test_a_refused_link_says_what_would_show_it(attach, tree, mount):
    _, path = attach(tree[0], "app")
    done = mount.vfsd("cat", str(path / "link"))
    assert done.returncode == 7
    assert "--links keep" in done.stderr
    assert "--links map=" in done.stderr
    assert str(tree[1]) not in done.stderr


@pytest.mark.parametrize("by", ["the mount", "the host"])
def test_a_link_follows_its_directory(attach, tree, by):
    """The kernel keeps what a link showed; it shows something else from another depth."""
    root, _ = tree
    (root / "a/b").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    (root / "a/b/absolute").symlink_to(root / "file")
    (root / "a/b/relative").symlink_to("../../file")
    _, path = attach(root, "app")
    for name in ("absolute", "relative"):
        assert os.readlink(path / "a/b" / name) == "../../file"
        assert (path / "a/b" / name).read_bytes() == b"inside"
    place = path if by == "the mount" else root
    os.rename(place / "a/b", place / "c")
    eventually(lambda: (path / "c/absolute").is_symlink(), "the rename")
    eventually(
        lambda: os.readlink(path / "c/absolute") == "../file", "the target from its new place"
    )
    assert (path / "c/absolute").read_bytes() == b"inside"
    with pytest.raises(PermissionError):
        os.readlink(path / "c/relative")


def test_another_word_is_refused(attach, tree):
    done, path = attach(tree[0], "app", "--links", "sometimes")
    assert done.returncode != 0
    assert "links=sometimes" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not path.exists()
