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
    *("vfsd.sandbox.givenfile", "vfsd.sandbox.guardian", "vfsd.sandbox.holding", "vfsd.sandbox.host"),
    *("vfsd.sandbox.limits", "vfsd.sandbox.mounts", "vfsd.sandbox.overlaid"),
    *("vfsd.sandbox.projects", "vfsd.sandbox.runner", "vfsd.sandbox.runs"),
    *("vfsd.sandbox.seccomp", "vfsd.sandbox.signals", "vfsd.sandbox.spawning"),
    *("vfsd.sandbox.spec", "vfsd.sandbox.steps"),
}


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
