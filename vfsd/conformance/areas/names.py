"""Checks of names: any byte but ``/`` and NUL, up to 255 of them, kept as they are."""

from __future__ import annotations

from vfsd.conformance.check import check
from vfsd.conformance.contents import File
from vfsd.conformance.expect import equal, true
from vfsd.conformance.files import Files

_ALL_BYTES = bytes(each for each in range(1, 256) if each != ord("/"))

ODD_NAMES = (
    b"with space",
    b"new\nline",
    b"\xff\xfe not UTF-8",
    b"caf\xc3\xa9",
    b"cafe\xcc\x81",
    b"-rf",
    b"...",
    b"..a",
    b" ",
    b"\\",
    b"*?[a]",
    b"tab\there",
    b"\x1b[31mred",
    b".hidden",
    b"CON",
    b"name",
    b"NAME",
    b"x" * 255,
    b"\xe2\x82\xac" * 85,
    _ALL_BYTES,
)


@check(contents={b"odd/" + name: File(name) for name in ODD_NAMES})
async def odd_names_are_found_as_given(files: Files) -> None:
    equal(await files.names(b"odd"), sorted(ODD_NAMES), "names listed")
    for name in ODD_NAMES:
        equal(await files.get(b"odd/" + name), name, f"data of {name!r}")


@check(needs="writable")
async def odd_names_can_be_made_renamed_and_removed(files: Files) -> None:
    await files.mkdir(b"d")
    await files.mkdir(b"e")
    for name in ODD_NAMES:
        await files.put(b"d/" + name, name)
        await files.rename(b"d/" + name, b"e/" + name)
        equal(await files.names(b"e"), [name], "names after a rename")
        equal(await files.get(b"e/" + name), name, f"data of {name!r}")
        await files.unlink(b"e/" + name)
        true(not await files.exists(b"e/" + name), f"{name!r} is gone")
    equal(await files.names(b"d"), [], "names in the first directory")


@check(needs="writable")
async def odd_names_of_directories(files: Files) -> None:
    for name in ODD_NAMES:
        await files.mkdir(name)
        await files.put(name + b"/" + name, b"x")
        equal(await files.names(name), [name], "names inside")
        await files.unlink(name + b"/" + name)
        await files.rmdir(name)
    equal(await files.names(), [], "names at the end")


@check(needs="writable")
async def deep_paths(files: Files) -> None:
    path = b"d"
    await files.mkdir(path)
    for _ in range(60):
        path += b"/" + b"n" * 100
        await files.mkdir(path)
    await files.put(path + b"/f", b"deep down")
    equal(await files.get(path + b"/f"), b"deep down", "data below 60 directories")
