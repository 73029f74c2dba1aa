"""Checks of `statfs`: what `df` and `df -i` show is true."""

from __future__ import annotations

import os
from typing import NamedTuple

from vfsd.conformance.check import check
from vfsd.conformance.contents import File
from vfsd.conformance.expect import NotApplicable, equal, true
from vfsd.conformance.files import Files
from vfsd.provider import NAME_MAX, StatFs


@check(contents={b"f": File(b"data")})
async def statfs_adds_up(files: Files) -> None:
    room = await files.provider.statfs()
    true(room.block_size > 0, "blocks have a size")
    true(0 <= room.blocks_free <= room.blocks, "free blocks are among all blocks")
    true(0 <= room.blocks_available <= room.blocks_free, "available blocks are among the free")
    true(0 <= room.files_free <= room.files, "free files are among all files")
    equal(room.name_max, NAME_MAX, "longest name")


@check(needs="writable", lacks="may_block")
async def statfs_follows_what_is_stored(files: Files) -> None:
    """Not for providers that block: a disk is shared with others who use its room."""
    start = _used(await files.provider.statfs())
    await files.put(b"f", b"x" * 100_000)
    full = _used(await files.provider.statfs())
    true(full.data_bytes - start.data_bytes >= 65_536, "100,000 bytes of data use room")
    equal(full.files - start.files, 1, "files used")
    async with files.opened(b"f", os.O_RDONLY):
        await files.unlink(b"f")
        held = _used(await files.provider.statfs())
        equal(held.data_bytes, full.data_bytes, "bytes used while the file is open")
    equal(_used(await files.provider.statfs()), start, "room used after the last handle went")


class _Used(NamedTuple):
    data_bytes: int
    files: int


def _used(room: StatFs) -> _Used:
    if not room.blocks or not room.files:
        raise NotApplicable("the provider gives no numbers in statfs")
    return _Used((room.blocks - room.blocks_free) * room.block_size, room.files - room.files_free)
