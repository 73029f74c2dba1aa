"""Checks of `lookup`, `lookup_many`, `getattr` and `readdir`, and of node numbers."""

from __future__ import annotations

import errno
import gc
import stat as stat_module

from vfsd.conformance.check import check
from vfsd.conformance.contents import Contents, Directory, File
from vfsd.conformance.expect import equal, raises, true
from vfsd.conformance.files import Files
from vfsd.provider import NUMBER_LIMIT, ROOT_NUMBER

SOME: Contents = {
    b"file": File(b"data"),
    b"empty": File(),
    b"dir": Directory(),
    b"dir/inner": File(b"inner data", mode=0o600),
    b"dir/sub/deep": File(b"deep"),
}

EXPLAINED = ("layer", "origin", "digest")
"""What a provider itself may tell by `explain`."""


@check()
async def root_is_directory_number_one(files: Files) -> None:
    equal(files.root.number, ROOT_NUMBER, "number of the root")
    stat = await files.provider.getattr(files.root)
    true(stat_module.S_ISDIR(stat.mode), "the root is a directory")
    true(stat.nlink >= 1, "the root has links")


@check(contents=SOME)
async def lookup_finds_contents(files: Files) -> None:
    for path, kind, size in (
        (b"file", stat_module.S_IFREG, 4),
        (b"empty", stat_module.S_IFREG, 0),
        (b"dir", stat_module.S_IFDIR, None),
        (b"dir/inner", stat_module.S_IFREG, 10),
        (b"dir/sub", stat_module.S_IFDIR, None),
        (b"dir/sub/deep", stat_module.S_IFREG, 4),
    ):
        stat = (await files.entry(path)).stat
        equal(stat_module.S_IFMT(stat.mode), kind, f"type of {path!r}")
        if size is not None:
            equal(stat.size, size, f"size of {path!r}")
            equal(stat.nlink, 1, f"links of {path!r}")


@check(contents=SOME)
async def lookup_missing_is_enoent(files: Files) -> None:
    for path in (b"missing", b"dir/missing", b"File", b"fil", b"file ", b"dir/sub/file"):
        with raises(errno.ENOENT, what=f"lookup of {path!r}"):
            await files.entry(path)


@check(contents=SOME)
async def lookup_in_file_is_enotdir(files: Files) -> None:
    node = await files.node(b"file")
    with raises(errno.ENOTDIR, what="lookup in a file"):
        await files.provider.lookup(node, b"x")
    with raises(errno.ENOTDIR, what="readdir of a file"):
        await files.provider.readdir(node)


@check(contents=SOME)
async def lookup_and_getattr_agree(files: Files) -> None:
    for path in SOME:
        entry = await files.entry(path)
        equal(await files.provider.getattr(entry.node), entry.stat, f"getattr of {path!r}")


@check(contents={b"a": File(mode=0o640), b"b": Directory(mode=0o1775), b"c": File(mode=0o755)})
async def modes_are_kept(files: Files) -> None:
    equal((await files.stat(b"a")).mode, 0o100640, "mode of a")
    equal((await files.stat(b"b")).mode, 0o041775, "mode of b")
    equal((await files.stat(b"c")).mode, 0o100755, "mode of c")


@check(contents={b"dir/one": Directory(), b"dir/two": Directory(), b"dir/file": File()})
async def directory_links_count_subdirectories(files: Files) -> None:
    links = (await files.stat(b"dir")).nlink
    true(links in (1, 4), f"links of a directory are 1, or 2 and one per subdirectory: {links}")


@check(contents=SOME)
async def numbers_are_unique_and_in_range(files: Files) -> None:
    numbers = [(await files.node(path)).number for path in SOME]
    numbers.append((await files.node(b"dir/sub")).number)
    equal(len(set(numbers)), len(numbers), "different files' different numbers")
    for number in numbers:
        true(ROOT_NUMBER < number < NUMBER_LIMIT, f"number {number} is in range")


@check(contents=SOME)
async def numbers_are_stable(files: Files) -> None:
    before = {path: (await files.node(path)).number for path in SOME}
    gc.collect()
    for path, number in reversed(before.items()):
        node = await files.node(path)
        equal(node.number, number, f"number of {path!r} at the second lookup")
        files.provider.forget(node)
        del node
    gc.collect()
    for path, number in before.items():
        equal((await files.node(path)).number, number, f"number of {path!r} after forget")


@check(contents=SOME)
async def forgotten_node_still_serves_others(files: Files) -> None:
    node = await files.node(b"dir/inner")
    same = await files.node(b"dir/inner")
    files.provider.forget(node)
    equal((await files.provider.getattr(same)).size, 10, "size through the node still kept")
    equal(await files.get(b"dir/inner"), b"inner data", "data after one door forgot the node")


@check(contents=SOME)
async def lookup_many_agrees_with_lookup(files: Files) -> None:
    asked = [b"empty", b"missing", b"dir", b"file", b"dir", b"nothing"]
    entries = await files.provider.lookup_many(files.root, asked)
    equal(len(entries), len(asked), "as many answers as names")
    for name, found in zip(asked, entries, strict=True):
        if name in (b"missing", b"nothing"):
            equal(found, None, f"answer for {name!r}")
            continue
        single = await files.entry(name)
        true(found is not None, f"{name!r} was found")
        if found is not None:
            equal(found.node.number, single.node.number, f"number of {name!r}")
            equal(found.stat, single.stat, f"attributes of {name!r}")


@check(contents=SOME)
async def lookup_many_of_nothing_and_in_file(files: Files) -> None:
    equal(list(await files.provider.lookup_many(files.root, [])), [], "no names, no answers")
    node = await files.node(b"file")
    with raises(errno.ENOTDIR, what="lookup_many in a file"):
        await files.provider.lookup_many(node, [b"x"])


@check(contents=SOME)
async def readdir_lists_all_names_once(files: Files) -> None:
    equal(await files.names(), [b"dir", b"empty", b"file"], "names in the root")
    equal(await files.names(b"dir"), [b"inner", b"sub"], "names in dir")
    equal(await files.names(b"dir/sub"), [b"deep"], "names in dir/sub")


@check(contents={b"empty": Directory()})
async def readdir_of_empty_directory(files: Files) -> None:
    equal(await files.names(b"empty"), [], "names in an empty directory")


@check(contents={b"d/%04d" % number: File() for number in range(1000)})
async def readdir_of_thousand_is_whole_and_stable(files: Files) -> None:
    node = await files.node(b"d")
    names = list(await files.provider.readdir(node))
    equal(len(names), 1000, "names listed")
    equal(set(names), {b"%04d" % number for number in range(1000)}, "names")
    equal(list(await files.provider.readdir(node)), names, "order at the second time")
    found = await files.provider.lookup_many(node, names)
    numbers = {entry.node.number for entry in found if entry is not None}
    equal(len(numbers), 1000, "numbers of a thousand files")


@check(needs="writable", contents={b"d/a": File(), b"d/b": File(), b"d/c": File()})
async def readdir_result_is_a_snapshot(files: Files) -> None:
    names = await files.provider.readdir(await files.node(b"d"))
    before = list(names)
    await files.unlink(b"d/a")
    await files.put(b"d/new")
    await files.rename(b"d/b", b"d/moved")
    equal(list(names), before, "a listing kept by its reader")
    equal(await files.names(b"d"), [b"c", b"moved", b"new"], "a new listing")


@check(needs="writable", contents={b"d/a": File(), b"d/b": File(), b"d/c": File()})
async def readdir_result_may_be_changed_by_its_reader(files: Files) -> None:
    names = await files.provider.readdir(await files.node(b"d"))
    if isinstance(names, list):
        names.clear()
    equal(await files.names(b"d"), [b"a", b"b", b"c"], "the directory itself")


@check(contents=SOME)
async def explain_tells_words_and_no_host_path(files: Files) -> None:
    for path in (b"", *SOME):
        node = await files.node(path) if path else files.root
        for word, value in (await files.provider.explain(node)).items():
            true(word in EXPLAINED, f"{word!r} is one of {', '.join(EXPLAINED)}")
            true(isinstance(value, bytes), f"what {word!r} of {path!r} says is bytes")
            if word == "origin":
                true(not value.startswith(b"/"), f"the origin of {path!r} is a relative path")
