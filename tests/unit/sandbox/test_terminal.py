"""What is said where a machine has no terminals to give."""

import errno
import os

import pytest

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.terminal import Terminal


def test_a_machine_without_devpts_is_told_of(monkeypatch):
    def openpty():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr(os, "openpty", openpty)
    with pytest.raises(UserError) as refused:
        Terminal()
    assert "/dev/pts" in refused.value.message
    assert refused.value.exit_code == ExitCode.RUN_FAILED
