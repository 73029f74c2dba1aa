"""Words on the command line that name an archive to read: vfsd's own, or another kind's.

Concurrency: one verb; blocking.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vfsd.archive.damage import Changed, Damage
from vfsd.archive.opened import open_tree
from vfsd.archive.tree import ArchiveTree
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


@contextmanager
def opened(path: str) -> Iterator[ArchiveTree]:
    """Open an archive of any kind; damage met while it is open is a sentence about it."""
    tree = open_tree(path)
    try:
        yield tree
    except Damage as damage:
        raise damage.user_error(path) from damage
    except Changed:
        raise UserError(f"{path} was changed while it was read", ExitCode.FAILED) from None
    finally:
        tree.close()
