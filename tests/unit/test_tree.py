"""The namespace: attach points, what they hide and pin, and how paths are walked."""

import errno

import pytest

from vfsd.attributes import Identity
from vfsd.contract import Change
from vfsd.tree import Attachment, Place, Tree, check_same, split_path

from .counting import CountingProvider

ME = Identity(0, 0)


class Recorder:
    def __init__(self) -> None:
        self.seen: list[tuple[bytes, bytes | None]] = []

    def changed(self, attachment: Attachment, change: Change) -> None:
        self.seen.append((attachment.prefix, change.name))

    async def settled(self, attachments) -> None:
        pass

    def keeps(self, attachment: Attachment, number: int) -> bool:
        return False


def refuses(code: int):
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")


async def test_attach_makes_missing_directories_and_is_found_there():
    tree, inner = Tree(CountingProvider()), CountingProvider()
    await tree.attach(b"a/b/c", inner, ME)
    place, _ = await tree.resolve(b"a/b/c")
    assert place == Place(tree.attachments[b"a/b/c"], inner.root)
    assert [*tree.root.provider.root.entries] == [b"a"]


async def test_attach_below_an_attachment_stands_on_that_provider():
    tree, outer, inner = Tree(CountingProvider()), CountingProvider(), CountingProvider()
    await tree.attach(b"x", outer, ME)
    attachment = await tree.attach(b"x/y", inner, ME)
    assert attachment.host is tree.attachments[b"x"]
    assert [*outer.root.entries] == [b"y"]
    with refuses(errno.EBUSY):
        await tree.detach(b"x")
    await tree.detach(b"x/y")
    await tree.detach(b"x")
    assert list(tree.attachments) == [b""]


async def test_lazy_detach_takes_those_below_as_well():
    tree = Tree(CountingProvider())
    await tree.attach(b"x", CountingProvider(), ME)
    await tree.attach(b"x/y", CountingProvider(), ME)
    await tree.detach(b"x", lazy=True)
    assert list(tree.attachments) == [b""]


async def test_detach_with_open_files_is_busy_unless_lazy():
    tree = Tree(CountingProvider())
    attachment = await tree.attach(b"x", CountingProvider(), ME)
    attachment.open_count = 1
    with refuses(errno.EBUSY):
        await tree.detach(b"x")
    assert attachment.attached
    await tree.detach(b"x", lazy=True)
    assert not attachment.attached
    assert attachment.drained is not None
    assert not attachment.drained.is_set()


@pytest.mark.parametrize("prefix", [b"", b"/", b"a/../b", b"..", b"a\0b", b"n" * 256])
async def test_odd_prefixes_are_refused_and_change_nothing(prefix):
    tree = Tree(CountingProvider())
    with pytest.raises(OSError, match="Errno"):
        await tree.attach(prefix, CountingProvider(), ME)
    assert list(tree.attachments) == [b""]
    assert not tree.root.provider.root.entries


async def test_attaching_twice_at_one_prefix_is_busy():
    tree = Tree(CountingProvider())
    await tree.attach(b"x", CountingProvider(), ME)
    with refuses(errno.EBUSY):
        await tree.attach(b"/x/", CountingProvider(), ME)


async def test_a_missing_directory_in_a_read_only_provider_is_refused():
    tree = Tree(CountingProvider(writable=False))
    with refuses(errno.EROFS):
        await tree.attach(b"x", CountingProvider(), ME)


async def test_attaching_over_content_hides_it_and_says_so():
    root = CountingProvider()
    tree = Tree(root)
    x = await root.mkdir(root.root, b"x", 0o755, ME)
    assert not (await tree.attach(b"x", CountingProvider(), ME)).hides
    await tree.detach(b"x")
    await root.mkdir(x.node, b"under", 0o755, ME)
    assert (await tree.attach(b"x", CountingProvider(), ME)).hides
    with refuses(errno.ENOENT):
        await tree.resolve(b"x/under")
    await tree.detach(b"x")
    await tree.resolve(b"x/under")


async def test_the_way_to_an_attach_point_is_pinned_until_detached():
    root = CountingProvider()
    tree = Tree(root)
    await tree.attach(b"a/b", CountingProvider(), ME)
    await tree.attach(b"a/c", CountingProvider(), ME)
    a = (await root.lookup(root.root, b"a")).node
    for node, name in ((root.root, b"a"), (a, b"b"), (a, b"c")):
        with refuses(errno.EBUSY):
            tree.root.check_unpinned(node, name)
    tree.root.check_unpinned(a, b"other")
    await tree.detach(b"a/b")
    tree.root.check_unpinned(a, b"b")
    with refuses(errno.EBUSY):
        tree.root.check_unpinned(root.root, b"a")
    await tree.detach(b"a/c")
    tree.root.check_unpinned(root.root, b"a")


async def test_crossing_is_refused_even_between_two_attachments_of_one_provider():
    tree, inner = Tree(CountingProvider()), CountingProvider()
    x = await tree.attach(b"x", inner, ME)
    y = await tree.attach(b"y", inner, ME, read_only=True)
    check_same(x, x)
    for pair in ((x, y), (x, tree.root)):
        with refuses(errno.EXDEV):
            check_same(*pair)
    assert x.siblings == (y,)
    with refuses(errno.EROFS):
        await y.provider.mkdir(inner.root, b"no", 0o755, ME)
    await tree.detach(b"y")
    assert x.siblings == ()


async def test_listeners_hear_of_changes_in_all_attachments_of_a_provider():
    tree, inner, recorder = Tree(CountingProvider()), CountingProvider(), Recorder()
    x = await tree.attach(b"x", inner, ME)
    await tree.attach(b"y", inner, ME)
    tree.subscribe(recorder)
    tree.changed(x, Change(inner.root, b"new"))
    assert sorted(recorder.seen) == [(b"x", b"new"), (b"y", b"new")]
    recorder.seen.clear()
    tree.changed(x, Change(inner.root, b"new"), by=recorder)
    assert recorder.seen == [(b"y", b"new")]
    recorder.seen.clear()
    inner.report(Change(inner.root, b"from elsewhere"))
    assert sorted(recorder.seen) == [(b"x", b"from elsewhere"), (b"y", b"from elsewhere")]
    await tree.detach(b"y")
    recorder.seen.clear()
    inner.report(Change(inner.root, b"later"))
    assert recorder.seen == [(b"x", b"later")]


async def test_resolve_walks_dots_and_links_within_the_tree():
    root = CountingProvider()
    tree = Tree(root, mountpoint=b"/mnt/v")
    inner = CountingProvider()
    await tree.attach(b"d/x", inner, ME)
    goal = await inner.mkdir(inner.root, b"goal", 0o755, ME)
    await root.symlink(root.root, b"relative", b"d/./x//goal", ME)
    await root.symlink(root.root, b"absolute", b"/mnt/v/d/x/goal", ME)
    await inner.symlink(inner.root, b"up", b"../x/goal", ME)
    for path in (b"relative", b"/absolute", b"d/x/up", b"d/x/../../d/x/goal", b"../d/x/goal"):
        place, _ = await tree.resolve(path)
        assert place.node is goal.node, path
    place, entry = await tree.resolve(b"relative", follow=False)
    assert entry.node is not goal.node


async def test_resolve_refuses_loops_and_ways_out():
    root = CountingProvider()
    tree = Tree(root, mountpoint=b"/mnt/v")
    await root.symlink(root.root, b"loop", b"loop", ME)
    await root.symlink(root.root, b"out", b"/etc", ME)
    await root.symlink(root.root, b"near", b"/mnt/virtual", ME)
    await root.symlink(root.root, b"sly", b"/mnt/v/../../etc", ME)
    for path, code in (
        (b"loop", errno.ELOOP),
        (b"out", errno.EXDEV),
        (b"near/x", errno.EXDEV),
        (b"sly", errno.EXDEV),
        (b"nothing", errno.ENOENT),
    ):
        with refuses(code):
            await tree.resolve(path)


async def test_resolve_parent_gives_the_last_name():
    tree = Tree(CountingProvider())
    await tree.attach(b"a/b", CountingProvider(), ME)
    place, name = await tree.resolve_parent(b"a/b/new")
    assert place.attachment.prefix == b"a/b"
    assert name == b"new"
    for path in (b"", b"/", b"a/.."):
        with refuses(errno.EINVAL):
            await tree.resolve_parent(path)


def test_split_path():
    assert split_path(b"//a/./b/") == [b"a", b"b"]
    assert split_path(b"\xff\n/ ") == [b"\xff\n", b" "]
    with refuses(errno.ENAMETOOLONG):
        split_path(b"x" * 256)


async def test_an_attach_that_fails_half_way_takes_its_directories_back():
    root = CountingProvider()
    tree = Tree(root)
    with refuses(errno.ENOSPC):
        root.room = 2
        await tree.attach(b"a/b/c", CountingProvider(), ME)
    assert not root.root.entries
    await root.symlink(root.root, b"link", b"a", ME)
    with refuses(errno.ENOTDIR):
        await tree.attach(b"link", CountingProvider(), ME)
