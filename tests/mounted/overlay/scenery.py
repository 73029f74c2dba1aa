"""Work on an overlay of directories that leaves every kind of mark in its upper."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from providers.memory import MemoryProvider
from providers.overlay import OverlayProvider
from providers.overlay.marks import USER
from providers.passthrough import PassthroughProvider
from tests.mounted.overlay.observed import describe_provider
from vfsd.conformance import Files
from vfsd.provider import SetAttr


def lay_out(root):
    """Make two lowers below `root`, with something of each kind."""
    root = Path(root)
    for name in ("upper", "one", "two", "work", "mount"):
        (root / name).mkdir(exist_ok=True)
    two, one = root / "two", root / "one"
    for top in (one, two):
        for path in ("d/sub", "e", "gone/deep/er", "again", "replaced", "moved/inner"):
            (top / path).mkdir(parents=True)
    for path in ("f", "d/x", "d/sub/y", "e/z", "gone/deep/er/file", "again/old", "moved/inner/i"):
        (two / path).write_bytes(b"two " + path.encode())
    for path in ("g", "d/x", "d/w", "replaced/r", "moved/top", "h"):
        (one / path).write_bytes(b"one " + path.encode() * 3000)
    os.link(two / "f", two / "d/f-too")
    os.link(two / "f", two / "e/f-also")
    os.link(one / "h", one / "h-too")
    os.symlink("nowhere", two / "link")
    os.mkfifo(two / "fifo")
    os.chmod(one / "g", 0o4751)
    os.chmod(two / "e", 0o2770)
    os.setxattr(two / "f", "user.note", b"kept")
    os.setxattr(one / "d", "user.dir", b"kept too")
    with open(two / "sparse", "wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    for path in sorted(root.glob("*/**/*")):
        with suppress(PermissionError):
            os.utime(path, ns=(10**18, 10**18 + len(str(path))), follow_symlinks=False)
    return root


async def open_overlay(root, *, flavour=USER):
    """Open the overlay over what `lay_out` made."""

    async def directory(name):
        return await PassthroughProvider.from_options(str(root / name), {"links": "keep"})

    lowers = [await directory("one"), await directory("two")]
    upper = await directory("upper")
    return await OverlayProvider.over(upper, lowers, spare=MemoryProvider(), flavour=flavour)


async def work(overlay, files, flavour):
    """Delete, replace, rename, re-create, link and change what the lowers have."""
    await files.unlink(b"g")
    await files.setattr(b"h", SetAttr(mode=0o640))
    async with files.opened(b"d/f-too", os.O_RDWR) as handle:
        await handle.write(4, b"CHANGED")
    async with files.opened(b"sparse", os.O_WRONLY | os.O_APPEND) as handle:
        await handle.write(0, b"more")
    await remove_all(files, b"gone")
    await remove_all(files, b"again")
    await files.mkdir(b"again", 0o711)
    await files.put(b"again/new", b"made anew")
    await remove_all(files, b"replaced")
    await files.put(b"replaced", b"a file where a directory was")
    await files.unlink(b"link")
    await files.mkdir(b"link")
    await files.rename(b"moved", b"d/moved")
    await files.rename(b"d/moved/inner", b"inner")
    await files.rename(b"fifo", b"e/fifo")
    await files.rename(b"d/x", b"d/w")
    await files.mkdir(b"fresh")
    await files.rename(b"fresh", b"moved")
    await files.rename(b"e/z", b"h-too", 2)
    await files.symlink(b"fresh", b"target \xff")
    await files.mknod(b"socket", stat.S_IFSOCK | 0o600)
    node = await files.node(b"d")
    await overlay.setxattr(node, flavour.named(b"opaque"), b"y")
    await overlay.setxattr(node, b"user.mine", b"1")


async def remove_all(files, path):
    """Do what ``rm -rf`` does."""
    for name in await files.names(path):
        child = path + b"/" + name
        if stat.S_ISDIR((await files.stat(child)).mode):
            await remove_all(files, child)
        else:
            await files.unlink(child)
    await files.rmdir(path)


async def perform(root, *, flavour=USER):
    """Do all of it, and return what the overlay shows."""
    overlay = await open_overlay(root, flavour=flavour)
    try:
        files = Files(overlay)
        await work(overlay, files, flavour)
        return await describe_provider(overlay)
    finally:
        await overlay.aclose()
