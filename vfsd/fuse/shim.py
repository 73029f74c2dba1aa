"""The small C library between pyfuse3 and libfuse (shim.c and others), where it was built.

It saves requests that pyfuse3 alone cannot save, answers where a listing ends (endings.c), tells
for which inode statfs asks and which writes are of the kernel's own cache, and makes memory ready
for large writes (blocks.c). It has to be loaded before pyfuse3, so that its `fuse_session_new` is
found first: vfsd/fuse/__init__.py imports this module for that. Without it (no compiler at install
time, another libfuse) `shim` is None and everything works the same, with more requests, but for two
things: `df` tells of the root provider only, and a file that is open for reading and appending
cannot be mapped shared, for the pages changed through the map could not be told from what is to be
appended.

Concurrency: plain memory, written and read from the event loop's thread, in which libfuse calls
into it as well.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

LIBRARY = Path(__file__).with_name("_shim.so")


class Shim:
    """The loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._enabled = ctypes.c_int.in_dll(library, "vfsd_shim_enabled")
        self._sessions = ctypes.c_int.in_dll(library, "vfsd_shim_sessions")
        self._statfs_inode = ctypes.c_uint64.in_dll(library, "vfsd_shim_statfs_inode")
        self._writes_back = ctypes.c_int.in_dll(library, "vfsd_shim_writes_back")
        self._caller = ctypes.c_uint32.in_dll(library, "vfsd_shim_caller")
        self._protocol = ctypes.c_uint32.in_dll(library, "vfsd_shim_protocol")
        self._given = ctypes.c_uint64.in_dll(library, "vfsd_blocks_given")
        # Called with the GIL held, which those for blocks rely on.
        blocks = ctypes.PyDLL(library._name)
        self.note_ending: Callable[[int, int], None] = blocks.vfsd_note_ending
        """Answer, from now on, that nothing is at that position of a directory's listing."""
        blocks.vfsd_note_ending.argtypes = [ctypes.c_uint64, ctypes.c_int64]
        blocks.vfsd_note_ending.restype = None
        self._enable_blocks = blocks.vfsd_blocks_enable
        self._enable_blocks.argtypes, self._enable_blocks.restype = [ctypes.c_size_t], None
        self.prepare: Callable[[], int] = blocks.vfsd_blocks_step
        """Make a little memory ready for a large write; 0 if there is nothing to do."""

    def enable(self) -> None:
        """Take part in the session that is made next."""
        self._enabled.value = 1
        if not sysconfig.get_config_var("Py_GIL_DISABLED"):
            self._enable_blocks(sys.getsizeof(b""))

    def blocks_given(self) -> int:
        """Return how many large writes found memory ready for them."""
        return int(self._given.value)

    @property
    def works(self) -> bool:
        """True once a session was made through it."""
        return self._sessions.value > 0

    def statfs_inode(self) -> int:
        """Return the inode of the statfs request whose handler runs now."""
        return int(self._statfs_inode.value)

    def caller(self) -> int:
        """Return the thread whose request the handler that starts now is for; 0: the kernel."""
        return int(self._caller.value)

    def protocol(self) -> int:
        """Return the minor version of what the kernel speaks; 0 before it said so."""
        return int(self._protocol.value)

    def writes_back(self) -> bool:
        """Say whether the write request whose handler runs now is of pages the kernel kept."""
        return self._writes_back.value != 0


def _load() -> Shim | None:
    if not LIBRARY.exists():
        return None
    try:
        return Shim(ctypes.CDLL(os.fspath(LIBRARY), mode=ctypes.RTLD_GLOBAL))
    except (OSError, ValueError) as error:
        log.warning("serving without %s, with more requests: %s", LIBRARY.name, error)
        return None


shim = _load()
