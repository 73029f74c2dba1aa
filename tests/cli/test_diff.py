"""`vfsd diff` on directories: its forms, its exit codes, and what a terminal gets."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from tests.cli.command import on_a_terminal, vfsd
from vfsd.exitcodes import ExitCode


@pytest.fixture
def trees(tmp_path) -> Path:
    a, b = tmp_path / "a", tmp_path / "b"
    for root in (a, b):
        (root / "dir").mkdir(parents=True)
        os.utime(root / "dir", ns=(0, 0))
        for name in ("text", "script", "gone", "binary", "to-link", "same"):
            (root / name).write_text("one\ntwo\n")
            os.utime(root / name, ns=(0, 0))
    (b / "text").write_text("one\n2\n")
    (b / "script").chmod(0o755)
    (b / "gone").unlink()
    (b / "binary").write_bytes(b"\0" * 20)
    (b / "to-link").unlink()
    os.symlink("text", b / "to-link")
    (b / "dir" / "new").write_text("new\n")
    os.link(b / "dir" / "new", b / "dir" / "newer")
    return tmp_path


def test_letters(trees):
    done = vfsd("diff", "--name-status", "./a", "./b", cwd=trees)
    assert done.code == 0
    assert done.out.decode().splitlines() == [
        "M\tbinary",
        "A\tdir/new",
        "A\tdir/newer\t(link to dir/new)",
        "D\tgone",
        "P\tscript\t(mode 0644 -> 0755)",
        "M\ttext",
        "T\tto-link\t(file -> symlink)",
    ]


def test_lines_and_text_by_default(trees):
    out = vfsd("diff", "a", "b", cwd=trees).out.decode()
    assert "M\ttext\ndiff --git a/text b/text\n--- a/text\n+++ b/text\n@@ -1,2 +1,2 @@\n" in out
    assert " one\n-two\n+2\n" in out
    assert "Binary files a/binary and b/binary differ" in out
    assert "deleted file mode 100644" in out


def test_a_patch_alone(trees):
    out = vfsd("diff", "-p", "a", "b", cwd=trees).out.decode()
    starts = {line.split(" ")[0] for line in out.splitlines() if line[:1] not in " +-@\\"}
    assert starts <= {"diff", "old", "new", "deleted", "Binary", "#"}
    assert "old mode 100644\nnew mode 100755\n" in out


def test_stat(trees):
    out = vfsd("diff", "--stat", "a", "b", cwd=trees).out.decode().splitlines()
    assert out[-1] == " 7 files changed, 4 insertions(+), 5 deletions(-)"
    assert " text      |     2 +-" in out
    assert " binary    | Bin 8 -> 20 bytes" in out


def test_json_and_names_that_are_no_text(trees):
    odd = os.fsencode(trees / "b") + b"/\xff\n"
    Path(os.fsdecode(odd)).write_text("")
    rows = json.loads(vfsd("diff", "--json", "a", "b", cwd=trees).out)
    by_path = {row["path"]: row for row in rows}
    assert by_path["text"]["status"] == "M"
    assert "content" in by_path["text"]["aspects"]
    assert by_path["text"]["new"]["size"] == 6
    assert by_path["gone"]["new"] is None
    assert by_path["to-link"]["new"]["target"] == "text"
    assert by_path["dir/newer"]["link_to"] == "dir/new"
    assert base64.b64decode(by_path["\ufffd\n"]["path_base64"]) == b"\xff\n"
    assert vfsd("diff", "--name-only", "a", "b", "--", "nothing", cwd=trees).out == b""
    assert b'"\\377\\n"\n' in vfsd("diff", "--name-only", "a", "b", cwd=trees).out
    raw = vfsd("diff", "-z", "--name-only", "a", "b", cwd=trees).out
    assert b"\xff\n" in raw.split(b"\0")


def test_limits(trees):
    out = vfsd("diff", "--name-only", "a", "b", "--", "dir/", "text", cwd=trees).out
    assert out == b"dir/new\ndir/newer\ntext\n"


def test_exit_codes(trees):
    assert vfsd("diff", "--exit-code", "a", "b", cwd=trees).code == 1
    assert vfsd("diff", "--exit-code", "a", "a", cwd=trees).code == 0
    quiet = vfsd("diff", "-q", "a", "b", cwd=trees)
    assert (quiet.code, quiet.out) == (1, b"")
    assert vfsd("diff", "a", cwd=trees).code == ExitCode.USAGE
    assert vfsd("diff", "-z", "a", "b", cwd=trees).code == ExitCode.USAGE
    assert vfsd("diff", "a", "./nothing", cwd=trees).code == ExitCode.NOT_FOUND
    missing = vfsd("diff", "no-such-snapshot", cwd=trees)
    assert missing.code == ExitCode.NOT_FOUND
    assert "no-such-snapshot" in missing.err


def test_time_alone_is_shown_when_asked(trees):
    os.utime(trees / "b" / "same", ns=(0, 5))
    assert b"same" not in vfsd("diff", "--name-status", "a", "b", cwd=trees).out
    out = vfsd("diff", "--times", "--name-status", "a", "b", cwd=trees).out
    assert b"U\tsame\t(time)\n" in out


def test_a_terminal_gets_colours_and_nothing_that_steers_it(trees):
    evil = b"\x1b]0;owned\x07"
    (trees / "b" / "text").write_bytes(b"one\n" + evil + b"\n")
    Path(os.fsdecode(os.fsencode(trees / "b") + b"/\x1b[2J")).write_text("")
    words = ("diff", "a", "b", "--", "text", "\x1b[2J")
    shown = on_a_terminal(*words, cwd=trees, env={"NO_COLOR": ""})
    assert b"\x1b[32m+^[]0;owned^G\x1b[m" in shown
    assert b'"\\033[2J"' in shown
    assert evil not in shown
    plain = on_a_terminal(*words, cwd=trees, env={"NO_COLOR": "1"})
    assert b"\x1b" not in plain
    assert vfsd(*words, cwd=trees).out.count(evil) == 1
