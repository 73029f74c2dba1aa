"""Live snapshots through the control socket: what each verb does, and what it refuses."""

from __future__ import annotations

import errno

import pytest
import trio

from tests.control.test_verbs import raises
from vfsd import aclient
from vfsd.control.snapshotface import AsyncSnapshots, Snapshots
from vfsd.control.snapshotverbs import ListSnapshots
from vfsd.errors import UserError
from vfsd.exitcodes import Code, ExitCode
from vfsd.snapshots import live
from vfsd.snapshots.names import NAME_LIMIT


class Refusal:
    """Expects a `UserError` with an exit code, told in one sentence."""

    def __init__(self, code: Code, *words: str) -> None:
        self._code = code
        self._words = words
        self._raises = pytest.raises(UserError)

    def __enter__(self) -> None:
        self._info = self._raises.__enter__()

    def __exit__(self, *details) -> bool:
        swallowed = self._raises.__exit__(*details)
        assert self._info.value.exit_code == self._code
        for word in self._words:
            assert word in self._info.value.message
        assert "\n" not in self._info.value.message
        return swallowed


def test_a_named_snapshot_stays_as_it_was(client):
    client.write_bytes("f", b"1")
    made = client.snapshots.create("one")
    client.write_bytes("f", b"2")
    client.snapshots.attach("one", "seen")
    client.snapshots.fork("one", "fork")
    client.write_bytes("fork/f", b"3")
    seen = [client.read_bytes(path) for path in ("f", "seen/f", "fork/f")]
    assert seen == [b"2", b"1", b"3"]
    with raises(errno.EROFS):
        client.write_bytes("seen/f", b"4")
    assert made == client.snapshots.show("one")
    assert (made.name, made.prefix, made.parent, made.files) == ("one", b"", None, 2)
    assert made.size_bytes == 4096
    assert "memory" in made.provider


def test_a_tree_is_attached_twice_and_detached_and_its_snapshot_stays(client):
    client.write_bytes("f", b"1")
    client.snapshots.create("one")
    client.snapshots.attach("one", "a")
    client.snapshots.attach("one", "b")
    client.detach("a")
    assert client.read_bytes("b/f") == b"1"
    client.detach("b")
    client.snapshots.attach("one", "c")
    assert client.read_bytes("c/f") == b"1"


def test_removing_leaves_what_was_made_from_it(client):
    client.write_bytes("f", b"1")
    client.snapshots.create("one")
    client.snapshots.fork("one", "fork")
    client.snapshots.attach("one", "seen")
    client.snapshots.remove("one")
    client.write_bytes("f", b"2")
    assert client.read_bytes("fork/f") == client.read_bytes("seen/f") == b"1"
    with Refusal(ExitCode.NOT_FOUND, "'one'", "vfsd snapshot ls"):
        client.snapshots.show("one")


def test_a_snapshot_outlives_its_tree(client):
    client.attach("memory", "work")
    client.write_bytes("work/f", b"1")
    assert client.snapshots.create("one", "work").prefix == b"work"
    client.detach("work")
    client.snapshots.fork("one", "again")
    assert client.read_bytes("again/f") == b"1"


def test_a_taken_name_is_refused_and_nothing_changes(client):
    client.write_bytes("f", b"1")
    client.snapshots.create("one")
    client.write_bytes("f", b"2")
    with Refusal(ExitCode.REFUSED, "'one'", "--replace"):
        client.snapshots.create("one")
    client.snapshots.attach("one", "seen")
    assert client.read_bytes("seen/f") == b"1"
    client.snapshots.create("one", replace=True)
    client.snapshots.attach("one", "new")
    assert [client.read_bytes(path) for path in ("seen/f", "new/f")] == [b"1", b"2"]
    assert [each.name for each in client.snapshots.list()] == ["one"]


def test_replacing_by_what_cannot_be_frozen_keeps_the_old_one(client, tmp_path):
    client.write_bytes("f", b"1")
    client.snapshots.create("one")
    client.attach(tmp_path, "host")
    with Refusal(ExitCode.REFUSED, str(tmp_path), "cannot be frozen", "overlay"):
        client.snapshots.create("one", "host", replace=True)
    client.snapshots.attach("one", "seen")
    assert client.read_bytes("seen/f") == b"1"


def test_unknown_names_are_named(client):
    for verb in (client.snapshots.show, client.snapshots.remove):
        with Refusal(ExitCode.NOT_FOUND, "'none'"):
            verb("none")
    for verb in (client.snapshots.attach, client.snapshots.fork):
        with Refusal(ExitCode.NOT_FOUND, "'none'"):
            verb("none", "at")
    assert not client.exists("at")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "-x", "a/b", "a b", "a:b", "a\n", "\0", "ü", "\udcff", "x" * 129],
)
def test_a_wrong_name_is_refused(client, name):
    with Refusal(ExitCode.USAGE, "cannot be named"):
        client.snapshots.create(name)
    assert client.snapshots.list() == []


def test_the_longest_name_is_taken(client):
    assert client.snapshots.create("x" * NAME_LIMIT).name == "x" * NAME_LIMIT


def test_a_prefix_where_nothing_is_attached_is_refused(client):
    client.mkdir("d")
    with raises(errno.EINVAL):
        client.snapshots.create("one", "d")


def test_a_fork_over_what_is_attached_is_refused(client):
    client.snapshots.create("one")
    client.snapshots.fork("one", "at")
    with raises(errno.EBUSY):
        client.snapshots.fork("one", "at")


def test_listing_is_sorted_and_goes_page_by_page(client):
    names = sorted(f"s{number}" for number in range(25))
    for name in reversed(names):
        client.snapshots.create(name)
    assert [each.name for each in client.snapshots.list()] == names
    pages, after = [], b""
    while after is not None:
        page = client._call(_page(after, 10))
        pages.append([each.name for each in page.snapshots])
        after = page.after
    assert pages == [names[:10], names[10:20], names[20:]]


def _page(after: bytes, limit: int):
    from vfsd.control import replies
    from vfsd.control.calls import Call

    return Call(ListSnapshots(after, limit), replies.snapshot_page)


def test_parents_are_told_and_survive_a_removal_in_the_middle(client):
    def parents():
        return {each.name: each.parent for each in client.snapshots.list()}

    for name in ("a", "b", "c"):
        client.snapshots.create(name)
    client.snapshots.fork("b", "fork")
    client.snapshots.create("d", "fork")
    client.fork("fork", "other")
    client.snapshots.create("e", "other")
    assert parents() == {"a": None, "b": "a", "c": "b", "d": "b", "e": "d"}
    client.snapshots.remove("b")
    client.snapshots.remove("d")
    assert parents() == {"a": None, "c": "a", "e": "a"}
    client.snapshots.remove("a")
    assert parents() == {"c": None, "e": None}


def test_there_is_a_limit_and_it_is_told(client, monkeypatch):
    monkeypatch.setattr(live, "LIMIT", 3)
    for number in range(3):
        client.snapshots.create(f"s{number}")
    with Refusal(ExitCode.FULL, "3 live snapshots", "vfsd snapshot rm"):
        client.snapshots.create("one-more")
    client.snapshots.create("s1", replace=True)
    client.snapshots.remove("s0")
    client.snapshots.create("one-more")


def test_both_clients_have_the_same_methods():
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Snapshots) == methods(AsyncSnapshots)


def test_the_client_for_trio(daemon, tmp_path):
    async def use() -> None:
        async with await aclient.connect(tmp_path / "mount") as tree:
            await tree.write_bytes("f", b"1")
            made = await tree.snapshots.create("one")
            assert await tree.snapshots.show("one") == made
            assert await tree.snapshots.list() == [made]
            await tree.snapshots.attach("one", "seen")
            await tree.snapshots.fork("one", "fork")
            await tree.snapshots.remove("one")
            assert await tree.read_bytes("seen/f") == await tree.read_bytes("fork/f") == b"1"

    trio.run(use)
