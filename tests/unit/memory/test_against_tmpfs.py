"""The same script on tmpfs and on this provider: errnos, attributes, and which times change.

tmpfs on the same machine is the oracle. Each step names the paths to watch; before it, mtimes
are set to a known old value and ctimes are noted, so that only a step's own changes show.
Numbers of blocks are compared for files without holes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import tempfile

import pytest
import trio

from providers.memory import MemoryProvider
from tests.unit.memory.trees import ADMIN, find, open_at, parent_of
from vfsd.provider import SetAttr

OLD_NS = 1_000_000_000_000_000_001
SHM = "/dev/shm"
LIBC = ctypes.CDLL(None, use_errno=True)


def is_tmpfs(path: str) -> bool:
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == path and " - tmpfs " in line for line in mounts)


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.getuid() != 0, reason="ownership is compared, which takes root"),
    pytest.mark.skipif(not is_tmpfs(SHM), reason=f"{SHM} is no tmpfs here"),
]


class OnTmpfs:
    """Steps by system calls."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.fds: dict[str, int] = {}

    def at(self, path: bytes) -> bytes:
        return os.path.join(self.root, path) if path else self.root

    async def create(self, path, mode=0o644, key=None, flags=os.O_RDWR):
        fd = os.open(self.at(path), flags | os.O_CREAT, mode)
        if key:
            self.fds[key] = fd
        else:
            os.close(fd)

    async def open(self, path, flags, key):
        self.fds[key] = os.open(self.at(path), flags | os.O_NOFOLLOW)

    async def write(self, key, offset, data):
        return os.pwrite(self.fds[key], data, offset)

    async def fstat(self, key):
        return shown(os.fstat(self.fds[key]))

    async def close(self, key):
        os.close(self.fds.pop(key))

    async def mkdir(self, path, mode=0o755):
        os.mkdir(self.at(path), mode)

    async def mknod(self, path, mode, rdev=0):
        os.mknod(self.at(path), mode, rdev)

    async def symlink(self, path, target):
        os.symlink(target, self.at(path))

    async def link(self, path, new):
        os.link(self.at(path), self.at(new), follow_symlinks=False)

    async def unlink(self, path):
        os.unlink(self.at(path))

    async def rmdir(self, path):
        os.rmdir(self.at(path))

    async def rename(self, path, new, flags=0):
        if LIBC.renameat2(-100, self.at(path), -100, self.at(new), flags):
            raise OSError(ctypes.get_errno(), "renameat2")

    async def chmod(self, path, mode):
        os.chmod(self.at(path), mode)

    async def chown(self, path, uid, gid):
        os.chown(self.at(path), uid, gid, follow_symlinks=False)

    async def truncate(self, path, size):
        os.truncate(self.at(path), size)

    async def utime(self, path, atime_ns, mtime_ns):
        os.utime(self.at(path), ns=(atime_ns, mtime_ns), follow_symlinks=False)

    async def setxattr(self, path, name, value):
        os.setxattr(self.at(path), name, value, follow_symlinks=False)

    async def removexattr(self, path, name):
        os.removexattr(self.at(path), name, follow_symlinks=False)

    async def stat(self, path):
        return shown(os.lstat(self.at(path)))

    async def times(self, path):
        found = os.lstat(self.at(path))
        return found.st_mtime_ns, found.st_ctime_ns

    async def listdir(self, path):
        return sorted(os.listdir(self.at(path)))


def shown(found) -> tuple[object, ...]:
    blocks = found.st_blocks if stat.S_ISREG(found.st_mode) else 0
    return (
        stat.filemode(found.st_mode), found.st_nlink, found.st_uid, found.st_gid,
        found.st_rdev, found.st_size, blocks,
    )  # fmt: skip


class OnProvider:
    """The same steps through the contract."""

    def __init__(self) -> None:
        self.provider = MemoryProvider(uid=0, gid=0)
        self.handles = {}

    async def node(self, path):
        return (await find(self.provider, path)).node

    async def create(self, path, mode=0o644, key=None, flags=os.O_RDWR):
        parent, name = await parent_of(self.provider, path)
        _, handle = await self.provider.create(parent, name, mode, flags, ADMIN)
        if key:
            self.handles[key] = handle
        else:
            await handle.release()

    async def open(self, path, flags, key):
        self.handles[key] = await open_at(self.provider, path, flags)

    async def write(self, key, offset, data):
        return await self.handles[key].write(offset, data)

    async def fstat(self, key):
        return self.shown(await self.handles[key].getattr())

    async def close(self, key):
        await self.handles.pop(key).release()

    async def mkdir(self, path, mode=0o755):
        await self.provider.mkdir(*await parent_of(self.provider, path), mode, ADMIN)

    async def mknod(self, path, mode, rdev=0):
        await self.provider.mknod(*await parent_of(self.provider, path), mode, rdev, ADMIN)

    async def symlink(self, path, target):
        await self.provider.symlink(*await parent_of(self.provider, path), target, ADMIN)

    async def link(self, path, new):
        await self.provider.link(await self.node(path), *await parent_of(self.provider, new))

    async def unlink(self, path):
        await self.provider.unlink(*await parent_of(self.provider, path))

    async def rmdir(self, path):
        await self.provider.rmdir(*await parent_of(self.provider, path))

    async def rename(self, path, new, flags=0):
        source, target = await parent_of(self.provider, path), await parent_of(self.provider, new)
        await self.provider.rename(*source, *target, flags)

    async def set(self, path, **changes):
        await self.provider.setattr(await self.node(path), SetAttr(**changes), ADMIN)

    async def chmod(self, path, mode):
        await self.set(path, mode=mode)

    async def chown(self, path, uid, gid):
        await self.set(path, uid=None if uid < 0 else uid, gid=None if gid < 0 else gid)

    async def truncate(self, path, size):
        await self.set(path, size=size)

    async def utime(self, path, atime_ns, mtime_ns):
        await self.set(path, atime_ns=atime_ns, mtime_ns=mtime_ns)

    async def setxattr(self, path, name, value):
        await self.provider.setxattr(await self.node(path), name, value)

    async def removexattr(self, path, name):
        await self.provider.removexattr(await self.node(path), name)

    async def stat(self, path):
        return self.shown((await find(self.provider, path)).stat)

    def shown(self, found):
        blocks = found.blocks if stat.S_ISREG(found.mode) else 0
        return (
            stat.filemode(found.mode), found.nlink, found.uid, found.gid,
            found.rdev, found.size, blocks,
        )  # fmt: skip

    async def times(self, path):
        found = (await find(self.provider, path)).stat
        return found.mtime_ns, found.ctime_ns

    async def listdir(self, path):
        return sorted(
            os.fsencode(name) for name in await self.provider.readdir(await self.node(path))
        )


# Each script starts in a tree with: a/ a/x/ a/f ("data") a/g (a link of a/f) b/ b/y/ b/y/z/ b/h
# (empty) s (a symlink) p (a FIFO). A step is (method, arguments...).
SCRIPTS: dict[str, list[tuple[object, ...]]] = {
    "make": [
        ("create", b"a/new", 0o640), ("mkdir", b"a/d", 0o750), ("symlink", b"a/l", b"x" * 30),
        ("mknod", b"a/pipe", 0o010600), ("mknod", b"a/c", 0o020600, os.makedev(1, 3)),
        ("mknod", b"a/white", 0o020000, 0), ("mknod", b"a/sock", 0o140755),
        ("mknod", b"a/plain", 0o100600), ("create", b"a/f"), ("mkdir", b"a/f"),
        ("mkdir", b"a/x"), ("symlink", b"a/x", b"t"), ("mknod", b"a/f", 0o010600),
        ("create", b"a/f/under"), ("create", b"absent/x"), ("symlink", b"long", b"y" * 4096),
    ],
    "setgid": [
        ("chown", b"a", 0, 77), ("chmod", b"a", 0o2777), ("create", b"a/new"),
        ("mkdir", b"a/d"), ("mkdir", b"a/d/e"), ("create", b"a/d/e/deep"),
        ("symlink", b"a/l", b"t"), ("mknod", b"a/pipe", 0o010600), ("chmod", b"a/d", 0o755),
        ("mkdir", b"a/d/plain"), ("chmod", b"a", 0o3777), ("mkdir", b"a/sticky"),
    ],
    "link": [
        ("link", b"a/f", b"b/l"), ("link", b"a/f", b"a/g"), ("link", b"a/x", b"b/l2"),
        ("link", b"s", b"b/s"), ("link", b"p", b"b/p"), ("link", b"a/f", b"absent/l"),
        ("link", b"a/absent", b"b/l3"), ("link", b"a/f", b"b/h/l"),
    ],
    "unlink": [
        ("unlink", b"a/g"), ("unlink", b"a/f"), ("unlink", b"a/f"), ("unlink", b"a/x"),
        ("unlink", b"s"), ("unlink", b"p"), ("unlink", b"b/h/under"),
    ],
    "rmdir": [
        ("rmdir", b"a/x"), ("rmdir", b"a"), ("rmdir", b"b/y"), ("rmdir", b"b/h"),
        ("rmdir", b"b/absent"), ("rmdir", b"b/y/z"), ("rmdir", b"b/y"), ("rmdir", b"s"),
    ],
    "rename": [
        ("rename", b"a/f", b"a/moved"), ("rename", b"a/moved", b"b/f"), ("rename", b"b/f", b"b/f"),
        ("rename", b"b/f", b"a/g"), ("rename", b"b/f", b"b/h"), ("rename", b"a/x", b"b/x"),
        ("rename", b"b/x", b"b/y"), ("rename", b"b/x", b"b/y/z"), ("rename", b"s", b"p"),
        ("rename", b"b/h", b"b/y"), ("rename", b"b/y", b"b/h"), ("rename", b"b", b"b/y/in"),
        ("rename", b"b/y/z", b"b"), ("rename", b"b", b"b"), ("rename", b"absent", b"c"),
        ("rename", b"a/g", b"absent/c"), ("rename", b"a/g", b"b/h/c"), ("rename", b"b/y", b"top"),
    ],
    "rename without replacing": [
        ("rename", b"a/f", b"a/g", 1), ("rename", b"a/f", b"a/f", 1), ("rename", b"a/f", b"n", 1),
        ("rename", b"absent", b"p", 1), ("rename", b"b", b"b/y/n", 1), ("rename", b"a", b"c", 1),
    ],
    "exchange": [
        ("rename", b"a/f", b"b/h", 2), ("rename", b"a/x", b"b/h", 2), ("rename", b"a/x", b"s", 2),
        ("rename", b"a", b"b", 2), ("rename", b"a/y", b"a/y/z", 2), ("rename", b"a/y/z", b"a", 2),
        ("rename", b"a/y", b"absent", 2), ("rename", b"absent", b"a/y", 2),
        ("rename", b"b/g", b"a/g", 2), ("rename", b"a", b"a", 2), ("rename", b"a", b"b", 3),
        ("rename", b"a/y", b"b/x", 2),
    ],
    "modes and owners": [
        ("chmod", b"a/f", 0o6755), ("chown", b"a/f", 1, -1), ("chmod", b"a/f", 0o6755),
        ("chown", b"a/f", -1, 1), ("chmod", b"a/f", 0o6745), ("chown", b"a/f", 2, 2),
        ("chown", b"a/f", -1, -1), ("chmod", b"a/x", 0o6777),
        ("chown", b"a/x", 3, 3), ("chmod", b"p", 0o6777), ("chown", b"p", 3, 3),
        ("chown", b"s", 4, 5), ("chmod", b"a/f", 0o7777), ("utime", b"a/f", 5, 7),
        ("utime", b"a", 0, (1 << 33) * 10**9 + 1), ("utime", b"b", -5, -7),
    ],
    "sizes": [
        ("truncate", b"a/f", 2), ("truncate", b"a/f", 2), ("truncate", b"b/h", 1),
        ("truncate", b"a/f", 100), ("truncate", b"a/f", 0), ("truncate", b"a", 0),
        ("truncate", b"p", 0), ("chmod", b"a/f", 0o6755), ("truncate", b"a/f", 1),
        ("truncate", b"a/f", (1 << 63) - 1), ("truncate", b"a/f", 0),
    ],
    "writes": [
        ("open", b"a/f", os.O_RDWR, "f"), ("write", "f", 0, b""), ("write", "f", 2, b"xy"),
        ("write", "f", 4000, bytes(97)), ("write", "f", 5000, bytes(200_000)),
        ("chmod", b"a/f", 0o6755), ("write", "f", 0, b"root keeps the bits"),
        ("unlink", b"a/f"), ("unlink", b"a/g"), ("write", "f", 1, b"z"), ("fstat", "f"),
        ("close", "f"), ("open", b"b/h", os.O_RDWR | os.O_TRUNC, "h"), ("close", "h"),
        ("open", b"absent", os.O_RDONLY, "n"), ("open", b"s", os.O_RDONLY, "n"),
        ("create", b"b/h", 0o600, "h", os.O_WRONLY | os.O_TRUNC), ("fstat", "h"), ("close", "h"),
    ],
    "extended attributes": [
        ("setxattr", b"a/f", b"user.n", b"1"), ("setxattr", b"a/f", b"user.n", b"1"),
        ("setxattr", b"a/f", b"trusted." + b"n" * 247, b""), ("removexattr", b"a/f", b"user.n"),
        ("setxattr", b"a/f", b"trusted." + b"n" * 248, b""), ("removexattr", b"a/f", b"user.n"),
        ("setxattr", b"a/f", b"odd.n", b""), ("setxattr", b"a/f", b"user.", b""),
        ("setxattr", b"a/f", b"user.big", bytes(65537)), ("setxattr", b"s", b"trusted.n", b""),
        ("setxattr", b"a", b"security.n", b""), ("setxattr", b"p", b"trusted.n", b""),
    ],
}  # fmt: skip
WATCHED = (
    b"", b"a", b"a/x", b"a/f", b"a/g", b"b", b"b/y", b"b/y/z", b"b/h", b"s", b"p", b"b/f", b"b/x",
    b"a/y", b"a/moved", b"a/d", b"a/d/e", b"a/new", b"b/l", b"b/s", b"top",
)  # fmt: skip


async def prepare(side) -> None:
    for path in (b"a", b"a/x", b"b", b"b/y", b"b/y/z"):
        await side.mkdir(path)
    await side.create(b"a/f", 0o644, "w")
    await side.write("w", 0, b"data")
    await side.close("w")
    await side.link(b"a/f", b"a/g")
    await side.create(b"b/h")
    await side.symlink(b"s", b"a/f")
    await side.mknod(b"p", 0o010644)


async def observe(side, step) -> dict[bytes, object]:
    """Do one step and return all that shows of it."""
    before = {}
    for path in WATCHED:
        try:
            await side.utime(path, OLD_NS, OLD_NS)
            before[path] = await side.times(path)
        except OSError:
            continue
    await trio.sleep(0.01)  # tmpfs may take its times from a clock that ticks every 4 or 10 ms
    seen: dict[bytes, object] = {}
    try:
        seen[b"result"] = await getattr(side, step[0])(*step[1:])
    except OSError as error:
        seen[b"result"] = errno.errorcode[error.errno]
    for path in WATCHED:
        try:
            mtime_ns, ctime_ns = await side.times(path)
        except OSError as error:
            seen[path] = errno.errorcode[error.errno]
            continue
        was = before.get(path)
        moved = None if was is None else (mtime_ns != was[0], ctime_ns != was[1])
        if step[0] == "utime" and step[1] == path:
            moved = mtime_ns
        shown_now = await side.stat(path)
        names = await side.listdir(path) if shown_now[0][0] == "d" else None
        seen[path] = (moved, shown_now, names)
    return seen


@pytest.mark.parametrize("script", SCRIPTS)
async def test_behaves_as_tmpfs_does(script):
    previous = os.umask(0)
    try:
        with tempfile.TemporaryDirectory(dir=SHM) as root:
            os.chmod(root, 0o755)
            wanted, found = OnTmpfs(os.fsencode(root)), OnProvider()
            await prepare(wanted)
            await prepare(found)
            for step in SCRIPTS[script]:
                oracle = await observe(wanted, step)
                ours = await observe(found, step)
                for path, value in oracle.items():
                    assert ours[path] == value, f"{step}: {path!r}"
    finally:
        os.umask(previous)
