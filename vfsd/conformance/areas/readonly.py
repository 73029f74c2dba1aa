"""Checks of a provider that cannot be written: each mutation is EROFS, whatever else is wrong."""

from __future__ import annotations

import errno
import os
import stat as stat_module
from collections.abc import Awaitable, Callable

from vfsd.conformance.check import check
from vfsd.conformance.contents import Contents, File, Symlink
from vfsd.conformance.expect import equal, raises
from vfsd.conformance.files import Files, listing
from vfsd.provider import SetAttr

TREE: Contents = {
    b"f": File(b"data", mode=0o600),
    b"d/x": File(b"x data"),
    b"l": Symlink(b"f"),
}
_NEW = os.O_RDWR | os.O_CREAT


@check(lacks="writable", contents=TREE)
async def mutations_by_name_are_erofs(files: Files) -> None:
    before = await listing(files)
    provider, root, caller = files.provider, files.root, files.caller
    file_node, directory = await files.node(b"f"), await files.node(b"d")
    for name in (b"new", b"f", b"d", b"l"):
        exclusive = _NEW | os.O_EXCL
        regular, fifo = stat_module.S_IFREG | 0o644, stat_module.S_IFIFO
        attempts: list[tuple[str, Callable[..., Awaitable[object]], tuple[object, ...]]] = [
            ("create", provider.create, (root, name, 0o644, _NEW, caller)),
            ("exclusive create", provider.create, (root, name, 0o644, exclusive, caller)),
            ("mknod", provider.mknod, (root, name, regular, 0, caller)),
            ("mknod of a FIFO", provider.mknod, (root, name, fifo, 0, caller)),
            ("whiteout", provider.put_whiteout, (root, name)),
            ("clearing", provider.clear, (root,)),
            ("mkdir", provider.mkdir, (root, name, 0o755, caller)),
            ("symlink", provider.symlink, (root, name, b"target", caller)),
            ("link", provider.link, (file_node, root, name)),
            ("unlink", provider.unlink, (root, name)),
            ("rmdir", provider.rmdir, (root, name)),
            ("rename", provider.rename, (root, name, root, b"other", 0)),
            ("rename over", provider.rename, (root, b"f", root, name, 0)),
            ("rename elsewhere", provider.rename, (root, name, directory, b"x", 1)),
            ("exchange", provider.rename, (root, name, directory, b"x", 2)),
            ("rename with odd flags", provider.rename, (root, name, directory, b"x", 64)),
        ]
        for what, method, arguments in attempts:
            with raises(errno.EROFS, what=f"{what} with the name {name!r}"):
                await method(*arguments)
    equal(await listing(files), before, "the tree after all refusals")


@check(lacks="writable", contents=TREE)
async def setattr_is_erofs(files: Files) -> None:
    before = {path: await files.stat(path) for path in (b"f", b"d", b"l", b"")}
    for path, stat in before.items():
        for changes in (
            SetAttr(mode=0o777),
            SetAttr(uid=1),
            SetAttr(gid=1),
            SetAttr(size=0),
            SetAttr(size=1 << 50),
            SetAttr(atime_ns=1),
            SetAttr(mtime_ns=1),
        ):
            with raises(errno.EROFS, what=f"{changes} of {path!r}"):
                await files.setattr(path, changes)
        equal(await files.stat(path), stat, f"attributes of {path!r}")
    equal(await files.get(b"f"), b"data", "data")


@check(lacks="writable", contents=TREE)
async def open_for_writing_is_erofs(files: Files) -> None:
    node = await files.node(b"f")
    for flags in (
        os.O_WRONLY,
        os.O_RDWR,
        os.O_RDONLY | os.O_TRUNC,
        os.O_WRONLY | os.O_APPEND,
        os.O_RDWR | os.O_TRUNC,
    ):
        with raises(errno.EROFS, what=f"open with flags {flags:#o}"):
            handle = await files.provider.open(node, flags, files.caller)
            await handle.release()
        equal(await files.get(b"f"), b"data", f"data after open with flags {flags:#o}")


@check(lacks="writable", contents=TREE)
async def reading_handle_cannot_change_the_file(files: Files) -> None:
    async with files.opened(b"f") as handle:
        before = await handle.getattr()
        with raises(errno.EBADF, errno.EROFS, what="write"):
            await handle.write(0, b"x")
        with raises(errno.EROFS, what="truncation while open"):
            await files.setattr(b"f", SetAttr(size=0))
        equal(await handle.getattr(), before, "attributes through the handle")
    equal(await files.get(b"f"), b"data", "data")


@check(lacks="writable", needs="xattrs", contents={b"f": File(b"", xattrs={b"user.a": b"1"})})
async def xattr_mutations_are_erofs(files: Files) -> None:
    provider, node = files.provider, await files.node(b"f")
    for name in (b"user.a", b"user.new"):
        with raises(errno.EROFS, what=f"setxattr of {name!r}"):
            await provider.setxattr(node, name, b"2")
        with raises(errno.EROFS, what=f"removexattr of {name!r}"):
            await provider.removexattr(node, name)
    equal(list(await provider.listxattr(node)), [b"user.a"], "names")
    equal(await provider.getxattr(node, b"user.a"), b"1", "value")
