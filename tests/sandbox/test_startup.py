"""`vfsd run` starts fast: it imports nothing that it does not need.

The lists are of what may be imported, not of what is known to be slow: a start of bwrap takes
eight milliseconds, and one import of `typing` five.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

LIBRARY = {"__future__", "binascii", "errno", "fcntl", "gc", "select"}
"""Each is small, and none brings another."""

OURS = {
    *("vfsd", "vfsd.blocks", "vfsd.errors", "vfsd.exitcodes", "vfsd.mountinfo", "vfsd.named"),
    *("vfsd.nearest", "vfsd.xdg", "vfsd.configfile", "vfsd.configfile.places"),
    *("vfsd.cli", "vfsd.cli.main", "vfsd.cli.run", "vfsd.cli.rundefaults", "vfsd.cli.rundoors"),
    *("vfsd.cli.runlimits", "vfsd.cli.runoptions", "vfsd.cli.runpolicy"),
    *("vfsd.sandbox", "vfsd.sandbox.attendant", "vfsd.sandbox.bases", "vfsd.sandbox.changes"),
    *(
        "vfsd.sandbox.givenfile",
        "vfsd.sandbox.guardian",
        "vfsd.sandbox.holding",
        "vfsd.sandbox.host",
    ),
    *("vfsd.sandbox.limits", "vfsd.sandbox.mounts", "vfsd.sandbox.overlaid"),
    *("vfsd.sandbox.projects", "vfsd.sandbox.runner", "vfsd.sandbox.runs"),
    *("vfsd.sandbox.seccomp", "vfsd.sandbox.signals", "vfsd.sandbox.spawning"),
    *("vfsd.sandbox.spec", "vfsd.sandbox.steps"),
}

FORKED = {
    *("vfsd.cli.runkeeping", "vfsd.codec", "vfsd.digest", "vfsd.snapshots"),
    *("vfsd.snapshots.kept", "vfsd.snapshots.leasing", "vfsd.snapshots.locking"),
    *("vfsd.snapshots.names", "vfsd.snapshots.place", "vfsd.snapshots.records"),
    *("vfsd.snapshots.refusals", "vfsd.snapshots.store"),
}
"""What a fork of a snapshot takes besides, with msgpack and xxhash and what those bring."""

SLOW = {"contextlib", "ctypes", "dataclasses", "enum", "functools", "inspect", "re", "typing"}


def imported(box, *arguments: str) -> set[str]:
    """Return what a run of `vfsd` imports, after what Python itself does at its start."""
    # -I: what a test runner or an editable installation adds to Python's start is not ours.
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); before = set(sys.modules);"
        "from vfsd.cli.main import main; code = main();"
        "print(*set(sys.modules) - before); sys.exit(code)"
    )
    root = box.environment["PYTHONPATH"].split(":")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, root, *arguments],
        cwd=box.path,
        env=box.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_run_imports_what_it_needs_and_no_more(box):
    imported(box, "run", "--", "true")  # makes what is made once
    found = imported(box, "run", "--", "true")
    assert "vfsd.sandbox.runner" in found
    assert found - LIBRARY - OURS == set()


def test_a_fork_does_not_import_what_reads_or_writes_trees(box):
    imported(box, "run", "--save", "started", "--replace", "--", "true")
    found = imported(box, "run", "--quiet", "--from", "started", "--", "true")
    assert {each for each in found if each.startswith("vfsd")} - OURS == FORKED
    assert found & SLOW == set()


def test_what_saves_is_imported_when_the_command_was_started(box):
    script = "import sys; sys.path.insert(0, sys.argv.pop(1)); import vfsd.cli.runkeeping;"
    script += "print(*sys.modules)"
    root = box.environment["PYTHONPATH"].split(":")[0]
    words = [sys.executable, "-I", "-c", script, root]
    before = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert "vfsd.snapshots.store" in before.stdout.split()
    assert "vfsd.snapshots.sealing" not in before.stdout.split()
    saved = imported(box, "run", "--quiet", "--save", "started", "--replace", "--", "true")
    assert "vfsd.snapshots.sealing" in saved
