"""Patches are what git reads, names cannot steer a terminal, and lines are matched well."""

from __future__ import annotations

import difflib
import os
import random
import subprocess

import pytest

from tests.unit.snapshots.randomtree import NAMES
from vfsd.snapshots.changes import compare
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.patch import Contents, patch
from vfsd.snapshots.quoting import harmless, quoted
from vfsd.snapshots.textdiff import Count, count, hunks


def patched(old, new, order) -> None:
    """Let `git apply` turn `old` into `new` by the patch between them."""
    with HostTree(old) as before, HostTree(new) as after:
        contents = Contents(before, after)
        text = b"".join(
            line for change in compare(before, after) for line in patch(change, contents)
        )
    git = ["git", "-c", "core.fileMode=true", "apply", "--whitespace=nowarn", "-"]
    done = subprocess.run(git, input=text, cwd=old, capture_output=True, check=False)
    assert done.returncode == 0, (order, done.stderr, text)


def write_tree(root, rng) -> None:
    root.mkdir()
    for folder in (b"", b"sub dir/", b"deep/er/"):
        os.makedirs(os.fsencode(root) + b"/" + folder, exist_ok=True)
        for name in [*NAMES, b"with blank", b'quo"te', b"back\\slash"]:
            path = os.fsencode(root) + b"/" + folder + name
            kind = rng.choice(["none", "text", "text", "text", "symlink"])
            if kind == "text":
                lines = [b"line %d\n" % rng.randrange(30) for _ in range(rng.randrange(60))]
                text = b"".join(lines) + rng.choice([b"", b"no newline at the end", b"\r", b"\xff"])
                with open(path, "wb") as file:
                    file.write(text)
                os.chmod(path, rng.choice([0o644, 0o755]))
            elif kind == "symlink":
                os.symlink(rng.choice([b"here", b"there"]), path)


@pytest.mark.parametrize("seed", range(8))
def test_git_applies_what_diff_prints(tmp_path, seed):
    rng = random.Random(seed)
    write_tree(tmp_path / "a", rng)
    write_tree(tmp_path / "b", rng)
    patched(tmp_path / "a", tmp_path / "b", seed)
    with HostTree(tmp_path / "a") as now, HostTree(tmp_path / "b") as wanted:
        assert list(Contents(now, wanted).count(each) for each in _files(now, wanted)) == []


def _files(one, other) -> list:
    """Return what git keeps and still differs."""
    contents = Contents(one, other)
    return [change for change in compare(one, other) if list(patch(change, contents))]


@pytest.mark.parametrize("seed", range(40))
def test_hunks_are_those_of_a_plain_comparison(seed):
    rng = random.Random(seed)
    size = rng.randrange(80)
    old = [b"%d\n" % rng.randrange(20) for _ in range(size)]
    new = list(old)
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(new) + 1)
        new[at : at + rng.randrange(3)] = [b"new %d\n" % rng.randrange(9)] * rng.randrange(4)
    plain = list(difflib.diff_bytes(difflib.unified_diff, old, new, lineterm=b"\n"))[2:]
    ours = list(hunks(b"".join(old), b"".join(new)))
    changed = sum(line[:1] in b"+-" for line in plain)
    assert sum(line[:1] in b"+-" for line in ours) <= changed + 4
    counted = count(b"".join(old), b"".join(new))
    assert counted == Count(
        sum(line[:1] == b"+" for line in ours), sum(line[:1] == b"-" for line in ours)
    )


def test_two_large_texts_without_a_line_in_common_take_no_time():
    old = b"".join(b"old %d\n" % number for number in range(20_000))
    new = b"".join(b"new %d\n" % number for number in range(20_000))
    assert count(old, new) == Count(20_000, 20_000)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain/name", b"plain/name"),
        ("ünï".encode(), "ünï".encode()),
        (b"a b", b"a b"),
        (b"a\nb", b'"a\\nb"'),
        (b"\x1b[31m", b'"\\033[31m"'),
        (b"\xff", b'"\\377"'),
        (b'q"\\', b'"q\\"\\\\"'),
        ("\u202eevil".encode(), b'"\\342\\200\\256evil"'),
        ("\x9b31m".encode(), b'"\\302\\23331m"'),
    ],
)
def test_names_are_quoted_as_git_quotes_them(name, shown):
    assert quoted(name) == shown


def test_text_cannot_steer_a_terminal():
    assert harmless(b"a\tb") == b"a\tb"
    assert harmless(b"\x1b]0;title\x07") == b"^[]0;title^G"
    assert harmless("\x9b31m".encode()) == b"\\u009b31m"
    assert harmless("\u202e".encode()) == b"\\u202e"
    assert harmless(b"\xff") == b"\\xff"
