"""Modes as programs give them: `open`'s letters to flags, and the umask.

Concurrency: pure functions.
"""

from __future__ import annotations

import os


def flags_of(mode: str) -> int:
    """Return the open flags for a mode of Python's `open`; files are binary. ValueError."""
    letters = set(mode)
    main = letters & set("rwax")
    if len(main) != 1 or letters - set("rwaxb+") or len(letters) != len(mode):
        raise ValueError(f"{mode!r} is no mode for a binary file, such as 'rb', 'wb' or 'r+b'")
    access = os.O_RDWR if "+" in letters else os.O_RDONLY if "r" in letters else os.O_WRONLY
    return (
        access
        | {
            "r": 0,
            "w": os.O_CREAT | os.O_TRUNC,
            "a": os.O_CREAT | os.O_APPEND,
            "x": os.O_CREAT | os.O_EXCL,
        }[main.pop()]
    )


def read_umask() -> int:
    """Return the process's umask without changing it, as other threads may make files now."""
    with open("/proc/self/status", "rb") as source:
        for line in source:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    return 0o022
