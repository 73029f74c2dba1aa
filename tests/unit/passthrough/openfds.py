"""What a test must not leave open."""

import gc
import os
from contextlib import contextmanager


@contextmanager
def no_fd_stays():
    """Check that the block leaves the fds open that were; what others left is closed first."""
    gc.collect()
    before = os.listdir("/proc/self/fd")
    yield
    gc.collect()
    assert os.listdir("/proc/self/fd") == before
