"""Which files the tidy checks read: all that a clone holds, nothing that tools made.

Not git's list: a source archive has no git, and a file is checked before it is added.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MADE_BY_TOOLS = {".git", ".venv", ".cache", "__pycache__", "node_modules", "dist", "build"}


def all_files() -> Iterator[Path]:
    """Yield every file of the project."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(
            name
            for name in folders
            if name not in MADE_BY_TOOLS and not name.endswith(("_cache", ".egg-info"))
        )
        for name in sorted(names):
            # In a further work tree of git, .git is a file that names the first one.
            if name not in MADE_BY_TOOLS and not name.endswith(".pyc"):
                yield Path(folder, name)


def python_files(*folders: str) -> list[Path]:
    """Return the Python files in these top-level folders."""
    return [
        path
        for path in all_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders
    ]


def shown(path: Path) -> str:
    """Return the path as a person would name it, and as test ids show it."""
    return str(path.relative_to(ROOT))
