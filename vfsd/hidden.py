"""What stands at a name of a tree's root that no listing tells, for those who may know of it.

What it is *not*: attaching (tree.py), which a user asks for, and `status` tells.

Concurrency: as the tree; showing is one step after the look whether the name is free.

Source: user_namespaces(7), "Interactions with ... ioctl" for what tells one from another.
"""

from __future__ import annotations

import os

import trio

from vfsd.attachment import Attachment
from vfsd.contract import Provider
from vfsd.readonly import ReadOnlyView
from vfsd.tree import Tree

LOOK_TIMEOUT_S = 2.0
"""Longest wait for a root provider to say whether it has the name itself."""


async def show_hidden(tree: Tree, name: bytes, provider: Provider) -> bool:
    """Show `provider` at `name`, read-only; False if the root has that name, or does not answer."""
    root = tree.root
    node = root.provider.root
    free = False
    with trio.move_on_after(LOOK_TIMEOUT_S):
        try:
            await root.provider.lookup(node, name)
        except FileNotFoundError:
            free = True
        except OSError:
            return False
    if not free or (node.number, name) in root.nested:
        return False
    attachment = Attachment(
        name,
        ReadOnlyView(provider),
        provider,
        tree.take_index(),
        True,
        host=root,
        host_node=node,
        name=name,
        hidden=True,
    )
    root.nested[node.number, name] = attachment
    root.pins[node.number, name] += 1
    attachment.pins_on_host = ((node.number, name),)
    return True


def may_see(pid: int) -> bool:
    """Say whether that process is of this one's user namespace: not in a sandbox.

    One that cannot be looked at, or has no number here, is of another.
    """
    try:
        there = os.stat(f"/proc/{pid}/ns/user")
    except OSError:
        return False
    here = os.stat("/proc/self/ns/user")
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
