"""The archive provider against the suite: what of it a read-only provider must pass."""

import os
import stat
import tempfile
from contextlib import asynccontextmanager

from providers.archive import ArchiveProvider
from vfsd.archive.outfile import OutFile
from vfsd.archive.writer import ArchiveWriter, Attributes
from vfsd.conformance import conformance_tests
from vfsd.conformance.contents import Directory, File, HardLink, Symlink
from vfsd.readonly import ReadOnlyView


def pack(path, contents):
    """Write what a check describes as an archive."""
    with OutFile(path) as out:
        with ArchiveWriter(out.fd, compression="zstd") as writer:
            writer.add_directory(b"", Attributes(stat.S_IFDIR | 0o755))
            for name, item in contents.items():
                match item:
                    case Directory(mode):
                        writer.add_directory(name, Attributes(stat.S_IFDIR | mode))
                    case Symlink(target):
                        writer.add_symlink(name, Attributes(stat.S_IFLNK | 0o777), target)
                    case HardLink(of):
                        writer.add_link(name, of)
                    case File(data, mode, mtime_ns, xattrs):
                        attributes = Attributes(stat.S_IFREG | mode, mtime_ns=mtime_ns or 0)
                        writer.add_file(name, attributes, [data], xattrs)
            writer.finish()
        out.commit()


@asynccontextmanager
async def attached(contents):
    with tempfile.TemporaryDirectory(prefix="vfsd-archive-") as directory:
        path = os.path.join(directory, "a.vfsa")
        pack(path, contents)
        provider = await ArchiveProvider.from_options(path, {})
        try:
            yield provider
        finally:
            await provider.aclose()


@asynccontextmanager
async def read_only_view(contents):
    async with attached(contents) as provider:
        yield ReadOnlyView(provider)


test_archive = conformance_tests(attached)
test_read_only_view = conformance_tests(read_only_view)
