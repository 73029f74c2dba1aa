"""What is done through the provider is done on the host, and the other way round."""

import errno
import os
import shutil
import socket
import stat as stat_module
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from providers.passthrough import access, birth
from providers.passthrough import handle as handle_module
from tests.unit.passthrough.serving import served
from vfsd.conformance.files import read_all, releasing
from vfsd.provider import Identity, SetAttr

USER = Identity(1234, 1235)


def overwrite(path, data):
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, data)
    os.close(fd)


@pytest.fixture(params=["never", "always"])
def options(request):
    return {"threads": request.param}


async def test_host_and_provider_see_the_same_attributes(tmp_path, options):
    (tmp_path / "f").write_bytes(b"data")
    (tmp_path / "d").mkdir()
    os.chmod(tmp_path / "f", 0o640)
    os.utime(tmp_path / "f", ns=(123_456_789, 987_654_321))
    os.link(tmp_path / "f", tmp_path / "d/hard")
    os.mkfifo(tmp_path / "p")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "s"))
    server.close()
    (tmp_path / "l").symlink_to("f")
    async with served(tmp_path, **options) as files:
        for name in ("f", "d", "d/hard", "p", "s", "l"):
            host = os.lstat(tmp_path / name)
            entry = await files.entry(os.fsencode(name))
            found = entry.stat
            assert found.mode == host.st_mode
            assert (found.uid, found.gid, found.nlink) == (host.st_uid, host.st_gid, host.st_nlink)
            assert (found.size, found.blocks) == (host.st_size, host.st_blocks)
            assert found.mtime_ns == host.st_mtime_ns
            assert found.ctime_ns == host.st_ctime_ns
            assert entry.node.number == host.st_ino


async def test_what_is_written_is_on_the_host(tmp_path, options):
    async with served(tmp_path, **options) as files:
        entry, handle = await files.create(b"f", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        async with releasing(handle):
            assert await handle.write(0, b"x" * 300_000) == 300_000
            assert await handle.write(1 << 40, b"far") == 3
            await handle.fsync(datasync=False)
            await handle.fsync(datasync=True)
        host = os.stat(tmp_path / "f")
        assert host.st_size == (1 << 40) + 3
        assert host.st_blocks * 512 < 1 << 20, "holes are not stored"
        await files.setattr(b"f", SetAttr(size=300_000))
        assert (tmp_path / "f").read_bytes() == b"x" * 300_000
        overwrite(tmp_path / "f", b"HOST")
        assert (await files.get(b"f"))[:5] == b"HOSTx"
        await files.provider.fsyncdir(files.root, datasync=False)
        async with files.opened(b"f", os.O_RDONLY | os.O_TRUNC):
            assert (tmp_path / "f").read_bytes() == b""
        assert entry.node.number == host.st_ino


@pytest.mark.parametrize("volatile", [True, False])
async def test_what_cannot_be_durable_is_not_synced(tmp_path, monkeypatch, volatile):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(access, "is_volatile", lambda fd: volatile)
    async with served(tmp_path) as files:
        _, handle = await files.create(b"f", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        async with releasing(handle):
            await handle.fsync(datasync=False)
        await files.provider.fsyncdir(files.root, datasync=False)
    assert len(synced) == (0 if volatile else 2)


async def test_large_reads_and_cold_files(tmp_path, options):
    content = os.urandom(3 << 20)
    (tmp_path / "f").write_bytes(content)
    async with served(tmp_path, **options) as files, files.opened(b"f") as handle:
        fd = os.open(tmp_path / "f", os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        assert bytes(await handle.read(0, 2 << 20)) == content[: 2 << 20]
        assert bytes(await handle.read(4095, 10)) == content[4095:4105]
        assert bytes(await handle.read((3 << 20) - 5, 100)) == content[-5:]
        assert bytes(await handle.read(3 << 20, 100)) == b""


async def test_appends_lose_nothing_against_the_host(tmp_path, options):
    (tmp_path / "log").write_bytes(b"")
    script = (
        "import os, sys; fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)\n"
        "for number in range(500): os.write(fd, b'host %04d\\n' % number)"
    )
    async with served(tmp_path, **options) as files:

        async def host():
            await trio.run_process([sys.executable, "-c", script, str(tmp_path / "log")])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(host)
            async with files.opened(b"log", os.O_WRONLY | os.O_APPEND) as handle:
                for number in range(500):
                    await handle.write(0, b"here %04d\n" % number)
                    await trio.lowlevel.checkpoint()
    lines = (tmp_path / "log").read_bytes().splitlines()
    for who in (b"host", b"here"):
        assert [line for line in lines if line.startswith(who)] == [
            b"%s %04d" % (who, number) for number in range(500)
        ]


@pytest.mark.parametrize("kernel", ["tells", "does not tell"])
async def test_pages_written_back_by_an_appending_handle(tmp_path, options, kernel, monkeypatch):
    """Since Linux 6.9 a write may say that it appends nothing; before, another fd has to."""
    if kernel == "does not tell":
        monkeypatch.setattr(handle_module, "RWF_NOAPPEND", 1 << 30)
    (tmp_path / "f").write_bytes(b"0123456789")
    (tmp_path / "g").touch()
    async with served(tmp_path, **options) as files:
        async with files.opened(b"f", os.O_RDWR | os.O_APPEND) as handle:
            assert await handle.write_back(2, b"ab") == 2
            os.unlink(tmp_path / "f")
            assert await handle.write_back(4, b"cd") == 2
            assert await handle.write(0, b"tail") == 4
            assert bytes(await handle.read(0, 100)) == b"01abcd6789tail"
        async with files.opened(b"g") as handle:
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                await handle.write_back(0, b"x")


async def test_access_modes_are_kept_to(tmp_path, options):
    (tmp_path / "f").write_bytes(b"data")
    async with served(tmp_path, **options) as files:
        async with files.opened(b"f", os.O_RDONLY) as handle:
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                await handle.write(0, b"x")
        async with files.opened(b"f", os.O_WRONLY) as handle:
            with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
                await handle.read(0, 1)
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            await handle.getattr()


@pytest.mark.root
async def test_what_is_made_belongs_to_the_caller(tmp_path, options):
    (tmp_path / "shared").mkdir()
    os.chown(tmp_path / "shared", 0, 4321)
    os.chmod(tmp_path / "shared", 0o2777)
    async with served(tmp_path, **options) as files:
        provider, root = files.provider, files.root
        shared = await files.node(b"shared")
        flags = os.O_RDWR | os.O_CREAT
        for parent, gid in ((root, USER.gid), (shared, 4321)):
            _, handle = await provider.create(parent, b"f", 0o6755, flags, USER)
            await handle.release()
            await provider.mkdir(parent, b"d", 0o1750, USER)
            await provider.symlink(parent, b"l", b"f", USER)
            await provider.mknod(parent, b"p", stat_module.S_IFIFO | 0o622, 0, USER)
            await provider.mknod(parent, b"n", stat_module.S_IFREG | 0o666, 0, USER)
            place = tmp_path if parent is root else tmp_path / "shared"
            modes = {name: os.lstat(place / name) for name in ("f", "d", "l", "p", "n")}
            for name, stat in modes.items():
                assert (stat.st_uid, stat.st_gid) == (USER.uid, gid), name
            inherited = 0o2000 if parent is shared else 0
            assert modes["f"].st_mode == 0o106755
            assert modes["d"].st_mode == 0o041750 | inherited
            assert modes["p"].st_mode == 0o010622, "whatever the daemon's umask"
            assert modes["n"].st_mode == 0o100666


@pytest.mark.root
@pytest.mark.parametrize("call", ["mkdir", "mknod", "symlink"])
async def test_what_takes_the_place_of_a_new_file_is_not_given_away(
    tmp_path, options, call, monkeypatch
):
    """Whoever may rename in the directory puts something of root's there, just after."""
    real = getattr(os, call)
    secret = tmp_path / "secret"

    def make_and_swap(*arguments, **options):
        real(*arguments, **options)
        if options.get("dir_fd") is not None:
            (os.rmdir if call == "mkdir" else os.unlink)(tmp_path / "new")
            secret.rename(tmp_path / "new")

    if call == "mkdir":
        secret.mkdir(mode=0o700)
    elif call == "symlink":
        secret.symlink_to("nowhere")
    else:
        secret.write_bytes(b"root's")
        secret.chmod(0o600)
    before = os.lstat(secret)
    async with served(tmp_path, **options) as files:
        provider, root = files.provider, files.root
        attempts = {
            "mkdir": lambda: provider.mkdir(root, b"new", 0o777, USER),
            "mknod": lambda: provider.mknod(root, b"new", 0o106777, 0, USER),
            "symlink": lambda: provider.symlink(root, b"new", b"target", USER),
        }
        monkeypatch.setattr(os, call, make_and_swap)
        with pytest.raises(PermissionError):
            await attempts[call]()
        monkeypatch.undo()
    for name in os.listdir(tmp_path):
        after = os.lstat(tmp_path / name)
        assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


@pytest.mark.root
@pytest.mark.parametrize("lacking", ["capget", "capset"])
async def test_without_capabilities_to_keep_files_are_given_away(
    tmp_path, options, lacking, monkeypatch
):
    monkeypatch.setattr(birth._libc, lacking, lambda header, data: -1)
    async with served(tmp_path, **options) as files:
        entry = await files.provider.mkdir(files.root, b"d", 0o1777, USER)
        assert (entry.stat.uid, entry.stat.gid, entry.stat.mode) == (1234, 1235, 0o041777)
        entry = await files.provider.mknod(files.root, b"f", 0o104755, 0, USER)
        assert (entry.stat.uid, entry.stat.gid, entry.stat.mode) == (1234, 1235, 0o104755)
    assert os.access(tmp_path, os.W_OK)
    (tmp_path / "own").touch()
    assert (tmp_path / "own").stat().st_uid == 0, "the thread's ids are its own again"


@pytest.mark.root
async def test_what_cannot_be_given_away_is_not_made(tmp_path, options):
    """A caller whom the backing refuses leaves nothing that belongs to root."""
    unfit = Identity(1 << 33, 5)
    async with served(tmp_path, **options) as files:
        provider, root = files.provider, files.root
        for attempt in (
            provider.create(root, b"f", 0o644, os.O_RDWR | os.O_CREAT, unfit),
            provider.mkdir(root, b"d", 0o755, unfit),
            provider.symlink(root, b"l", b"t", unfit),
        ):
            with pytest.raises((OSError, OverflowError)):
                await attempt
        assert os.listdir(tmp_path) == []


async def test_rename_by_flags(tmp_path, options):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    (tmp_path / "d/sub").mkdir(parents=True)
    async with served(tmp_path, **options) as files:
        a, b, sub = [await files.node(path) for path in (b"a", b"b", b"d/sub")]
        with pytest.raises(FileExistsError):
            await files.rename(b"a", b"b", 1)
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            await files.rename(b"a", b"c", 4)
        await files.rename(b"a", b"b", 2)
        assert (tmp_path / "a").read_bytes() == b"b"
        assert (await files.provider.getattr(a)).size == 1
        assert (await files.node(b"b")) is a
        assert (await files.node(b"a")) is b
        await files.rename(b"a", b"d", 2)
        assert (await files.node(b"a/sub")) is sub
        await files.put(b"a/sub/new", b"new")
        assert (tmp_path / "a/sub/new").read_bytes() == b"new"
        with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
            await files.rename(b"a", b"a/sub/a")


async def test_statfs_is_that_of_the_backing(tmp_path, options):
    async with served(tmp_path, **options) as files:
        room, host = await files.provider.statfs(), os.statvfs(tmp_path)
    assert (room.block_size, room.blocks) == (host.f_frsize, host.f_blocks)
    assert (room.files, room.name_max) == (host.f_files, host.f_namemax)


async def test_xattrs_are_those_of_the_backing(tmp_path, options):
    (tmp_path / "f").write_bytes(b"")
    (tmp_path / "d").mkdir()
    (tmp_path / "l").symlink_to("f")
    async with served(tmp_path, **options) as files:
        provider = files.provider
        for name in (b"f", b"d"):
            node = await files.node(name)
            await provider.setxattr(node, b"user.\xff", b"\0value")
            assert os.getxattr(tmp_path / os.fsdecode(name), b"user.\xff") == b"\0value"
            assert b"user.\xff" in await provider.listxattr(node)
            await provider.removexattr(node, b"user.\xff")
            with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
                await provider.getxattr(node, b"user.\xff")
        link = await files.node(b"l")
        with pytest.raises(OSError, match=r"."):
            await provider.setxattr(link, b"user.a", b"1")
        assert "user.a" not in os.listxattr(tmp_path / "f"), "not the target's"
        with pytest.raises(OSError, match=r"."):
            await provider.setxattr(await files.node(b"f"), b"user.big", b"x" * 70_000)


async def test_attributes_of_links_are_their_own(tmp_path, options):
    (tmp_path / "f").write_bytes(b"data")
    (tmp_path / "l").symlink_to("f")
    before = os.stat(tmp_path / "f")
    async with served(tmp_path, **options) as files:
        await files.setattr(b"l", SetAttr(atime_ns=5, mtime_ns=6))
        with pytest.raises(OSError, match=os.strerror(errno.EOPNOTSUPP)):
            await files.setattr(b"l", SetAttr(mode=0o600))
    assert os.lstat(tmp_path / "l").st_mtime_ns == 6
    assert os.stat(tmp_path / "f") == before


async def test_what_one_may_do_with_removed_files(tmp_path, options):
    """Removed, but kept by a door: the node works on, until the door forgets it."""
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"data")
    (tmp_path / "d").mkdir()
    async with served(tmp_path, **options) as files:
        provider = files.provider
        kept = set()
        provider.add_keeper(kept.__contains__)
        nodes = {name: await files.node(name) for name in (b"a", b"b", b"c", b"d")}
        kept.update(node.number for node in nodes.values())
        await files.unlink(b"a")
        await files.rename(b"c", b"b")
        await files.rmdir(b"d")
        for name in (b"a", b"b"):
            assert (await provider.getattr(nodes[name])).nlink == 0
            handle = await provider.open(nodes[name], os.O_RDWR, files.caller)
            async with releasing(handle):
                assert await read_all(handle) == b"data"
        assert (await provider.getattr(nodes[b"d"])).nlink == 0
        assert await provider.readdir(nodes[b"d"]) == []
        with pytest.raises(OSError, match=r"."):
            await provider.mkdir(nodes[b"d"], b"x", 0o755, files.caller)
        assert provider.statistics()["removed_files"] == 3
        kept.clear()
        for node in nodes.values():
            provider.forget(node)
        assert provider.statistics()["removed_files"] == 0
        with pytest.raises(OSError, match=os.strerror(errno.ESTALE)):
            await provider.getattr(nodes[b"a"])
        assert await files.get(b"b") == b"data"


async def test_hard_links_are_one_node_through_all_changes(tmp_path, options):
    (tmp_path / "d").mkdir()
    (tmp_path / "a").write_bytes(b"data")
    os.link(tmp_path / "a", tmp_path / "d/b")
    async with served(tmp_path, **options) as files:
        node = await files.node(b"a")
        assert await files.node(b"d/b") is node
        os.unlink(tmp_path / "a")
        assert (await files.provider.getattr(node)).nlink == 1
        os.rename(tmp_path / "d/b", tmp_path / "c")
        assert await files.node(b"c") is node
        await files.link(b"c", b"again")
        assert await files.node(b"again") is node
        await files.unlink(b"c")
        assert (await files.provider.getattr(node)).nlink == 1
        assert await files.get(b"again") == b"data"


@pytest.fixture
def small(tmp_path):
    """A file system of 64 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", path], check=True)
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.root
async def test_errors_of_the_backing_arrive_unchanged(small, options):
    """A full file system: what was acknowledged is still there."""
    async with served(small, **options) as files:
        await files.put(b"f", b"x" * 40_000)
        _, handle = await files.create(b"g", os.O_RDWR | os.O_CREAT)
        async with releasing(handle):
            written = 0
            refused = None
            while refused is None:
                try:
                    written += await handle.write(written, b"y" * 4096)
                except OSError as error:
                    refused = error.errno
            assert refused == errno.ENOSPC
        assert (small / "g").read_bytes() == b"y" * written
        assert await files.get(b"f") == b"x" * 40_000


@pytest.fixture
def enterable():
    """A directory that every user may enter; those above pytest's are closed."""
    directory = Path(tempfile.mkdtemp(prefix="vfsd-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.root
async def test_an_ordinary_user_is_refused_what_the_host_refuses(enterable):
    """Run as another user: EACCES and EPERM come from the backing."""
    script = """
import os, sys, trio
sys.path[:0] = sys.argv[2:]
from providers.passthrough import PassthroughProvider
from vfsd.provider import Identity, SetAttr
os.setgid(1235); os.setuid(1234)

async def main():
    me = Identity(1234, 1235)
    provider = await PassthroughProvider.from_options(sys.argv[1], {})
    async def refused(attempt):
        try:
            await attempt
        except OSError as error:
            return error.errno
    entry = await provider.lookup(provider.root, b"private")
    print(await refused(provider.open(entry.node, os.O_RDONLY, me)))
    print(await refused(provider.mkdir(provider.root, b"d", 0o755, me)))
    print(await refused(provider.setattr(entry.node, SetAttr(mode=0o777), me)))
    own = await provider.lookup(provider.root, b"own")
    made = await provider.mkdir(own.node, b"d", 0o700, me)
    print(made.stat.uid, made.stat.gid)
    await provider.aclose()

trio.run(main)
"""
    tmp_path = enterable
    (tmp_path / "private").write_bytes(b"")
    os.chmod(tmp_path / "private", 0o600)
    (tmp_path / "own").mkdir()
    os.chown(tmp_path / "own", 1234, 1235)
    command = [sys.executable, "-c", script, str(tmp_path), *(each for each in sys.path if each)]
    done = await trio.run_process(
        command, capture_stdout=True, capture_stderr=True, check=False, cwd=os.getcwd()
    )
    assert done.stdout.split() == [b"13", b"13", b"1", b"1234", b"1235"], done.stderr.decode()
