"""Open a file as whatever archive it is.

What reads other kinds is imported only for them: it takes longer than to attach one of our own.

Concurrency: blocking.
"""

from __future__ import annotations

import os

from vfsd.archive.damage import Changed, Damage
from vfsd.archive.layout import HEADER_MAGIC
from vfsd.archive.opening import carries
from vfsd.archive.reader import Archive
from vfsd.archive.source import open_regular
from vfsd.archive.tree import ArchiveTree
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


def is_ours(path: str) -> bool:
    """Say whether the file is an archive of vfsd's own, or has one at its end. OSError."""
    with open(open_regular(path), "rb") as file:
        head = file.read(8)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 8))
        return head == HEADER_MAGIC or carries(file.read(8))


def is_archive(path: str) -> bool:
    """Say whether `open_tree` knows what the file is."""
    try:
        if is_ours(path):
            return True
        from vfsd.archive.foreign.indexing import kind_of

        return kind_of(path) is not None
    except (OSError, UserError):
        return False


def open_tree(path: str) -> ArchiveTree:
    """Open what the file is. OSError; UserError for damage."""
    try:
        if is_ours(path):
            return Archive.open(path)
        from vfsd.archive.foreign.indexing import kind_of, open_foreign

        return Archive.open(path) if kind_of(path) is None else open_foreign(path)
    except Damage as damage:
        raise damage.user_error(path) from damage
    except Changed:
        raise UserError(
            f"{path} is being changed; try again when it is finished", ExitCode.FAILED
        ) from None
