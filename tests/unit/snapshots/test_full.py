"""A store on a full disk: the whole snapshot or none, and everything before it unharmed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

SCRIPT = """
import os, shutil, sys
from pathlib import Path
from tests.unit.snapshots.storeworld import World
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.collection import collect
from vfsd.snapshots.refusals import StoreFull
from vfsd.snapshots.settling import settle
from vfsd.snapshots.verification import verify

place = Path(sys.argv[1])
world = World(place)
world.save("one", {"a": "1" * 5000, "d/x": "x"})
settle(world.store, "one")
old = world.shows("one")
PAGE = os.statvfs(place).f_bsize

def fill_up(leave):
    room = os.statvfs(place)
    with open(place / "ballast", "wb") as file:
        file.write(bytes(max(0, (room.f_bavail - leave) * PAGE)))

def healthy(names):
    assert world.store.names() == names, world.store.names()
    assert world.shows("one") == old
    assert verify(world.store, ["one"]).damages == []

refused = 0
for leave in range(200):
    if sys.argv[2] == "dir":
        made = world.upper({"new": "n" * 9000})
    else:
        made = world.pack({"new": os.urandom(9000).hex()})
    fill_up(leave)
    try:
        with world.store.lease("one") as lease:
            if sys.argv[2] == "dir":
                world.store.save_directory("two", made, base=lease.base, chain=lease.snapshot.chain)
            else:
                world.store.save_packed("two", made, base=lease.base, chain=lease.snapshot.chain)
    except StoreFull as error:
        assert error.exit_code == ExitCode.FULL
        assert "two" in error.message and str(world.root) in error.message
        refused += 1
        assert os.path.exists(made)
        healthy(["one"])
        os.unlink(place / "ballast")
        assert os.listdir(world.store.place.staging) == []
        assert len(world.store.layers()) == 1
        shutil.rmtree(made) if os.path.isdir(made) else os.unlink(made)
        continue
    healthy(["one", "two"])
    break
else:
    raise AssertionError("never enough room")
assert refused
os.unlink(place / "ballast")
assert verify(world.store).damages == []

# Settling and collecting without room: what is there stays, and is done when there is some.
world.save("three", {"t": "t" * 9000})
fill_up(0)
try:
    settle(world.store, "three")
except (UserError, OSError):
    pass
else:
    raise AssertionError("a manifest without room")
done = collect(world.store)
assert any("three" in reason for reason in done.kept), done
healthy(["one", "three", "two"])
os.unlink(place / "ballast")
assert collect(world.store).settled == ["three"]
assert verify(world.store).damages == []
print("done")
"""


@pytest.mark.parametrize("kind", ["dir", "packed"])
def test_no_room_at_any_step(tmp_path, kind):
    small = 'mount -t tmpfs -o size=2M tmpfs "$1" && exec "$2" -c "$3" "$1" "$4"'
    command = ["unshare", "-m", "--propagation", "private", "sh", "-ec", small, "sh"]
    done = subprocess.run(
        [*command, tmp_path, sys.executable, SCRIPT, kind],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr
