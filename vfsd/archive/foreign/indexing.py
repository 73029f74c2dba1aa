"""Open a foreign archive: by its index, which is made at the first time and kept.

Indexes are kept in ``$XDG_CACHE_HOME/vfsd/indexes`` (default ``~/.cache``), at most `INDEXES_MAX`;
one is used only for exactly the file that it was made from (device, inode, size, times). Where
nothing can be kept, an index is made in memory each time. A compressed tar, which cannot be read by
offset, is kept as a whole archive of vfsd's own.

Concurrency: blocking. Two that index the same file at once both succeed.
"""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import os
import stat as stat_module
import tarfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, cast

from vfsd import xdg
from vfsd.archive.compression import zstd_reader
from vfsd.archive.damage import Changed, Damage
from vfsd.archive.foreign import node, tars, zips
from vfsd.archive.foreign.listed import Listed, Listing, clean, write_index
from vfsd.archive.foreign.tree import ForeignTree
from vfsd.archive.outfile import OutFile
from vfsd.archive.reader import Archive
from vfsd.archive.source import Source, open_regular
from vfsd.archive.writer import ArchiveWriter, Attributes
from vfsd.digest import content_digest
from vfsd.errors import UserError

log = logging.getLogger(__name__)

INDEXES_MAX = 64
VERSION = 1
"""Indexes of another version are made anew."""

IDENTITY = b"user.vfsd.indexed"
HEAD_BYTES = 512
PIECE_BYTES = 1 << 20
ROOT = Attributes(stat_module.S_IFDIR | 0o755)

COMPRESSED: dict[bytes, tuple[Callable[[BinaryIO], Any], tuple[str, ...]]] = {
    b"\x1f\x8b": (gzip.open, (".tar.gz", ".tgz")),
    b"BZh": (bz2.open, (".tar.bz2", ".tbz", ".tbz2")),
    b"\xfd7zXZ\0": (lzma.open, (".tar.xz", ".txz")),
    b"\x28\xb5\x2f\xfd": (zstd_reader, (".tar.zst", ".tzst")),
}


def kind_of(path: str) -> str | None:
    """Say what foreign archive a file is: zip, tar, tar+ (compressed), node; None if none is it."""
    try:
        with open(open_regular(path), "rb") as file:
            return _kind(file, path)
    except (OSError, UserError):
        return None


def _kind(file: BinaryIO, path: str) -> str | None:
    head = file.read(HEAD_BYTES)
    if head.startswith(b"\x7fELF") and node.find_blob(file, os.fstat(file.fileno()).st_size):
        return "node"
    for magic, (_, endings) in COMPRESSED.items():
        if head.startswith(magic) and path.endswith(endings):
            return "tar+"
    if tars.looks_like(head):
        return "tar"
    return "zip" if zips.looks_like(head, file) else None


def open_foreign(path: str) -> ForeignTree | Archive:
    """Open what `kind_of` knows. Damage if it is not right, Changed, OSError, UserError."""
    source = Source.open(path)
    try:
        with open(f"/proc/self/fd/{source.fd}", "rb") as file:
            kind = _kind(file, path)
            if kind is None:
                raise Damage("it is no archive that vfsd knows")
            identity = _identity(source, kind)
            index = _kept(identity) or _made(file, path, kind, identity)
        if source.has_changed():
            index.close()
            raise Changed
    except BaseException:
        source.close()
        raise
    if kind == "tar+":
        source.close()
        return index
    return ForeignTree(source, index)


def _identity(source: Source, kind: str) -> bytes:
    stat = os.fstat(source.fd)
    told = VERSION, kind, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    return repr(told).encode()


def _place(identity: bytes) -> str:
    # Without a home there is no such place: what nobody can make is passed over.
    home = xdg.find(xdg.CACHE) or os.devnull
    name = content_digest(identity).hex()
    return os.path.join(home, "vfsd", "indexes", f"{name}.vfsa")


def _kept(identity: bytes) -> Archive | None:
    place = _place(identity)
    try:
        # Those used last are kept. Before it is opened, which takes note of its times.
        os.utime(place)
        index = Archive.open(place)
    except (OSError, Damage, Changed):
        return None
    try:
        if index.xattrs(index.inode(1)).get(IDENTITY) == identity:
            return index
    except Damage as damage:
        log.info("%s: %s; it is made anew", place, damage)
    index.close()
    return None


def _made(file: BinaryIO, path: str, kind: str, identity: bytes) -> Archive:
    place = _place(identity)
    try:
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        out = OutFile(place, 0o600)
    except OSError as error:
        log.info("no index of %s is kept (%s)", path, error)
        return _in_memory(file, path, kind, identity)
    with out:
        _write(out.fd, file, path, kind, identity)
        out.commit()
    _discard_old(os.path.dirname(place))
    return Archive.open(place)


def _in_memory(file: BinaryIO, path: str, kind: str, identity: bytes) -> Archive:
    fd = os.memfd_create("vfsd-index", os.MFD_CLOEXEC)
    try:
        _write(fd, file, path, kind, identity)
        return Archive(Source(fd))
    except BaseException:
        os.close(fd)
        raise


def _write(fd: int, file: BinaryIO, path: str, kind: str, identity: bytes) -> None:
    compression = "zstd" if kind == "tar+" else "none"
    with ArchiveWriter(fd, compression=compression) as writer:
        if kind == "tar+":
            root, left_out = _repack(writer, file, path), 0
        else:
            listing = _listing(file, kind)
            root = _root(listing.pop(b"", None))
            left_out = write_index(writer, listing)
        writer.add_directory(b"", root.attributes, {**root.xattrs, IDENTITY: identity})
        writer.finish()
    if left_out:
        log.warning("%s: %d files that no tree can hold are left out", path, left_out)


def _listing(file: BinaryIO, kind: str) -> Listing:
    file.seek(0)
    if kind == "node":
        return node.listing(file, os.fstat(file.fileno()).st_size)
    return tars.listing(file) if kind == "tar" else zips.listing(file)


def _repack(writer: ArchiveWriter, file: BinaryIO, path: str) -> Listed:
    """Pack a compressed tar; return what it tells of its root."""
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    opener = next(opener for magic, (opener, _) in COMPRESSED.items() if head.startswith(magic))
    root = Listed(ROOT)

    def feed(info: tarfile.TarInfo, content: BinaryIO | None) -> None:
        nonlocal root
        name, entry = clean(os.fsencode(info.name)), tars.listed(info)
        if name == b"":
            root = _root(entry)
        if not name:
            return
        try:
            if content is not None:
                pieces = iter(lambda: content.read(PIECE_BYTES), b"")
                writer.add_file(name, entry.attributes, pieces, entry.xattrs)
            else:
                write_index(writer, Listing({name: entry}))
        except FileExistsError:
            log.info("%r is in %s twice; the first one counts", name, path)

    try:
        with cast(BinaryIO, opener(file)) as plain:
            tars.stream(plain, feed)
    except (lzma.LZMAError, gzip.BadGzipFile, ValueError) as error:
        raise Damage(f"the tar cannot be read: {error}") from error
    return root


def _root(told: Listed | None) -> Listed:
    """Return what is told of the root, if that can be one."""
    if told is None or not stat_module.S_ISDIR(told.attributes.mode):
        return Listed(ROOT)
    return told


def _discard_old(directory: str) -> None:
    """Keep the indexes that were used last."""
    found = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with suppress(OSError):
                found.append((entry.stat().st_mtime_ns, entry.path))
    for _, old in sorted(found)[:-INDEXES_MAX]:
        with suppress(OSError):
            os.unlink(old)
