"""`vfsd run` starts fast: it imports nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.fuse, pytest.mark.bwrap]

SLOW = {
    *("trio", "msgpack", "xxhash", "pyfuse3", "rich", "asyncio", "subprocess", "json", "pathlib"),
    *("argparse", "dataclasses", "shutil", "tempfile", "socket", "logging", "vfsd.runtime"),
    *("inspect", "ast", "random", "hashlib", "datetime", "importlib.metadata", "vfsd.snapshots"),
}
"""Each of these takes some milliseconds; a bare bwrap takes five in all."""


def test_nothing_slow_is_imported(box):
    # -I: what a test runner or an editable installation adds to Python's start is not ours.
    script = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); before = set(sys.modules);"
        "from vfsd.cli.main import main; sys.argv[1:] = ['run', '--', 'true'];"
        "code = main(); print(*set(sys.modules) - before); sys.exit(code)"
    )
    root = box.environment["PYTHONPATH"].split(":")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, root],
        cwd=box.path,
        env=box.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert "vfsd.sandbox.runner" in imported
    assert imported & SLOW == set()
