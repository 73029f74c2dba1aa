"""Listings by inode: who is in the middle of one goes on in it, and all of it is bounded."""

import pytest

from providers.memory import MemoryProvider
from vfsd.contract import Node
from vfsd.fuse import directories as module
from vfsd.fuse.directories import Directories
from vfsd.fuse.inodes import InodeTable
from vfsd.tree import Tree


@pytest.fixture
def table():
    return InodeTable(Tree(MemoryProvider()).root)


@pytest.fixture
def kept():
    return Directories()


def names(count, start=0):
    return [b"%d" % number for number in range(start, start + count)]


def test_a_listing_that_did_not_change_is_the_same_one(table, kept):
    first = kept.keep(table.root, names(10))
    assert kept.keep(table.root, names(10)) is first
    assert kept.find(table.root, 12) is first
    assert kept.find(table.root, 0) is None


def test_a_position_belongs_to_one_listing(table, kept):
    first, second = (kept.keep(table.root, names(10, start)) for start in (0, 5))
    last = first.base + len(first.names) + 2
    assert kept.find(table.root, last) is first
    assert kept.find(table.root, last + 1) is second
    assert kept.find(table.root, second.base + 12) is second
    assert kept.find(table.root, second.base + 13) is None


def test_an_empty_directory_has_a_listing_of_dots(table, kept):
    empty = kept.keep(table.root, [])
    assert [kept.find(table.root, position) is empty for position in range(4)] == [
        *(False, True, True, False)
    ]


def test_the_oldest_listings_go(table, kept):
    first = [kept.keep(table.root, names(3, start)) for start in range(module.EACH_MAX + 1)]
    assert kept.find(table.root, first[0].base + 1) is None
    assert kept.find(table.root, first[1].base + 1) is first[1]


def test_positions_stay_below_what_32_bits_can_hold(table, kept, monkeypatch):
    monkeypatch.setattr(module, "LAST_START", 100)
    bases = [kept.keep(table.root, names(40, start)).base for start in range(4)]
    assert bases == [0, 42, 84, 0]


def test_directories_and_names_are_bounded_but_the_last_is_kept(table, kept, monkeypatch):
    monkeypatch.setattr(module, "DIRECTORIES_MAX", 3)
    monkeypatch.setattr(module, "NAMES_MAX", 100)
    inodes = [table.remember(table.root.attachment, Node(number), 1) for number in range(2, 8)]
    for inode in inodes[:4]:
        kept.keep(inode, names(10))
    assert [inode.listed for inode in inodes] == [False, True, True, True, False, False]
    kept.keep(inodes[4], names(95))
    assert [inode.listed for inode in inodes] == [False, False, False, False, True, False]
    kept.keep(inodes[5], names(1000))
    assert [inode.listed for inode in inodes] == [False] * 5 + [True]


def test_what_the_kernel_gives_back_is_forgotten(table, kept):
    table.unlist = kept.forget
    inode = table.remember(table.root.attachment, Node(7), 1)
    kept.keep(inode, names(10))
    table.forget([(inode.ino, 1)])
    assert not inode.listed
    assert kept.find(inode, 5) is None
