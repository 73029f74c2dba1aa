"""The store of a user who is not root, with what runs of root left in it."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

USER = "nobody"


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="vfsd-store-") as name:
        ids = pwd.getpwnam(USER)
        os.chown(name, ids.pw_uid, ids.pw_gid)
        yield Path(name)


def as_user(place: Path, script: str, world: str = "world = World(place)\n") -> str:
    """Run a script as the user, with a world in `place`; return what it prints."""
    head = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tests.unit.snapshots.storeworld import OPAQUE, WHITEOUT, World\n"
        "from vfsd.errors import UserError\n"
        "from vfsd.snapshots.collection import collect, foresee, remove\n"
        "from vfsd.snapshots.settling import settle\n"
        "from vfsd.snapshots.verification import verify\n"
        "from vfsd.snapshots.store import Store\n"
        "place = Path(sys.argv[1])\n"
    )
    ids = pwd.getpwnam(USER)
    done = subprocess.run(
        [
            *("setpriv", f"--reuid={ids.pw_uid}", f"--regid={ids.pw_gid}", "--clear-groups"),
            *(sys.executable, "-B", "-c", head + world + script, place),
        ],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_whiteouts_and_opaque_marks_are_kept_merged_and_removed(place):
    as_user(
        place,
        """
world.save("one", {"a": "1", "d/x": "1", "kept": WHITEOUT})
world.save("two", {"a": WHITEOUT, "d": OPAQUE, "d/y": "2"}, on="one")
before = world.shows("two")
assert before == {"d/y": "2", "changed": "base"}, before
remove(world.store, "one")
assert len(world.store.snapshot("two").chain) == 1
assert world.shows("two") == before
assert verify(world.store).damages == []
remove(world.store, "two")
assert world.store.layers() == []
assert os.listdir(world.store.place.staging) == []
""",
    )


def test_what_the_command_closed_is_kept_and_removed(place):
    """A root directory without w, directories and files of mode 0: all are a command's right."""
    as_user(
        place,
        """
upper = world.upper({"closed/inner": "x", "secret": "s", "open": "o"})
os.chmod(f"{upper}/closed", 0)
os.chmod(f"{upper}/secret", 0)
os.chmod(upper, 0o555)
world.store.save_directory("one", upper)
tree = world.store.place.layer(world.store.snapshot("one").chain[0], "tree")
assert os.stat(tree).st_mode & 0o777 == 0o555
settle(world.store, "one")
assert verify(world.store).damages == []
world.save("two", {"n": "n"}, on="one")
done = remove(world.store, "one")
# It cannot be merged without reading what is closed: said, and nothing is lost.
assert any("stay apart" in reason for reason in done.kept), done
assert len(world.store.snapshot("two").chain) == 2
remove(world.store, "two")
assert world.store.layers() == []
assert os.listdir(world.store.place.staging) == []
""",
    )


def test_a_name_that_is_taken_leaves_a_closed_directory_where_it_was(place):
    as_user(
        place,
        """
world.save("one", {"a": "1"})
upper = world.upper({"x": "y"})
os.chmod(upper, 0o555)
try:
    world.store.save_directory("one", upper)
except UserError:
    pass
world.store.check_free = lambda name: None
try:
    world.store.save_directory("one", upper)
except UserError:
    pass
assert os.stat(upper).st_mode & 0o777 == 0o555
assert os.listdir(upper) == ["x"]
assert len(world.store.layers()) == 1
""",
    )


def test_files_of_another_user_are_named_when_they_cannot_be_removed(place):
    as_user(
        place,
        """
world.save("one", {"d/of-root": "x", "mine": "m"})
print(world.store.place.layer(world.store.snapshot("one").chain[0], "tree"))
""",
    )
    layer = next((place / "store" / "layers").iterdir())
    os.chown(layer / "tree" / "d", 0, 0)
    os.chown(layer / "tree" / "d" / "of-root", 0, 0)
    told = as_user(
        place,
        """
done = remove(world.store, "one")
print(done.kept)
print(os.listdir(world.store.place.layers))
""",
    )
    assert "of-root cannot be removed" in told
    assert "another user" in told
    assert told.endswith("[]\n")
    # The next time it says so again, and root can do it.
    assert "of-root" in as_user(place, "print(collect(world.store).kept)")


def test_a_store_that_belongs_to_somebody_else(place):
    (place / "store").mkdir(mode=0o700)
    told = as_user(
        place,
        """
for call in (lambda: Store(str(place / "store")).names(), lambda: World(place)):
    try:
        call()
    except PermissionError as error:
        print(error.filename)
""",
        world="",
    )
    assert told.count(str(place / "store")) == 2
