"""A run that fails before its command starts takes back what it took."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.bwrap]


def groups() -> set[Path]:
    return set(Path("/sys/fs/cgroup").glob("**/vfsd-run-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hides /dev/pts, and makes groups directly")
def test_a_machine_that_gives_no_terminal_is_left_as_it_was(tmp_path):
    master, slave = os.openpty()
    before = groups()
    hiding = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/pts && exec "$@"', "sh")
    done = subprocess.run(
        [*hiding, sys.executable, "-m", "vfsd", "run", "--memory", "200M", "--", "true"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=slave,
        stdout=slave,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(master)
    os.close(slave)
    assert done.returncode == 125
    assert "/dev/pts" in done.stderr
    assert groups() == before
