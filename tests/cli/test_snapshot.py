"""`vfsd snapshot` and `vfsd gc`: what they say, and the codes they end with."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.cli.command import Done, vfsd
from tests.unit.snapshots.storeworld import WHITEOUT, World, fill
from vfsd.cli.snapshot import VERBS
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.settling import settle
from vfsd.snapshots.store import Store


class Place(World):
    """A world whose store is the one that commands find."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.root = place / "state" / "vfsd" / "store"
        self.store = Store(str(self.root))

    def vfsd(self, *words: str) -> Done:
        return vfsd(*words, cwd=self.place, env={"XDG_RUNTIME_DIR": str(self.place)})


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path)


def names(done: Done) -> list[str]:
    return [line.split()[0] for line in done.out.decode().splitlines()[1:]]


def test_an_empty_store(place):
    done = place.vfsd("snapshot", "ls")
    assert (done.code, done.out) == (0, b"")
    assert "there are no snapshots" in done.err
    assert place.vfsd("snapshot", "ls", "--json").out == b"[]\n"
    assert place.vfsd("snapshot", "verify").code == 0
    assert place.vfsd("gc").out == b"nothing to do\n"
    assert not place.root.exists()


def test_what_is_listed(place):
    place.save("one", {"a": "x" * 3000}, command=["npm", "ci", "a b"])
    place.save("two", {"b": "y"}, on="one")
    settle(place.store, "one")
    done = place.vfsd("snapshot", "ls")
    lines = done.out.decode().splitlines()
    assert re.fullmatch(r"NAME +SIZE +AGE +PARENT +FROM", lines[0])
    assert re.fullmatch(r"one +\S+ +\d+s +- +npm ci 'a b'", lines[1])
    assert re.fullmatch(r"two +1B +\d+s +one +\(not yet on disk\)", lines[2])
    found = json.loads(place.vfsd("snapshot", "ls", "--json").out)
    assert [each["name"] for each in found] == ["one", "two"]
    assert found[0]["command"] == ["npm", "ci", "a b"]
    assert found[0]["base"] == str(place.base)
    assert found[1]["layers"] == 2


def test_a_size_is_what_no_other_has(place):
    place.save("one", {"a": "x" * 3000})
    place.save("two", {"b": "y" * 200}, on="one")
    place.save("three", {"b": "z" * 50}, on="two")
    found = {each["name"]: each for each in json.loads(place.vfsd("snapshot", "ls", "--json").out)}
    assert [found[name]["size_bytes"] for name in ("one", "two", "three")] == [0, 0, 50]
    told = json.loads(place.vfsd("snapshot", "show", "two", "--json").out)
    assert told["total_bytes"] == 3200
    assert [layer["snapshots"] for layer in told["chain"]] == [2, 3]


def test_all_about_one(place):
    place.save("one", {"a": "x"}, command=["echo", "\x1b[31mred"])
    place.save("two", {"b": WHITEOUT}, on="one")
    settle(place.store, "two")
    text = place.vfsd("snapshot", "show", "two").out.decode()
    assert re.search(r"^name: +two$", text, re.MULTILINE)
    assert re.search(r"^state: +durable$", text, re.MULTILINE)
    assert re.search(r"^parent: +one$", text, re.MULTILINE)
    assert re.search(rf"^base: +{re.escape(str(place.base))}$", text, re.MULTILINE)
    assert len(re.findall(r"^  [0-9a-f]{16}  dir, .*durable$", text, re.MULTILINE)) == 2
    assert "\x1b" not in place.vfsd("snapshot", "show", "one").out.decode()
    assert b"\x1b" not in place.vfsd("snapshot", "ls").out
    os.rename(place.base, place.place / "moved")
    assert "(which is not there)" in place.vfsd("snapshot", "show", "two").out.decode()
    with place.store.lease("two"):
        assert "in use" in place.vfsd("snapshot", "show", "two").out.decode()


@pytest.mark.parametrize("verb", ["show", "rm", "verify"])
def test_an_unknown_name(place, verb):
    place.save("one", {"a": "1"})
    done = place.vfsd("snapshot", verb, "none")
    assert done.code == ExitCode.NOT_FOUND
    assert "there is no snapshot 'none'" in done.err
    assert place.vfsd("snapshot", verb, "../one").code == ExitCode.USAGE


def test_removing(place):
    for name in ("one", "two", "three"):
        place.save(name, {"a": "x" * 20_000})
    done = place.vfsd("snapshot", "rm", "one", "none", "two")
    assert done.code == ExitCode.NOT_FOUND
    assert "none" in done.err
    assert re.fullmatch(rb"\d+K freed\n", done.out)
    assert names(place.vfsd("snapshot", "ls")) == ["three"]
    with place.store.lease("three"):
        refused = place.vfsd("snapshot", "rm", "three")
        assert refused.code == ExitCode.REFUSED
        assert "in use" in refused.err
        assert "--force" in refused.err
        forced = place.vfsd("snapshot", "rm", "--force", "three")
        assert forced.code == 0
        assert "is in use by a fork" in forced.err
        assert len(place.store.layers()) == 1
    assert b"removed 1 unused layer" in place.vfsd("gc").out
    assert place.store.layers() == []


def test_what_was_removed_as_json(place):
    place.save("one", {"a": "x" * 20_000})
    done = place.vfsd("snapshot", "rm", "--json", "one", "none")
    assert done.code == ExitCode.NOT_FOUND
    said = json.loads(done.out)
    assert said["removed"] == ["one"]
    assert said["freed_bytes"] >= 20_000


def test_another_name(place):
    place.save("one", {"a": "1"})
    place.save("two", {"b": "2"}, on="one")
    place.save("taken", {"c": "3"})
    shown = place.shows("one")
    for old, new, code in (
        ("none", "new", ExitCode.NOT_FOUND),
        ("one", "taken", ExitCode.REFUSED),
        ("one", "a/b", ExitCode.USAGE),
    ):
        assert place.vfsd("snapshot", "mv", old, new).code == code
    with place.store.lease("one"):
        refused = place.vfsd("snapshot", "mv", "one", "new")
        assert refused.code == ExitCode.REFUSED
        assert "in use" in refused.err
    assert names(place.vfsd("snapshot", "ls")) == ["one", "taken", "two"]
    assert place.vfsd("snapshot", "mv", "one", "new") == (0, b"", "")
    assert names(place.vfsd("snapshot", "ls")) == ["new", "taken", "two"]
    assert place.shows("new") == shown
    assert place.store.snapshot("two").parent == "new"
    assert place.vfsd("snapshot", "verify").code == 0


def test_damage_is_told_with_the_file_and_those_who_need_it(place):
    place.save("one", {"a": "1"})
    place.save("two", {"b": "2"}, on="one")
    place.save("other", {"o": "o"})
    assert place.vfsd("snapshot", "verify").out == b"3 snapshots, 3 layers: no damage found\n"
    broken = place.root / "layers" / place.store.snapshot("one").chain[0] / "tree" / "a"
    stat = broken.stat()
    broken.write_text("7")
    os.utime(broken, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    done = place.vfsd("snapshot", "verify")
    assert done.code == ExitCode.DAMAGED
    said = f"{broken} is not as it was: another content (needed by one, two)\n"
    assert done.out.decode() == said
    assert "1 damage found" in done.err
    assert place.vfsd("snapshot", "verify", "other").code == 0
    found = json.loads(place.vfsd("snapshot", "verify", "two", "--json").out)
    assert found["damages"][0]["snapshots"] == ["two"]


def test_a_damaged_record_is_listed_and_can_be_removed(place):
    place.save("one", {"a": "1"})
    place.save("two", {"b": "2"})
    Path(place.store.place.snapshot("two")).write_bytes(b"vfsd")
    done = place.vfsd("snapshot", "ls")
    assert done.code == 0
    assert names(done) == ["one", "two"]
    assert "damaged" in done.out.decode()
    assert place.vfsd("snapshot", "show", "two").code == ExitCode.DAMAGED
    assert "cannot be read" in place.vfsd("gc").err
    assert place.vfsd("snapshot", "rm", "two").code == 0
    assert len(place.store.layers()) == 1


def test_a_dry_run_changes_nothing(place):
    place.save("one", {"a": "x" * 20_000})
    os.unlink(place.store.place.snapshot("one"))
    fill(place.root / "staging" / "0123456789abcdef", {"upper/x": "x"})
    for words in (("gc", "-n"), ("gc", "--dry-run", "--json")):
        done = place.vfsd(*words)
        assert done.code == 0
        assert len(place.store.layers()) == 1
    assert json.loads(done.out)["leftovers"] == 1
    said = place.vfsd("gc").out.decode()
    assert "removed 1 leftover of what was never finished and 1 unused layer" in said
    assert place.store.layers() == []


def test_accepting_needs_a_name(place):
    assert place.vfsd("snapshot", "verify", "--accept").code == ExitCode.USAGE


def test_every_verb_has_help_and_an_unknown_one_is_refused(place):
    overview = place.vfsd("snapshot", "--help")
    assert overview.code == 0
    for verb in VERBS:
        assert f"  {verb} ".encode() in overview.out
        assert place.vfsd("snapshot", verb, "--help").code == 0
    assert place.vfsd("snapshot").code == ExitCode.USAGE
    assert place.vfsd("snapshot", "list").code == ExitCode.USAGE
    assert place.vfsd("gc", "--nonsense").code == ExitCode.USAGE
