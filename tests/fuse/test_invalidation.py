"""What the kernel is told, and when: the invalidator without a mount."""

import errno

import pyfuse3
import pytest
import trio
import trio.testing

from providers.memory import MemoryProvider
from vfsd.contract import Change
from vfsd.fuse.inodes import InodeTable, mint
from vfsd.fuse.invalidation import NO_NAME, PENDING_MAX, Invalidator
from vfsd.provider import Identity
from vfsd.tree import Tree

ME = Identity(0, 0)


class Kernel:
    """Records what it is told; `unknown` inodes are known after one word about their parent."""

    def __init__(self):
        self.told = []
        self.unknown = {}

    def invalidate_inode(self, ino, attr_only=False):
        self.told.append((ino, None))
        if ino in self.unknown:
            raise OSError(errno.ENOENT, "no such inode")

    def invalidate_entry(self, ino, name):
        self.told.append((ino, name))
        for child in [child for child, parent in self.unknown.items() if parent == ino]:
            del self.unknown[child]


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(pyfuse3, "invalidate_inode", kernel.invalidate_inode)
    monkeypatch.setattr(pyfuse3, "invalidate_entry", kernel.invalidate_entry)
    return kernel


@pytest.fixture
async def tree():
    tree = Tree(MemoryProvider())
    await tree.attach(b"a", MemoryProvider(), ME)
    return tree


async def test_an_inode_the_kernel_is_about_to_know_is_told_about_again(kernel, tree):
    """Between the answer to a lookup and its caller's waking up, the kernel has no inode yet."""
    table = InodeTable(tree.root)
    door = Invalidator(table)
    directory = (await tree.root.base.mkdir(tree.root.base.root, b"d", 0o755, ME)).node
    node = (await tree.root.base.mkdir(directory, b"e", 0o755, ME)).node
    parent, ino = mint(tree.root, directory), mint(tree.root, node)
    table.remember(tree.root, node, parent)
    kernel.unknown[ino] = parent
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.run)
        door.changed(tree.root, Change(node, data=False))
        await door.settled([tree.root])
        assert kernel.told == [(ino, None), (parent, NO_NAME), (ino, None)]
        assert not kernel.unknown
        del kernel.told[:]
        table.forget([(ino, 1)])
        door.changed(tree.root, Change(node, data=False))
        await door.settled([tree.root])
        assert kernel.told == [], "the kernel gave it back: there is nothing to tell"
        nursery.cancel_scope.cancel()


async def test_past_the_bound_everything_of_that_attachment_is_told(kernel, tree):
    table = InodeTable(tree.root)
    door = Invalidator(table)
    inner = tree.attachments[b"a"]
    table.remember(inner, inner.base.root, 1)
    for number in range(PENDING_MAX):
        door.changed(inner, Change(inner.base.root, b"%d" % number))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.run)
        await door.settled([inner])
        nursery.cancel_scope.cancel()
    assert kernel.told == [(mint(inner, inner.base.root), None), (1, b"a")]


async def test_only_what_was_asked_for_is_waited_for(kernel, tree, monkeypatch):
    """One attachment's directory is locked; others are told about, and it is once it is free."""
    table = InodeTable(tree.root)
    door = Invalidator(table)
    inner = tree.attachments[b"a"]
    table.remember(inner, inner.base.root, 1)
    gate = trio.Event()
    locked = mint(inner, inner.base.root)

    def invalidate_entry(ino, name):
        if ino == locked:
            trio.from_thread.run(gate.wait)
        kernel.told.append((ino, name))

    monkeypatch.setattr(pyfuse3, "invalidate_entry", invalidate_entry)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(door.run)
        door.changed(inner, Change(inner.base.root, b"x"))
        await trio.testing.wait_all_tasks_blocked()
        door.changed(tree.root, Change(tree.root.base.root, b"y"))
        with trio.fail_after(10):
            await door.settled([tree.root])
        assert (1, b"y") in kernel.told
        waited = trio.Event()

        async def wait_for_inner():
            await door.settled([inner])
            waited.set()

        nursery.start_soon(wait_for_inner)
        await trio.testing.wait_all_tasks_blocked()
        assert not waited.is_set()
        gate.set()
        with trio.fail_after(10):
            await waited.wait()
        assert (locked, b"x") in kernel.told
        nursery.cancel_scope.cancel()
