"""Checks of extended attributes."""

from __future__ import annotations

import errno

from vfsd.conformance.check import check
from vfsd.conformance.contents import Directory, File
from vfsd.conformance.expect import equal, raises
from vfsd.conformance.files import Files, releasing

_VALUES = {b"user.one": b"1", b"user.two": b"\0\xff binary \n", b"user.empty": b""}


@check(needs="xattrs", contents={b"f": File(b"data", xattrs=_VALUES), b"g": File()})
async def xattrs_of_contents_are_found(files: Files) -> None:
    provider, node, bare = files.provider, await files.node(b"f"), await files.node(b"g")
    equal(sorted(await provider.listxattr(node)), sorted(_VALUES), "names")
    for name, value in _VALUES.items():
        equal(await provider.getxattr(node, name), value, f"value of {name!r}")
    with raises(errno.ENODATA, what="getxattr of a missing one"):
        await provider.getxattr(node, b"user.missing")
    equal(list(await provider.listxattr(bare)), [], "names on a file without any")


@check(needs="writable xattrs", contents={b"f": File(b"data"), b"d": Directory()})
async def xattrs_can_be_set_replaced_and_removed(files: Files) -> None:
    provider = files.provider
    for path in (b"f", b"d", b""):
        node = await files.node(path)
        for name, value in _VALUES.items():
            await provider.setxattr(node, name, value)
        await provider.setxattr(node, b"user.one", b"another")
        equal(await provider.getxattr(node, b"user.one"), b"another", "a replaced value")
        equal(sorted(await provider.listxattr(node)), sorted(_VALUES), "names")
        await provider.removexattr(node, b"user.two")
        with raises(errno.ENODATA, what="getxattr of a removed one"):
            await provider.getxattr(node, b"user.two")
        with raises(errno.ENODATA, what="removexattr for the second time"):
            await provider.removexattr(node, b"user.two")
        equal(sorted(await provider.listxattr(node)), [b"user.empty", b"user.one"], "names left")


@check(needs="writable xattrs", contents={b"f": File(), b"d": Directory()})
async def xattrs_belong_to_the_file(files: Files) -> None:
    provider, node = files.provider, await files.node(b"f")
    await provider.setxattr(node, b"user.name", b"value")
    await files.rename(b"f", b"d/g")
    moved = await files.node(b"d/g")
    equal(await provider.getxattr(moved, b"user.name"), b"value", "value after a rename")
    _, handle = await files.create(b"f")
    async with releasing(handle):
        fresh = await files.node(b"f")
        equal(list(await provider.listxattr(fresh)), [], "names on a new file of the old name")


@check(needs="writable xattrs", contents={b"f": File()})
async def xattrs_large_and_many(files: Files) -> None:
    provider, node = files.provider, await files.node(b"f")
    try:
        await provider.setxattr(node, b"user.large", b"v" * 65536)
    except OSError as error:
        equal(error.errno in (errno.E2BIG, errno.ENOSPC), True, "a large value is kept or refused")
    else:
        equal(await provider.getxattr(node, b"user.large"), b"v" * 65536, "a large value")
        await provider.removexattr(node, b"user.large")
    names = [b"user.n%03d" % number for number in range(100)]
    for name in names:
        await provider.setxattr(node, name, name)
    equal(sorted(await provider.listxattr(node)), names, "a hundred names")
    equal(await provider.getxattr(node, names[50]), names[50], "one value of a hundred")


@check(lacks="xattrs", contents={b"f": File()})
async def xattrs_without_the_trait_are_eopnotsupp(files: Files) -> None:
    provider, node = files.provider, await files.node(b"f")
    equal(list(await provider.listxattr(node)), [], "names")
    with raises(errno.EOPNOTSUPP, what="getxattr without the trait xattrs"):
        await provider.getxattr(node, b"user.name")
    with raises(errno.EOPNOTSUPP, errno.EROFS, what="setxattr without the trait xattrs"):
        await provider.setxattr(node, b"user.name", b"value")
    with raises(errno.EOPNOTSUPP, errno.EROFS, what="removexattr without the trait xattrs"):
        await provider.removexattr(node, b"user.name")
