"""Words on the command line that name a tree: a snapshot in the store, or a directory.

What holds a '/' or is a directory here is a directory; all else is a snapshot's name, which may
begin with ``snapshot:``. A snapshot is leased as long as it is looked at, so nobody removes it
meanwhile.

Concurrency: the trees that are opened belong to one verb, which closes them by its stack.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from vfsd.cli.progress import ProgressBar
from vfsd.control.transfer import Progress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.emptytree import EmptyTree
from vfsd.snapshots.hosttree import HostTree
from vfsd.snapshots.leasing import Lease
from vfsd.snapshots.names import without_mark
from vfsd.snapshots.store import Store
from vfsd.snapshots.view import TreeView


def is_directory_word(word: str) -> bool:
    """Say whether the word means a directory."""
    return "/" in word or os.path.isdir(word)


def lease(stack: ExitStack, name: str) -> Lease:
    """Hold a snapshot. UserError if there is none, or if it is damaged."""
    return stack.enter_context(Store().lease(without_mark(name)))


def refuse_damaged(held: Lease) -> None:
    """Check a snapshot that is to leave the store. Damaged names the file."""
    with ProgressBar("verifying") as bar:
        show = bar.callback

        def told(files: int, size_bytes: int) -> None:
            if show is not None:
                show(Progress(files, size_bytes))

        held.refuse_damaged(told)


def open_pair(stack: ExitStack, a: str, b: str | None) -> tuple[TreeView, TreeView]:
    """Open the old and the new tree of a comparison; a snapshot alone is the new one."""
    if b is not None:
        return open_tree(stack, a), open_tree(stack, b)
    if is_directory_word(a):
        raise UserError(
            f"{a} is a directory, which has no base; name a second one to compare it with",
            ExitCode.USAGE,
        )
    held = lease(stack, a)
    return open_base(stack, held), stack.enter_context(held.view())


def open_base(stack: ExitStack, held: Lease) -> TreeView:
    """Open what a snapshot stands on: a host directory as it is now, or nothing."""
    if held.base is not None:
        return stack.enter_context(HostTree(held.base))
    return EmptyTree(stack.enter_context(held.view()).item(b""))


def open_tree(stack: ExitStack, word: str) -> TreeView:
    """Open the tree that the word names."""
    if is_directory_word(word):
        return stack.enter_context(HostTree(word))
    return stack.enter_context(lease(stack, word).view())
