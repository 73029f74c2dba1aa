"""Where links may lead: `shown_target` as a table, and the policies through the provider."""

import errno
import os

import pytest

from providers.passthrough.links import LinkRules, Map, shown_target
from tests.unit.passthrough.serving import served

ROOT = b"/data/app"
ALIAS = b"/alias/app"

LINKS = {
    (b"", b"up"): b"..",
    (b"sub", b"top"): b"..",
    (b"sub", b"far"): b"../../data",
    (b"", b"absolute"): b"/data/app/sub",
    (b"", b"out"): b"/etc",
    (b"", b"loop"): b"loop",
    (b"", b"down"): b"sub/deep",
}


def read_link(names, name):
    return LINKS.get((b"/".join(names), name))


def shown(target, directory=b"", rules=None, others=()):
    names = [name for name in directory.split(b"/") if name]
    rules = rules or LinkRules()
    return shown_target(rules, names, target, (ROOT, ALIAS), read_link, lambda: list(others))


@pytest.mark.parametrize(
    ("directory", "target"),
    [
        (b"", b"file"),
        (b"", b"./a//b/"),
        (b"", b"missing/and/more"),
        (b"sub", b"../file"),
        (b"sub/deep", b"../../file"),
        (b"sub", b".."),
        (b"", b"."),
        (b"", b"sub/../file"),
        (b"", b"down/../../file"),
        (b"", b"loop/../x"),
        (b"", b"absolute/../file"),
        (b"", b"odd \xff\nname"),
        (b"", b"..."),
        (b"", b"sub/..hidden"),
    ],
)
def test_what_stays_inside_is_shown_as_stored(directory, target):
    assert shown(target, directory) == target


@pytest.mark.parametrize(
    ("directory", "target", "expected"),
    [
        (b"", b"/data/app/file", b"file"),
        (b"", b"/data/app", b"."),
        (b"", b"//data//app/./x/../file", b"file"),
        (b"sub", b"/data/app/file", b"../file"),
        (b"sub/deep", b"/data/app", b"../.."),
        (b"sub", b"/alias/app/sub/x", b"../sub/x"),
        (b"", b"../app/file", b"file"),
        (b"sub", b"../../app/file", b"../file"),
        (b"sub", b"../../../data/app/sub/x", b"../sub/x"),
        (b"", b"sub/../../app/file", b"file"),
        (b"sub", b"top/../app/file", b"../file"),
        (b"", b"out/../data/app/file", b"file"),
    ],
)
def test_what_leads_inside_by_the_roots_own_path_is_made_relative(directory, target, expected):
    assert shown(target, directory) == expected


@pytest.mark.parametrize(
    ("directory", "target"),
    [
        (b"", b"/etc/passwd"),
        (b"", b"/"),
        (b"", b"//etc"),
        (b"", b".."),
        (b"", b"../"),
        (b"", b"../other/file"),
        (b"", b"../application/file"),
        (b"", b"/data/application"),
        (b"", b"/data/app/../secret"),
        (b"sub", b"../../x"),
        (b"", b"sub/top/../x"),
        (b"", b"up/x/../y"),
        (b"", b"sub/far/../x"),
        (b"", b"out/../x"),
        (b"", b"sub/../../x"),
        (b"", b"loop/../../home/someone/secret"),
        (b"", b"/proc/self/root/etc"),
        (b"", b"/proc/self/cwd"),
    ],
)
def test_what_leads_out_is_refused(directory, target):
    with pytest.raises(PermissionError):
        shown(target, directory)


def test_what_leads_out_is_mapped_where_a_prefix_stands_for_it():
    rules = LinkRules(maps=(Map(b"/store", b"/v/store"), Map(b"/store/deep", b"/v/deep")))
    assert shown(b"/store/a/b", rules=rules) == b"/v/store/a/b"
    assert shown(b"/store", rules=rules) == b"/v/store"
    assert shown(b"../../store/x", rules=rules) == b"/v/store/x"
    for target in (b"/stores/a", b"/etc", b"/store/../etc"):
        with pytest.raises(PermissionError):
            shown(target, rules=rules)


def test_a_prefix_alone_stands_for_the_innermost_attached_directory():
    rules = LinkRules(maps=(Map(None, b"/v/store"),))
    others = (b"/srv", b"/srv/store")
    assert shown(b"/srv/store/x", rules=rules, others=others) == b"/v/store/x"
    assert shown(b"/srv/y", rules=rules, others=others) == b"/v/store/y"
    with pytest.raises(PermissionError):
        shown(b"/etc", rules=rules, others=others)


def test_a_target_that_grows_too_long_is_refused():
    deep = b"/".join([b"d"] * 1000)
    with pytest.raises(OSError, match="too long"):
        shown(b"/data/app/" + b"x" * 2000, deep)


@pytest.fixture
def trees(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"inside")
    for name, target in (
        ("in", "file"),
        ("absolute", root / "file"),
        ("dangling", "nowhere"),
        ("sub/up", "../file"),
        ("out", tmp_path / "out"),
        ("out-relative", "../out/secret"),
        ("chain", "out-relative"),
        ("magic", "/proc/self/root"),
    ):
        (root / name).symlink_to(target)
    return tmp_path


OUT = (b"out", b"out-relative", b"magic")


@pytest.mark.parametrize("threads", ["never", "always"])
async def test_denied_links_are_seen_but_not_read(trees, threads):
    async with served(trees / "root", threads=threads) as files:
        assert set(OUT) <= set(await files.names())
        for name in OUT:
            entry = await files.entry(name)
            assert entry.stat.mode & 0o170000 == 0o120000
            with pytest.raises(PermissionError):
                await files.readlink(name)
        assert await files.readlink(b"chain") == b"out-relative"
        assert await files.readlink(b"absolute") == b"file"
        assert (await files.stat(b"absolute")).size == 4
        node = await files.node(b"absolute")
        assert (await files.provider.getattr(node)).size == 4
        assert await files.readlink(b"sub/up") == b"../file"


@pytest.mark.parametrize("threads", ["never", "always"])
async def test_hidden_links_are_absent(trees, threads):
    async with served(trees / "root", links="hide", threads=threads) as files:
        names = [b"absolute", b"chain", b"dangling", b"file", b"in", b"sub"]
        assert await files.names() == names
        root = files.root
        assert await files.provider.lookup_many(root, OUT) == [None] * len(OUT)
        for name in OUT:
            for attempt in (
                files.provider.lookup(root, name),
                files.provider.unlink(root, name),
                files.provider.rename(root, name, root, b"moved", 0),
            ):
                with pytest.raises(FileNotFoundError):
                    await attempt
    assert {os.fsdecode(name) for name in OUT} <= set(os.listdir(trees / "root"))


async def test_a_link_that_leaves_can_be_made_although_it_is_hidden(trees):
    async with served(trees / "root", links="hide") as files:
        entry = await files.symlink(b"new", b"/etc/passwd")
        assert entry.stat.mode == 0o120777
        assert not await files.exists(b"new")
    assert os.readlink(trees / "root/new") == "/etc/passwd"


async def test_mapped_links_lead_to_the_other_prefix(trees):
    by_source = f"map={trees}/out:/virtual/out"
    async with served(trees / "root", links=by_source) as files:
        assert await files.readlink(b"out-relative") == b"/virtual/out/secret"
        assert (await files.stat(b"out-relative")).size == len(b"/virtual/out/secret")
        with pytest.raises(PermissionError):
            await files.readlink(b"magic")
    async with served(trees / "root", links="map=/virtual/out") as files:
        with pytest.raises(PermissionError):
            await files.readlink(b"out")
        async with served(trees / "out"):
            assert await files.readlink(b"out") == b"/virtual/out"
            assert await files.readlink(b"out-relative") == b"/virtual/out/secret"


@pytest.mark.parametrize("threads", ["never", "always"])
async def test_kept_links_are_shown_as_stored(trees, threads):
    async with served(trees / "root", links="keep", threads=threads) as files:
        for name in sorted(os.listdir(trees / "root")):
            if (trees / "root" / name).is_symlink():
                stored = os.readlink(trees / "root" / name)
                assert await files.readlink(name.encode()) == os.fsencode(stored)
                assert (await files.stat(name.encode())).size == len(stored)
        node = await files.node(b"out-relative")
        for flags in (os.O_RDONLY, os.O_WRONLY | os.O_TRUNC):
            with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
                await files.provider.open(node, flags, files.caller)
        with pytest.raises(NotADirectoryError):
            await files.provider.lookup(await files.node(b"out"), b"secret")
    assert (trees / "out/secret").read_bytes() == b"secret"


async def test_a_refusal_names_the_ways_round(trees):
    async with served(trees / "root") as files:
        with pytest.raises(PermissionError, match=r"--links keep .* --links map="):
            await files.readlink(b"out")


async def test_unlink_and_rename_work_on_the_link_itself(trees):
    async with served(trees / "root") as files:
        await files.rename(b"out-relative", b"moved")
        assert os.readlink(trees / "root/moved") == "../out/secret"
        for name in (b"moved", b"out", b"magic", b"in"):
            await files.unlink(name)
    assert (trees / "out/secret").read_bytes() == b"secret"
    assert (trees / "root/file").read_bytes() == b"inside"


async def test_links_made_by_the_guest_are_judged_like_all(trees):
    async with served(trees / "root") as files:
        await files.symlink(b"sub/new", b"../../out/secret")
        await files.symlink(b"sub/fine", b"../file")
        with pytest.raises(PermissionError):
            await files.readlink(b"sub/new")
        assert await files.readlink(b"sub/fine") == b"../file"
        node = await files.node(b"sub/new")
        for attempt in (
            files.provider.open(node, os.O_RDONLY, files.caller),
            files.provider.open(node, os.O_WRONLY | os.O_TRUNC, files.caller),
        ):
            with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
                await attempt
        flags = os.O_WRONLY | os.O_CREAT
        for name in (b"new", b"fine"):
            parent = await files.node(b"sub")
            with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
                await files.provider.create(parent, name, 0o644, flags, files.caller)
    assert (trees / "out/secret").read_bytes() == b"secret"


async def test_links_into_the_mount_itself_are_shown_as_stored(trees):
    async with served(trees / "root") as files:
        await files.symlink(b"own", b"/virtual/app/file")
        with pytest.raises(PermissionError):
            await files.readlink(b"own")
        files.provider.attached(b"/virtual", b"app")
        assert await files.readlink(b"own") == b"/virtual/app/file"
        await files.symlink(b"sly", b"/virtual/../etc/passwd")
        with pytest.raises(PermissionError):
            await files.readlink(b"sly")
