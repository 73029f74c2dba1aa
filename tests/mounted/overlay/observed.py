"""A tree described alike through a provider and through the kernel, to be compared as a whole."""

import hashlib
import os
import stat

from vfsd.conformance import Files

RECORDED = ("mode", "uid", "gid", "rdev", "mtime_ns")


def describe_directory(top):
    """Describe every file below a directory of the host, by path."""
    found = {}
    waiting = [os.fsencode(top)]
    while waiting:
        directory = waiting.pop()
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            info = os.lstat(path)
            content = None
            if stat.S_ISDIR(info.st_mode):
                waiting.append(path)
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(path).hex()
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.sha1(file.read()).hexdigest()
            xattrs = {
                each: os.getxattr(path, each, follow_symlinks=False).hex()
                for each in os.listxattr(path, follow_symlinks=False)
            }
            found[os.path.relpath(path, os.fsencode(top)).hex()] = _item(
                [getattr(info, f"st_{each}") for each in RECORDED],
                info.st_mode,
                info.st_nlink,
                info.st_size,
                content,
                xattrs,
            )
    return found


async def describe_provider(provider):
    """Describe every file of a provider, by path."""
    files = Files(provider)
    found = {}
    waiting = [(b"", provider.root)]
    while waiting:
        path, node = waiting.pop()
        for name in await provider.readdir(node):
            entry = await provider.lookup(node, name)
            child = os.path.join(path, name)
            kind = stat.S_IFMT(entry.stat.mode)
            content = None
            if kind == stat.S_IFDIR:
                waiting.append((child, entry.node))
            elif kind == stat.S_IFLNK:
                content = (await provider.readlink(entry.node)).hex()
            elif kind == stat.S_IFREG:
                content = hashlib.sha1(await files.get(child)).hexdigest()
            info = await provider.getattr(entry.node)
            xattrs = {}
            for each in await provider.listxattr(entry.node):
                xattrs[os.fsdecode(each)] = (await provider.getxattr(entry.node, each)).hex()
            found[child.hex()] = _item(
                [getattr(info, each) for each in RECORDED],
                info.mode,
                info.nlink,
                info.size,
                content,
                xattrs,
            )
    return found


def _item(recorded, mode, nlink, size, content, xattrs):
    item = dict(zip(RECORDED, recorded, strict=True))
    # The size of a directory is its file system's affair, and merged ones do not count links.
    if not stat.S_ISDIR(mode):
        item |= {"nlink": nlink, "size": size}
    return {**item, "content": content, "xattrs": dict(sorted(xattrs.items()))}


def unlike(one, two, *, without=()):
    """Return what differs, readably."""
    differences = {}
    for path in one.keys() | two.keys():
        left, right = (
            {key: value for key, value in each.get(path, {}).items() if key not in without}
            for each in (one, two)
        )
        if left != right:
            keys = left.keys() | right.keys()
            differences[bytes.fromhex(path)] = {
                key: (left.get(key), right.get(key))
                for key in keys
                if left.get(key) != right.get(key)
            }
    return differences
