"""Attach and detach while mounted, seen with plain system calls."""

import errno
import os
import subprocess

import pytest

from vfsd.exitcodes import ExitCode

pytestmark = pytest.mark.fuse


def test_an_attached_provider_is_seen_at_once(mounted):
    assert os.listdir(mounted.mount) == []
    assert not (mounted.mount / "scratch").exists()  # the kernel now knows that it is not there
    mounted.vfsd("attach", "memory", mounted.mount / "scratch")
    assert os.listdir(mounted.mount) == ["scratch"]
    (mounted.mount / "scratch/x").write_text("in scratch")
    mounted.vfsd("detach", mounted.mount / "scratch")
    assert os.listdir(mounted.mount / "scratch") == []


def test_attach_points_nest(mounted):
    mounted.vfsd("attach", "memory", mounted.mount / "a/b")
    mounted.vfsd("attach", "memory", mounted.mount / "a/b/c/d")
    (mounted.mount / "a/b/c/d/deep").touch()
    assert os.listdir(mounted.mount / "a/b/c") == ["d"]
    said = mounted.refused(ExitCode.REFUSED, "detach", mounted.mount / "a/b")
    assert "a/b" in said
    mounted.vfsd("detach", mounted.mount / "a/b/c/d")
    mounted.vfsd("detach", mounted.mount / "a/b")
    assert os.listdir(mounted.mount / "a/b") == []


def test_crossing_is_exdev(mounted):
    root = mounted.mount
    mounted.vfsd("attach", "memory", root / "other")
    (root / "f").touch()
    (root / "other/g").touch()
    for act in (
        lambda: os.rename(root / "f", root / "other/f"),
        lambda: os.rename(root / "other/g", root / "g"),
        lambda: os.link(root / "f", root / "other/f"),
    ):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.EXDEV
    subprocess.run(["mv", root / "f", root / "other/f"], check=True)  # mv copies, then
    assert sorted(os.listdir(root / "other")) == ["f", "g"]


def test_attach_points_and_the_way_to_them_are_busy(mounted):
    root = mounted.mount
    mounted.vfsd("attach", "memory", root / "way/point")
    for act in (
        lambda: os.rmdir(root / "way/point"),
        lambda: os.rmdir(root / "way"),
        lambda: os.rename(root / "way/point", root / "elsewhere"),
        lambda: os.rename(root / "way", root / "elsewhere"),
    ):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.EBUSY
    (root / "dir").mkdir()
    with pytest.raises(OSError) as caught:
        os.rename(root / "dir", root / "way")
    assert caught.value.errno == errno.EBUSY
    mounted.vfsd("detach", root / "way/point")
    os.rename(root / "way", root / "elsewhere")


def test_attaching_over_files_hides_them_and_says_so(mounted):
    root = mounted.mount
    (root / "d").mkdir()
    (root / "d/below").write_text("below")
    assert (root / "d/below").read_text() == "below"
    done = mounted.vfsd("attach", "memory", root / "d")
    assert "hid" in done.stdout + done.stderr
    assert not (root / "d/below").exists()
    mounted.vfsd("detach", root / "d")
    assert (root / "d/below").read_text() == "below"


def test_a_file_stays_usable_through_a_lazy_detach(mounted):
    root = mounted.mount
    mounted.vfsd("attach", "memory", root / "m")
    with open(root / "m/f", "w+") as held:
        held.write("first")
        held.flush()
        said = mounted.refused(ExitCode.REFUSED, "detach", root / "m")
        assert "--lazy" in said
        mounted.vfsd("detach", "--lazy", root / "m")
        assert os.listdir(root / "m") == []
        held.write(", second")
        held.flush()
        held.seek(0)
        assert held.read() == "first, second"


def test_a_read_only_attachment_cannot_be_changed_in_any_way(mounted):
    root = mounted.mount
    mounted.vfsd("attach", "memory", root / "ro", "--read-only")
    for act in (
        lambda: (root / "ro/f").touch(),
        lambda: (root / "ro/d").mkdir(),
        lambda: os.symlink("x", root / "ro/l"),
        lambda: os.mknod(root / "ro/n"),
        lambda: os.chmod(root / "ro", 0o700),
        lambda: os.setxattr(root / "ro", "user.a", b""),
        lambda: os.utime(root / "ro"),
    ):
        with pytest.raises(OSError) as caught:
            act()
        assert caught.value.errno == errno.EROFS


def test_inode_numbers_agree_and_differ_between_attachments(mounted):
    root = mounted.mount
    mounted.vfsd("attach", "memory", root / "m")
    for directory in (root, root / "m"):
        (directory / "f").touch()
    for directory in (root, root / "m"):
        with open(directory / "f") as file:
            fstat = os.fstat(file.fileno()).st_ino
        listed = {entry.name: entry.inode() for entry in os.scandir(directory)}
        assert fstat == os.stat(directory / "f").st_ino == listed["f"]
    assert os.stat(root / "f").st_ino != os.stat(root / "m/f").st_ino
    assert {e.name: e.inode() for e in os.scandir(root)}["m"] == os.stat(root / "m").st_ino


def test_status_lists_what_is_attached(mounted):
    mounted.vfsd("attach", "memory", mounted.mount / "m", "--read-only")
    status = mounted.status()
    prefixes = {each["prefix"]: each for each in status["attachments"]}
    assert set(prefixes) == {"", "m"}
    assert prefixes["m"]["read_only"]
    assert not prefixes[""]["read_only"]


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("attach", "nosuch", "mount/x"), ExitCode.NOT_FOUND, "nosuch"),
        (("attach", "memory", "mount"), ExitCode.USAGE, "mount"),
        (("attach", "memory", "elsewhere"), ExitCode.NOT_MOUNTED, "elsewhere"),
        (("attach", "memory", "mount/file"), ExitCode.FAILED, "ot a directory"),
        (("attach", "memory", "mount/" + "n" * 300), ExitCode.FAILED, "too long"),
        (("attach", "memory", "mount/x", "-o", "size=0x"), ExitCode.USAGE, "size"),
        (("detach", "mount/file"), ExitCode.NOT_FOUND, "file"),
        (("detach", "elsewhere"), ExitCode.NOT_MOUNTED, "elsewhere"),
    ],
)
def test_bad_arguments_give_one_sentence_and_change_nothing(mounted, arguments, code, word):
    (mounted.mount / "file").touch()
    assert word in mounted.refused(code, *arguments)
    assert os.listdir(mounted.mount) == ["file"]


def test_an_absolute_link_into_the_mount_is_followed(mounted):
    source = mounted.root / "source"
    source.mkdir()
    (source / "file").write_text("found")
    (source / "inside").symlink_to(mounted.mount / "app/file")
    (source / "outside").symlink_to("/etc/passwd")
    mounted.vfsd("attach", source, mounted.mount / "app")
    assert (mounted.mount / "app/inside").read_text() == "found"
    with pytest.raises(PermissionError):
        (mounted.mount / "app/outside").read_text()


CLOSING = """
    import os
    import stat
    import trio
    from vfsd.provider import PathProvider, Stat, Traits

    class Provided(PathProvider):
        @classmethod
        async def from_options(cls, source, options):
            return cls()

        @property
        def traits(self):
            return Traits(writable=False)

        async def stat(self, path):
            return Stat(stat.S_IFDIR | 0o755, 2, 0, 0, 0, 0, 0, 0, 0, 0)

        async def readdir_path(self, path):
            return []

        async def open_path(self, path, flags, caller):
            raise AssertionError("there is no file")

        async def aclose(self):
            for _ in range(100):
                await trio.sleep(0.001)
            open(os.environ["CLOSED"], "w").close()
"""


def test_what_a_provider_held_is_free_once_it_is_detached(place, third_party):
    closed = place.root / "closed"
    place.environment["CLOSED"] = str(closed)
    third_party("closing", CLOSING)
    place.vfsd("mount", place.mount)
    place.vfsd("attach", "closing", place.mount / "at")
    assert not closed.exists()
    place.vfsd("detach", place.mount / "at")
    assert closed.exists()
    place.vfsd("unmount", place.mount)
