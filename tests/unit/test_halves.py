"""scripts/test.py, which runs two halves at once, with halves that are no pytest."""

import os
import runpy
import signal
import subprocess
import sys

import pytest

from tests.mounted.daemon import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "test.py"
HALF = """
import os, sys
ready, told, release = (int(each) for each in sys.argv[1:4])
try:
    os.write(ready, b".")
    os.read(release, 1)
except KeyboardInterrupt:
    os.write(told, b".")
    os.read(release, 1)
    sys.exit(2)
"""
START = """
import functools, runpy, subprocess, sys
subprocess.Popen = functools.partial(subprocess.Popen, close_fds=False)
names = runpy.run_path(sys.argv[1])
names["PYTEST"][:] = [sys.executable, "-c", *sys.argv[2:]]
sys.argv[1:] = []
sys.exit(names["main"]())
"""


@pytest.mark.skipif(
    not runpy.run_path(str(SCRIPT))["_can_be_apart"](), reason="halves cannot be apart here"
)
def test_an_interrupt_is_told_to_both_halves_and_their_end_waited_for():
    ready, told, release = os.pipe(), os.pipe(), os.pipe()
    for fd in (ready[1], told[1], release[0]):
        os.set_inheritable(fd, True)
    words = [HALF, str(ready[1]), str(told[1]), str(release[0])]
    with subprocess.Popen(
        [sys.executable, "-c", START, str(SCRIPT), *words],
        start_new_session=True,
        close_fds=False,
    ) as parent:
        assert os.read(ready[0], 1) + os.read(ready[0], 1) == b".."
        os.killpg(parent.pid, signal.SIGINT)
        assert os.read(told[0], 1) + os.read(told[0], 1) == b".."
        assert parent.poll() is None
        os.write(release[1], b"..")
        assert parent.wait() == 2
    for fd in (*ready, *told, *release):
        os.close(fd)
