"""No path of the host shows inside but that of the base, whatever the run is made from.

The base stands at its own path, as docs/SECURITY.md says, and there alone; with `--at` it does
not show either. Paths are looked for where a program can find them: its environment, the tables
of mounts, the command lines and links of every process it sees.
"""

from __future__ import annotations

import os

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

LOOK = r"""
env
cat /proc/*/mountinfo /proc/*/mounts /proc/*/mountstats
for each in /proc/[0-9]*; do
    for name in environ cmdline maps comm; do tr '\0' '\n' <$each/$name; done
    for name in cwd root exe fd/* map_files/*; do readlink $each/$name; done
done
cat /etc/passwd /etc/hosts /etc/mtab /proc/swaps
find / -xdev -not -path '/usr/*' -not -path "$1*"
"""


@pytest.mark.parametrize("kind", ["plain", "saved", "forked", "layer", "at"])
def test_no_other_path_of_the_host_shows(person, engine, kind):
    person.write("sub/file", "x")
    person.write(".git/HEAD", "")
    person.sh("echo 1 >made", "--engine", engine, "--save", "warm")
    words = {
        "plain": (),
        "saved": ("--save", "later"),
        "forked": ("--from", "warm", "--save", "later"),
        "layer": ("--layer", person.path.parent / "run" / "kept"),
        "at": ("--from", "warm", "--at", "/work"),
    }[kind]
    shown = "/work" if kind == "at" else str(person.path)
    done = person.done(
        *("run", "--engine", engine, *words, "--", "sh", "-c", LOOK, "sh", shown),
        cwd=person.path / "sub",
        env={**person.environment, "OLDPWD": str(person.root / "home"), "_": "/canary/vfsd"},
        text=False,
    )
    assert done.returncode in (0, 1), done.stderr
    seen = os.fsdecode(done.stdout)
    assert f" {shown} " in seen, "the table of mounts was looked at"
    if kind != "at":
        # The base, and the directory that was made for it to stand in.
        seen = seen.replace(shown, "").replace(f"{person.root}\n", "")
    for host in (str(person.root), "canary", os.path.dirname(os.path.dirname(__file__))):
        assert host not in seen, [line for line in seen.splitlines() if host in line]
