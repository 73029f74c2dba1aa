"""What the program that mounts the layers says when it cannot (enter.c, enter.py).

Concurrency: immutable values.
"""

from __future__ import annotations

import os

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

NAMESPACE, OPEN_LOWER, PLACE_TMPFS, MAKE_DIRECTORIES, MOUNT_OVERLAY, START = range(1, 7)

TOLD = {
    NAMESPACE: "this machine lets this user make no user namespace",
    OPEN_LOWER: "a directory of the base cannot be opened",
    PLACE_TMPFS: "no tmpfs can be mounted over the base",
    MAKE_DIRECTORIES: "the directories of the layer cannot be made",
    MOUNT_OVERLAY: "the kernel mounts no overlayfs over this base",
    START: "bwrap cannot be started",
}

REFUSED_ENGINE = frozenset({OPEN_LOWER, PLACE_TMPFS, MOUNT_OVERLAY})
"""Steps that another engine does without."""


class EngineFailed(UserError):
    """The layers could not be mounted; the command has not started, and nothing has changed."""

    def __init__(self, step: int, code: int) -> None:
        why = f"{TOLD.get(step, 'the layers cannot be mounted')}: {os.strerror(code)}"
        super().__init__(f"{why} ('vfsd doctor' says what this machine lacks)", ExitCode.RUN_FAILED)
        self.step = step
        self.why = why

    @property
    def is_the_engine_s(self) -> bool:
        """Say whether another engine might do."""
        return self.step in REFUSED_ENGINE
