"""The fsspec provider against the suite: what of it a read-only provider must pass.

Over a tar, which tells modes and times; over memory, where names are all there is; and over HTTP,
where names come from pages.
"""

import io
import tarfile
import tempfile
from contextlib import asynccontextmanager

import pytest

from tests.mounted.remote.webserver import WebServer
from vfsd.conformance import conformance_tests
from vfsd.conformance.contents import Directory, File, HardLink

fsspec = pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")

from providers.remote import FsspecProvider  # noqa: E402


@asynccontextmanager
async def served(source, options=()):
    provider = await FsspecProvider.from_options(source, dict(options))
    try:
        yield provider
    finally:
        await provider.aclose()


@asynccontextmanager
async def in_tar(contents):
    with tempfile.NamedTemporaryFile(prefix="vfsd-fsspec-", suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for name, item in contents.items():
                info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
                data = b""
                match item:
                    case Directory(mode):
                        info.type, info.mode = tarfile.DIRTYPE, mode
                    case File(data, mode, mtime_ns):
                        info.size, info.mode = len(data), mode
                        info.mtime = (mtime_ns or 0) // 10**9
                    case HardLink(of):
                        info.type, info.linkname = tarfile.LNKTYPE, of.decode()
                    case _:
                        info.type, info.linkname = tarfile.SYMTYPE, item.target.decode()
                archive.addfile(info, io.BytesIO(data))
        file.flush()
        async with served(f"tar::file://{file.name}") as provider:
            yield provider


@asynccontextmanager
async def in_memory(contents):
    files = fsspec.filesystem("memory")
    with tempfile.TemporaryDirectory(prefix="vfsd-fsspec-") as name:
        files.makedirs(name)
        for path, item in contents.items():
            place = f"{name}/{path.decode('utf-8', 'surrogateescape')}"
            if isinstance(item, Directory):
                files.makedirs(place, exist_ok=True)
            else:
                files.pipe_file(place, getattr(item, "data", b""))
        try:
            async with served(f"memory:/{name}") as provider:
                yield provider
        finally:
            files.rm(name, recursive=True)


@asynccontextmanager
async def over_http(contents):
    files = {
        path.decode("utf-8", "surrogateescape"): getattr(item, "data", b"")
        for path, item in contents.items()
        if not isinstance(item, Directory)
    }
    with WebServer(files) as web:
        async with served(web.url) as provider:
            yield provider


LINKS = {
    "targets_are_kept_as_given": "fsspec has no symlinks: drivers show what they lead to",
}
MODES = {"modes_are_kept": "this driver tells no modes"}
EMPTY = dict.fromkeys(
    ("readdir_of_empty_directory", "open_of_directory_is_eisdir", "readlink_of_others_is_einval"),
    "the test's server, as object stores, has no directory without a file",
)

test_tar = conformance_tests(in_tar, LINKS)
test_memory = conformance_tests(in_memory, LINKS | MODES)
test_http = conformance_tests(over_http, LINKS | MODES | EMPTY)
