"""`vfsd snapshot ls`, `show` and `rm` of live snapshots, beside those in the store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import Done, vfsd
from tests.unit.snapshots.storeworld import fill
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.store import Store

pytestmark = pytest.mark.fuse


def run(mount, *words: str) -> Done:
    return vfsd(*words, cwd=mount.root, env=mount.environment)


def listed(mount) -> dict[str, dict]:
    found = json.loads(run(mount, "snapshot", "ls", "--json").out)
    return {each["name"]: each for each in found}


def test_live_ones_stand_beside_stored_ones(vfsd_mount):
    mount = vfsd_mount()
    (mount.path / "file").write_text("content")
    assert run(mount, "snapshot", "create", "--live", "alive", str(mount.path)).code == 0
    store = Store(str(Path(mount.environment["XDG_STATE_HOME"]) / "vfsd" / "store"))
    store.save_directory("kept", str(fill(mount.root / "upper", {"a": "1"})))
    found = listed(mount)
    assert {name: each["kind"] for name, each in found.items()} == {
        "alive": "live",
        "kept": "stored",
    }
    assert found["alive"]["mountpoint"] == str(mount.path)
    text = run(mount, "snapshot", "ls").out.decode()
    assert f"(live in {mount.path})" in text
    assert f"daemon:   {mount.path}" in run(mount, "snapshot", "show", "alive").out.decode()
    assert run(mount, "snapshot", "rm", "alive", "kept").code == 0
    assert listed(mount) == {}
    gone = run(mount, "snapshot", "rm", "alive")
    assert gone.code == ExitCode.NOT_FOUND


def test_a_name_in_two_daemons_is_not_guessed(vfsd_mount):
    one = vfsd_mount()
    third = one.root / "third"
    third.mkdir()
    assert run(one, "mount", str(third)).code == 0
    for place in (one.path, third):
        assert run(one, "snapshot", "create", "--live", "twice", str(place)).code == 0
    refused = run(one, "snapshot", "rm", "twice")
    assert refused.code == ExitCode.REFUSED
    assert "2 daemons" in refused.err
    assert run(one, "unmount", str(third)).code == 0
    assert run(one, "snapshot", "rm", "twice").code == 0


def test_what_a_daemon_stores_and_forks_is_in_use(vfsd_mount):
    mount = vfsd_mount()
    (mount.path / "file").write_text("content")
    assert run(mount, "snapshot", "create", "kept", str(mount.path)).code == 0
    found = listed(mount)["kept"]
    assert (found["kind"], found["state"], found["base"]) == ("stored", "durable", None)
    assert run(mount, "snapshot", "verify").code == 0
    assert run(mount, "fork", "kept", str(mount.path / "fork")).code == 0
    assert (mount.path / "fork" / "file").read_text() == "content"
    refused = run(mount, "snapshot", "rm", "kept")
    assert refused.code == ExitCode.REFUSED
    assert "in use" in refused.err
    assert run(mount, "detach", str(mount.path / "fork")).code == 0
    assert run(mount, "snapshot", "rm", "kept").code == 0
    assert b"nothing to do" in run(mount, "gc").out


def test_directories_of_a_mount_are_compared_and_applied_to(vfsd_mount):
    mount = vfsd_mount()
    target = mount.path / "other" / "target"
    source = mount.path / "tree"
    for each in (source, mount.path / "other"):
        assert run(mount, "attach", "memory", str(each)).code == 0
    (source / "d").mkdir()
    (source / "d" / "f").write_text("one")
    (source / "f").symlink_to("d/f")
    assert run(mount, "snapshot", "create", "made", str(source)).code == 0
    (target / "d").mkdir(parents=True)
    for exit_code in (1, 0):
        diff = run(mount, "diff", "--exit-code", "--name-status", str(target), str(source))
        assert diff.code == exit_code
        assert diff.out == (b"A\td/f\nA\tf\n" if exit_code else b"")
        assert run(mount, "apply", "made", str(target)).code == 0
    assert (target / "f").read_text() == "one"
    (target / "d" / "f").write_text("another")
    refused = run(mount, "apply", "made", str(target))
    assert refused.code == ExitCode.CONFLICT
    assert "d/f" in refused.err
    assert run(mount, "apply", "--force", "made", str(target)).code == 0
    assert (target / "f").read_text() == "one"
    for each in (source, mount.path / "other"):
        assert run(mount, "detach", str(each)).code == 0
