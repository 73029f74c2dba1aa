"""Lazy directories and dynamic files in the tree: how they are added, and populated.

Populating changes neither the directory's times nor what a snapshot shows: a snapshot that
has the directory unpopulated takes the same content when it is first asked for it. What is
populated belongs to the directory's owner and counts against the quotas.

What is *not* here: running the populate function (population.py).

Concurrency: `populate` suspends only while the function runs; putting its result into a tree
is one step, before which everything is checked.
"""

from __future__ import annotations

import errno
import stat as stat_module

from providers.memory import items, names
from providers.memory.chunks import PAGE
from providers.memory.entries import add_entry, make_directory
from providers.memory.population import Known, Population, Tree
from providers.memory.records import Directory, DynamicFile, File, Record, Symlink
from providers.memory.version import Version, now_ns
from vfsd.errors import fail
from vfsd.provider import ROOT_NUMBER, Entry, Identity, Node


async def populate(version: Version, number: int) -> bool:
    """Give the directory its content if it still lacks it; say whether that was done here.

    ENOSPC if the content is beyond the quotas, and whatever `Population.tree` raises.
    """
    record = version.records.get(number)
    if type(record) is not Directory or record.population is None:
        return False
    population = record.population
    tree = await population.tree()
    record = version.records.get(number)
    if type(record) is not Directory or record.population is not population:
        return False  # removed meanwhile, or populated by another task that waited as well
    _check_room(version, tree)
    directory = version.own_directory(number)
    directory.population = None
    version.lazy_directories -= 1
    times = directory.mtime_ns, directory.ctime_ns
    _fill(version, number, directory, tree)
    directory.mtime_ns, directory.ctime_ns = times
    return True


def add_at(version: Version, path: bytes, item: Known) -> tuple[Node, bytes]:
    """Put `item` at a free path and return its directory and name; makes missing directories.

    EROFS, EEXIST, ENOTDIR, ENOSPC, EINVAL for a path that is not plain, EBUSY if it leads
    through a lazy directory that has no content yet.
    """
    version.check_writable()
    parts = [part for part in path.split(b"/") if part]
    if not parts:
        raise fail(errno.EINVAL, path)
    for part in parts:
        try:
            items.check_name(part)
        except ValueError as error:
            raise fail(errno.EINVAL, path) from error
    number = ROOT_NUMBER
    root = version.find_directory(ROOT_NUMBER)
    owner = Identity(root.uid, root.gid)
    for part in parts[:-1]:
        directory = _populated(version, number, path)
        below = names.get(directory.names, part)
        if below is None:
            below = make_directory(version, number, part, 0o755, owner).node.number
        number = below
    directory = _populated(version, number, path)
    if names.get(directory.names, parts[-1]) is not None:
        raise fail(errno.EEXIST, path)
    _add(version, number, version.own_directory(number), parts[-1], item)
    return Node(number), parts[-1]


def _populated(version: Version, number: int, path: bytes) -> Directory:
    directory = version.find_directory(number)
    if directory.population is not None:
        raise fail(errno.EBUSY, path)
    return directory


def _check_room(version: Version, tree: Tree) -> None:
    files = pages = 0
    trees = [tree]
    while trees:
        for item in trees.pop().values():
            files += 1
            if type(item) is Tree:
                trees.append(item)
            elif type(item) is items.File:
                pages += -(-len(item.data) // PAGE)
    version.check_file_room(files)
    if pages * PAGE > version.room_bytes:
        raise fail(errno.ENOSPC)


def _fill(version: Version, number: int, directory: Directory, tree: Tree) -> None:
    for name, item in tree.items():
        entry = _add(version, number, directory, name, item)
        if type(item) is Tree:
            _fill(version, entry.node.number, version.own_directory(entry.node.number), item)


def _add(version: Version, parent: int, directory: Directory, name: bytes, item: Known) -> Entry:
    owner, uid, gid, now = version.owner, directory.uid, directory.gid, now_ns()
    record: Record
    match item:
        case items.File():
            record = File(owner, _regular(item.mode), uid, gid, now)
            if item.data:
                content = record.content_of(owner)
                content.write(0, item.data, owner, len(item.data) + PAGE)
                version.used_bytes += content.charged_bytes
                version.chunk_count += content.chunk_count
        case items.Dynamic():
            record = DynamicFile(owner, _regular(item.mode), uid, gid, now, item.source)
        case items.Symlink():
            record = Symlink(owner, uid, gid, now, item.target)
        case _:
            mode = stat_module.S_IFDIR | item.mode & 0o7777
            record = Directory(owner, mode, uid, gid, now, parent)
            if isinstance(item, Population):
                record.population = item
                version.lazy_directories += 1
    return add_entry(version, directory, name, record)


def _regular(mode: int) -> int:
    return stat_module.S_IFREG | mode & 0o7777
