"""Words on the command line that name a tree: a snapshot or a directory.

What holds a '/' or is a directory here is a directory; all else is a snapshot's name.

Concurrency: the trees that are opened belong to one verb, which closes them by its stack.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.view import TreeView


def is_directory_word(word: str) -> bool:
    """Say whether the word means a directory."""
    return "/" in word or os.path.isdir(word)


def open_pair(stack: ExitStack, a: str, b: str | None) -> tuple[TreeView, TreeView]:
    """Open the old and the new tree of a comparison; a snapshot alone is the new one."""
    if b is None and is_directory_word(a):
        raise UserError(
            f"{a} is a directory, which has no base; name a second one to compare it with",
            ExitCode.USAGE,
        )
    if b is None:
        raise UserError(f"there is no snapshot {a!r}", ExitCode.NOT_FOUND)
    return open_tree(stack, a), open_tree(stack, b)


def open_tree(stack: ExitStack, word: str) -> TreeView:
    """Open the tree that the word names."""
    if not is_directory_word(word):
        raise UserError(f"there is no snapshot {word!r}", ExitCode.NOT_FOUND)
    return stack.enter_context(HostTree(word))
