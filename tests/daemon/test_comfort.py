"""`vfsd tree`, `events` and `logs`, and the hints that a mistyped word gets."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

pytestmark = pytest.mark.fuse


def test_tree_shows_what_stands_on_what(mounted):
    mounted.vfsd("attach", "memory", mounted.mount / "a")
    mounted.vfsd("attach", "memory", mounted.mount / "a/b c", "--read-only")
    mounted.vfsd("attach", "memory", mounted.mount / "z")
    shown = mounted.vfsd("tree", mounted.mount).stdout.splitlines()
    assert [line.split("  ")[0] for line in shown] == [
        "TARGET",
        str(mounted.mount),
        "├─/a",
        "│ └─/a/b c",
        "└─/z",
    ]
    assert "  ro    memory" in shown[3]
    (described,) = json.loads(mounted.vfsd("tree", "--json", mounted.mount).stdout)
    assert described["target"] == str(mounted.mount)
    first, second = described["children"]
    assert (first["target"], second["target"]) == ("/a", "/z")
    assert first["children"][0]["mode"] == "ro"
    for prefix in ("a/b c", "a", "z"):
        mounted.vfsd("detach", mounted.mount / prefix)


def test_tree_shows_a_mount_whose_daemon_is_gone(place):
    place.vfsd("mount", place.mount)
    os.kill(place.status()["pid"], signal.SIGKILL)
    shown = ""
    while "dead" not in shown:  # the kernel takes a moment to end it
        shown = place.vfsd("tree").stdout
    assert str(place.mount) in shown
    place.vfsd("unmount", place.mount)


@contextmanager
def watching(place, *words):
    with subprocess.Popen(
        [sys.executable, "-m", "vfsd", "events", *words, str(place.mount)],
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert "watching" in child.stdout.readline()
            yield child
        finally:
            child.kill()


def test_events_come_as_they_happen_by_every_door(mounted):
    with watching(mounted, "--json") as child:
        (mounted.mount / "made").touch()
        first = json.loads(child.stdout.readline())
        assert {**first, "time_s": 0} == {
            "event": "entry",
            "prefix": "/",
            "node": 1,
            "name": "made",
            "path": "/made",
            "time_s": 0,
        }
        mounted.vfsd("put", __file__, mounted.mount / "put")
        kinds = set()
        while "/put" not in kinds:  # it is written under a temporary name first
            kinds.add(json.loads(child.stdout.readline()).get("path"))
        (mounted.mount / "made").write_text("data")
        while json.loads(child.stdout.readline())["event"] != "data":
            pass


def test_events_end_after_so_many(mounted):
    with watching(mounted, "-n", "1") as child:
        (mounted.mount / "made").touch()
        output, errors = child.communicate(timeout=30)
        assert child.returncode == 0, errors
        assert output.endswith(" entry      /made\n")


def test_events_are_lines_and_end_with_control_c(mounted):
    with watching(mounted) as child:
        os.mkdir(os.fsencode(mounted.mount) + b"/odd\n\xff")
        assert child.stdout.readline().endswith(" entry      /odd\\n\\udcff\n")
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=30)
        assert child.returncode == 130
        assert "Traceback" not in errors


def test_logs_are_told_while_it_lives_and_after(place):
    place.vfsd("mount", place.mount)
    place.vfsd("attach", "memory", place.mount / "a")
    assert "attached memory" in place.vfsd("logs", place.mount / "a").stdout
    place.vfsd("detach", place.mount / "a")
    place.vfsd("unmount", place.mount)
    lines = [
        json.loads(line) for line in place.vfsd("logs", "--json", place.mount).stdout.splitlines()
    ]
    assert "unmounted from" in lines[-1]["message"]
    assert lines[-1]["level"] == "INFO"
    assert place.vfsd("logs", "-n", "1", place.mount).stdout.count("\n") == 1
    assert "there is no log for" in place.refused(5, "logs", place.root)
    assert "exclude each other" in place.refused(2, "logs", "-f", "--json", place.mount)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("status", "--jsn"), "did you mean --json?"),
        (("mount", "--read-onyl", "x"), "did you mean --read-only?"),
        (("snapshot", "ls", "--jsno"), "did you mean --json?"),
        (("snapshot", "creat"), "did you mean 'create'?"),
        (("mout",), "did you mean 'vfsd mount'?"),
    ],
)
def test_a_mistyped_word_is_told_the_right_one(place, words, hint):
    done = place.vfsd(*words, check=False)
    assert done.returncode == 2
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_like_nothing_gets_no_hint(place):
    done = place.vfsd("status", "--zzzzzz", check=False)
    assert "did you mean" not in done.stderr
