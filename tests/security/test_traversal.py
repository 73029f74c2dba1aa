"""Nothing leads out of a passthrough root: names, links, magic links, a root that moves."""

import errno
import os
import stat as stat_module

import pytest

from providers.passthrough import PassthroughProvider
from tests.unit.passthrough.serving import GUARDS, served
from vfsd.provider import SetAttr

SECRET = b"nobody may read this"


@pytest.fixture
def trees(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "dir").mkdir(parents=True)
    (outside / "secret").write_bytes(SECRET)
    (root / "dir/sub").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    return tmp_path


@pytest.fixture(
    params=[
        *((guard, threads, "auto") for guard in GUARDS for threads in ("never", "always")),
        ("openat2", "never", "off"),
    ]
)
def options(request):
    return dict(zip(("guard", "threads", "native"), request.param, strict=True))


BAD_NAMES = {
    b"..": errno.EINVAL,
    b".": errno.EINVAL,
    b"": errno.EINVAL,
    b"/": errno.EINVAL,
    b"../outside/secret": errno.EINVAL,
    b"dir/../../outside/secret": errno.EINVAL,
    b"/etc/passwd": errno.EINVAL,
    b"dir/sub": errno.EINVAL,
    b"file\0": errno.EINVAL,
    b"\0": errno.EINVAL,
    b"x" * 256: errno.ENAMETOOLONG,
}


async def test_names_that_are_not_one_component_are_refused_everywhere(trees, options):
    async with served(trees / "root", **options) as files:
        provider, root, caller = files.provider, files.root, files.caller
        node = await files.node(b"file")
        flags = os.O_RDWR | os.O_CREAT
        for name, code in BAD_NAMES.items():
            for attempt in (
                provider.lookup(root, name),
                provider.create(root, name, 0o644, flags, caller),
                provider.create(root, name, 0o644, flags | os.O_EXCL, caller),
                provider.mknod(root, name, stat_module.S_IFREG | 0o644, 0, caller),
                provider.mkdir(root, name, 0o755, caller),
                provider.symlink(root, name, b"target", caller),
                provider.link(node, root, name),
                provider.unlink(root, name),
                provider.rmdir(root, name),
                provider.rename(root, name, root, b"new", 0),
                provider.rename(root, b"file", root, name, 0),
                provider.rename(root, b"file", root, name, 2),
                provider.lookup_many(root, [b"file", name]),
            ):
                with pytest.raises(OSError, match=r".") as caught:
                    await attempt
                assert caught.value.errno == code, name
    assert sorted(os.listdir(trees / "root")) == ["dir", "file"]
    assert sorted(os.listdir(trees)) == ["outside", "root"]


async def test_odd_names_are_plain_files(trees, options):
    names = [b"new\nline", b"\xff\xfe", b"-rf", b" ", b"..x", b"...", b"x" * 255, b"\\", b"*"]
    async with served(trees / "root", **options) as files:
        for name in names:
            await files.put(name, name)
        assert set(names) <= set(await files.names())
        for name in names:
            assert await files.get(name) == name
            assert (trees / "root" / os.fsdecode(name)).read_bytes() == name
            await files.unlink(name)


async def test_symlinks_are_never_walked_through(trees, options):
    """Even as a node, a symlink to a directory is no directory, wherever it leads."""
    root = trees / "root"
    targets = {
        "absolute": trees / "outside",
        "relative": "../outside",
        "inside": "dir",
        "loop": "loop",
        "chain": "absolute",
        "magic": "/proc/self/root",
        "cwd": "/proc/self/cwd",
        "dots": "dir/../../outside",
    }
    for name, target in targets.items():
        (root / name).symlink_to(target)
    async with served(root, **options) as files:
        provider, caller = files.provider, files.caller
        for name in targets:
            node = await files.node(os.fsencode(name))
            for attempt in (
                provider.lookup(node, b"secret"),
                provider.readdir(node),
                provider.mkdir(node, b"new", 0o755, caller),
                provider.create(node, b"new", 0o644, os.O_RDWR | os.O_CREAT, caller),
                provider.unlink(node, b"secret"),
                provider.rename(node, b"secret", files.root, b"stolen", 0),
                provider.rename(files.root, b"file", node, b"file", 0),
                provider.open(node, os.O_RDONLY, caller),
            ):
                with pytest.raises(OSError, match=r".") as caught:
                    await attempt
                assert caught.value.errno in (errno.ENOTDIR, errno.ELOOP)
            await provider.setattr(node, SetAttr(mtime_ns=1), caller)
            with pytest.raises(OSError, match=r"."):
                await provider.setattr(node, SetAttr(size=0), caller)
            await provider.listxattr(node)
            await provider.link(node, await files.node(b"dir"), os.fsencode(name))
            assert os.readlink(root / "dir" / name) == str(targets[name])
    assert (trees / "outside/secret").read_bytes() == SECRET
    assert os.stat(trees / "outside/secret").st_mtime_ns != 1
    assert os.stat(trees / "outside").st_mtime_ns != 1


async def test_a_root_that_is_a_link_is_the_directory_it_leads_to(trees, options):
    (trees / "alias").symlink_to("root")
    (trees / "root/link").symlink_to(trees / "alias/file")
    async with served(trees / "alias", **options) as files:
        assert await files.get(b"file") == b"inside"
        assert await files.readlink(b"link") == b"file"
        os.unlink(trees / "alias")
        (trees / "alias").symlink_to("outside")
        assert b"secret" not in await files.names()
        assert await files.get(b"file") == b"inside"
        await files.put(b"new", b"new")
    assert (trees / "root/new").read_bytes() == b"new"
    assert sorted(os.listdir(trees / "outside")) == ["dir", "secret"]


async def test_a_root_that_is_renamed_and_replaced_stays_the_directory_it_was(trees, options):
    (trees / "root/link").symlink_to(trees / "root/file")
    async with served(trees / "root", **options) as files:
        node = await files.node(b"dir/sub")
        os.rename(trees / "root", trees / "moved")
        os.symlink("outside", trees / "root")
        assert b"secret" not in await files.names()
        await files.put(b"dir/sub/new", b"new")
        await files.provider.lookup(node, b"new")
        assert await files.readlink(b"link") == b"file"
        (trees / "moved/newlink").symlink_to(trees / "moved/file")
        assert await files.readlink(b"newlink") == b"file"
    assert (trees / "moved/dir/sub/new").read_bytes() == b"new"
    assert sorted(os.listdir(trees / "outside")) == ["dir", "secret"]


async def test_a_root_that_is_removed_is_empty_and_takes_nothing(trees, options):
    (trees / "gone").mkdir()
    async with served(trees / "gone", **options) as files:
        os.rmdir(trees / "gone")
        assert await files.names() == []
        with pytest.raises(FileNotFoundError):
            await files.put(b"new", b"new")


async def test_a_directory_moved_out_is_left_behind(trees, options):
    """The host takes a directory away while its node is known: soon nothing reaches it."""
    async with served(trees / "root", **options) as files:
        node = await files.node(b"dir")
        await files.provider.lookup(node, b"sub")
        os.rename(trees / "root/dir", trees / "outside/taken")
        provider = files.provider
        provider._access.fds.clear()  # what the event, or a second of time, does
        for attempt in (
            provider.lookup(node, b"sub"),
            provider.mkdir(node, b"new", 0o755, files.caller),
            provider.readdir(node),
        ):
            with pytest.raises(OSError, match=r".") as caught:
                await attempt
            assert caught.value.errno in (errno.ESTALE, errno.ENOENT)
    assert os.listdir(trees / "outside/taken") == ["sub"]


async def test_a_file_replaced_by_another_is_not_taken_for_it(trees, options):
    """Every method that takes a node refuses what now stands at its place."""
    root = trees / "root"
    async with served(root, **options) as files:
        provider, caller = files.provider, files.caller
        node = await files.node(b"file")
        for kind in ("file", "link", "fifo", "directory"):
            other = root / "other"
            if kind == "file":
                other.write_bytes(b"another file")
            elif kind == "link":
                other.symlink_to(trees / "outside/secret")
            elif kind == "fifo":
                os.mkfifo(other)
            else:
                other.mkdir()
            if not (root / "kept").exists():
                os.link(root / "file", root / "kept")
            os.unlink(root / "file")
            os.rename(other, root / "file")
            for attempt in (
                provider.getattr(node),
                provider.open(node, os.O_RDONLY, caller),
                provider.open(node, os.O_WRONLY | os.O_TRUNC, caller),
                provider.setattr(node, SetAttr(size=0), caller),
                provider.setattr(node, SetAttr(mode=0o777), caller),
                provider.setxattr(node, b"user.a", b"1"),
                provider.getxattr(node, b"user.a"),
                provider.link(node, files.root, b"linked"),
            ):
                with pytest.raises(OSError, match=r".") as caught:
                    await attempt
                assert caught.value.errno == errno.ESTALE, kind
            if kind == "directory":
                os.rmdir(root / "file")
    assert (root / "kept").read_bytes() == b"inside"
    assert (trees / "outside/secret").read_bytes() == SECRET
    assert not (root / "linked").exists()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
async def test_a_later_file_with_the_same_inode_number_is_another(trees, options, kind):
    """Some file systems give a removed file's number to the next file at once."""
    root = trees / "root"
    async with served(root, **options) as files:
        node = await files.node(b"file")
        for attempt in range(50):
            os.unlink(root / "file") if attempt == 0 else None
            if kind == "file":
                (root / "file").write_bytes(b"another")
            elif kind == "link":
                (root / "file").symlink_to("dir")
            else:
                (root / "file").mkdir()
            if os.lstat(root / "file").st_ino == node.ino:
                break
            os.rename(root / "file", root / f"other{attempt}")
        else:
            pytest.skip("this file system does not use inode numbers again")
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            await files.provider.getattr(node)
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            await files.provider.open(node, os.O_RDWR, files.caller)
        new = await files.node(b"file")
        assert new.number != node.number
        assert (await files.node(b"file")).number == new.number


async def test_devices_and_fifos_are_seen_but_not_opened(trees, options):
    os.mkfifo(trees / "root/fifo")
    async with served(trees / "root", **options) as files:
        entry = await files.entry(b"fifo")
        assert stat_module.S_ISFIFO(entry.stat.mode)
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
                await files.provider.open(entry.node, flags, files.caller)
            with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
                await files.provider.create(
                    files.root, b"fifo", 0o644, flags | os.O_CREAT, files.caller
                )


async def test_the_root_has_no_parent(trees, options):
    async with served(trees / "root", **options) as files:
        with pytest.raises(OSError, match=r"."):
            await files.provider.lookup(files.root, b"..")
        with pytest.raises(OSError, match=r"."):
            await files.provider.readlink(files.root)


def test_no_path_is_joined_anywhere_but_at_the_choke_point():
    """All opening of names goes by a directory's fd: no call takes a path that was put together."""
    import ast
    import re
    from pathlib import Path

    import providers.passthrough

    calls = {"open", "stat", "lstat", "unlink", "rmdir", "mkdir", "mknod", "symlink", "readlink"}
    by_path = []
    for file in Path(providers.passthrough.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            function = node.func
            if not isinstance(function.value, ast.Name) or function.value.id != "os":
                continue
            if function.attr in calls and not any(key.arg == "dir_fd" for key in node.keywords):
                by_path.append(f"{file.name}: {ast.unparse(node)}")
    for file in Path(providers.passthrough.__file__).parent.glob("*.c"):
        pattern = rf"\b(?:(?:{'|'.join(calls)})\((?!2\))|AT_FDCWD).*"
        for call in re.findall(pattern, file.read_text()):
            by_path.append(f"{file.name}: {call}")
    proc = [each for each in by_path if "/proc/self/" in each or "path_of(" in each]
    assert sorted(set(by_path) - set(proc)) == [
        "beneath.py: os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)",
        "putting.c: AT_FDCWD, path, times, 0);",  # in /proc/self/fd
    ]


async def test_the_provider_is_not_made_for_what_is_no_directory(tmp_path):
    assert not PassthroughProvider.recognises(str(tmp_path / "missing"))
    assert PassthroughProvider.recognises(str(tmp_path))
