"""The daemon killed while trees on disk are written to: what was acknowledged is there again."""

import os
import random
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.fuse

ROUNDS = 3
SEED = 20

WRITER = """
import os, sys
number = int(sys.argv[1])
print("ready", flush=True)
while True:
    for tree in ("app", "over"):
        path = f"mount/{tree}/{number % 40}"
        with open(path + ".new", "w") as file:
            file.write(str(number) * 1000)
        os.rename(path + ".new", path)
        if number % 7 == 0:
            os.unlink(path)
            print(tree, number % 40, "", flush=True)
        else:
            print(tree, number % 40, number, flush=True)
    number += 1
"""


def attach(place):
    place.vfsd("mount", place.mount)
    place.vfsd("attach", place.root / "src", place.mount / "app")
    options = ["-o", f"lower={place.root / 'low'}", "-o", f"upper={place.root / 'up'}"]
    place.vfsd("attach", "overlay", place.mount / "over", *options)
    place.vfsd("fork", "kept", place.mount / "fork")


def test_what_was_acknowledged_is_there_after_any_kill(place):
    for name in ("src", "low", "up"):
        (place.root / name).mkdir()
    for number in range(40):
        (place.root / "low" / str(number)).write_text("low" * 1000)
    expected = {("over", str(number)): "low" * 1000 for number in range(40)}
    place.vfsd("mount", place.mount)
    (place.mount / "f").write_text("stored")
    place.vfsd("snapshot", "create", "kept", place.mount)
    place.vfsd("unmount", place.mount)
    chance = random.Random(SEED)
    number = 0
    for _ in range(ROUNDS):
        attach(place)
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(number)],
            cwd=place.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            said = [writer.stdout.readline() for _ in range(chance.randrange(1, 150))]
            (place.mount / "fork" / "g").write_text("lost with the daemon")
            os.kill(place.status()["pid"], signal.SIGKILL)
            said += writer.stdout.readlines()
        for line in said:
            if line.endswith("\n"):
                tree, name, made = line[:-1].split(" ")
                number = max(number, int(made or 0) + 1)
                expected[tree, name] = made * 1000
        attach(place)
        for tree in ("app", "over"):
            # Of the file that was under way when the daemon went nothing is known.
            known = {name: data for (kind, name), data in expected.items() if kind == tree}
            there = {
                path.name: path.read_text()
                for path in (place.mount / tree).iterdir()
                if path.suffix != ".new"
            }
            wrong = {
                name
                for name in known.keys() | there.keys()
                if known.get(name, "") != there.get(name, "")
            }
            assert len(wrong) <= 1, (tree, wrong)
            for name in wrong:
                expected[tree, name] = there.get(name, "")
        assert (place.mount / "fork" / "f").read_text() == "stored"
        assert not (place.mount / "fork" / "g").exists()
        place.vfsd("unmount", place.mount)
    assert "no damage found" in place.vfsd("snapshot", "verify").stdout
