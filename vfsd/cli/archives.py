"""`vfsd unpack`, `vfsd verify` and `vfsd list`: what an archive holds, and whether it is well.

Concurrency: one thread.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import stat as stat_module
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress

from vfsd.archive.damage import Damage
from vfsd.archive.layout import DIRECTORY, REGULAR, ROOT_NODE, SYMLINK
from vfsd.archive.reader import Archive, stat_of
from vfsd.archive.tree import ArchiveTree, Found
from vfsd.archive.unpack import Unpacker
from vfsd.archive.verify import Complaint, Seen, Verifier, complaints_of
from vfsd.cli.archivesource import opened
from vfsd.cli.progress import ProgressBar
from vfsd.control.transfer import Progress
from vfsd.errors import UserError, fail
from vfsd.exitcodes import ExitCode
from vfsd.snapshots.patch import KINDS
from vfsd.snapshots.quoting import shown

TOLD_MAX = 20
"""How many complaints are told one by one."""


def main(verb: str, arguments: list[str]) -> int:
    """Run `vfsd unpack`, `vfsd verify` or `vfsd list`."""
    return {"unpack": _unpack, "verify": _verify, "list": _list}[verb](arguments)


# -- unpack -------------------------------------------------------------------------------


def _unpack(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd unpack",
        description="Write the files in an archive (vfsd's own, a zip, a tar) into a directory, "
        "and never outside of it.",
    )
    parser.add_argument("archive", metavar="FILE")
    parser.add_argument("directory", metavar="DIR", help="made, or there and empty")
    parser.add_argument(
        "--no-owner", action="store_true", help="as root too, let all belong to whoever runs this"
    )
    given = parser.parse_args(arguments)
    with opened(given.archive) as tree, ProgressBar("unpacking") as bar:
        show = bar.callback
        told = None if show is None else lambda files, size: show(Progress(files, size))
        unpacker = Unpacker(tree, owners=not given.no_owner, told=told)
        unpacker.check_room(os.path.dirname(os.path.abspath(given.directory)))
        fd = _empty_directory(given.directory)
        try:
            unpacker.unpack(fd)
        finally:
            os.close(fd)
    lines = [f"{shown(each.path)}: {each.what}" for each in unpacker.left]
    if not lines:
        return ExitCode.OK
    _tell(lines)
    damaged = any(each.damaged for each in unpacker.left)
    raise UserError(
        f"{len(lines)} things in {given.archive} could not be made as they are; the rest is in "
        f"{given.directory}",
        ExitCode.DAMAGED if damaged else ExitCode.FAILED,
    )


def _empty_directory(path: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with os.scandir(fd) as entries:
        if any(True for _ in entries):
            os.close(fd)
            raise UserError(
                f"{path} is not empty; name a directory that is, or none that is there",
                ExitCode.REFUSED,
            )
    return fd


# -- verify -------------------------------------------------------------------------------


def _verify(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd verify",
        description="Read all of an archive and compare it with its digests; tell what is wrong.",
    )
    parser.add_argument("archive", metavar="FILE")
    parser.add_argument("--json", action="store_true", help="tell it as a JSON array")
    given = parser.parse_args(arguments)
    found: list[Complaint] = []
    with opened(given.archive) as tree, ProgressBar("verifying") as bar:
        for complaint in _complaints(tree, bar.callback):
            found.append(complaint)
        names, content_bytes = tree.count, tree.length
    if given.json:
        print(json.dumps([_plain(each) for each in found], indent=2))
    else:
        _tell([str(_sentence(each)) for each in found])
    if found:
        raise UserError(
            f"{given.archive} is damaged in {len(found)} places; what is not told is well",
            ExitCode.DAMAGED,
        )
    if not given.json:
        print(f"{given.archive}: {names} files in {content_bytes} bytes, all well")
    return ExitCode.OK


def _complaints(tree: ArchiveTree, show: Callable[[Progress], None] | None) -> Iterator[Complaint]:
    def told(seen: Seen) -> None:
        if show is not None:
            show(Progress(seen.names, seen.content_bytes))

    if isinstance(tree, Archive):
        return Verifier(tree, told).complaints()
    return complaints_of(tree, told)


def _sentence(complaint: Complaint) -> Damage | str:
    damage = Damage(complaint.what, complaint.offset)
    return f"{shown(complaint.path)}: {damage}" if complaint.path else damage


def _plain(complaint: Complaint) -> dict[str, object]:
    path = complaint.path.decode(errors="backslashreplace")
    return {"path": path, "what": complaint.what, "offset": complaint.offset}


def _tell(lines: list[str]) -> None:
    for line in lines[:TOLD_MAX]:
        print(f"vfsd: {line}", file=sys.stderr)
    if len(lines) > TOLD_MAX:
        print(f"vfsd: … and {len(lines) - TOLD_MAX} more", file=sys.stderr)


# -- list ---------------------------------------------------------------------------------


def _list(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="vfsd list",
        description="List what an archive (vfsd's own, a zip, a tar) holds, without mounting it.",
    )
    parser.add_argument("archive", metavar="FILE")
    parser.add_argument("path", metavar="PATH", nargs="?", default="", help="only this, in it")
    parser.add_argument("-l", action="store_true", dest="long", help="with attributes")
    parser.add_argument("--json", action="store_true", help="as a JSON array, with attributes")
    given = parser.parse_args(arguments)
    start = os.fsencode(given.path).strip(b"/")
    with opened(given.archive) as tree:
        listed = _walk(tree, start)
        if given.json:
            _print_json(tree, listed)
            return ExitCode.OK
        for path, found in listed:
            print(_row(tree, path, found) if given.long else shown(path))
    return ExitCode.OK


def _walk(tree: ArchiveTree, start: bytes) -> Iterator[tuple[bytes, Found]]:
    """Yield what is at `start` and, if it is a directory, everything below it, in order."""
    found = Found(ROOT_NODE, tree.inode(ROOT_NODE))
    for name in start.split(b"/") if start else ():
        inner = tree.lookup(*found, name) if found.inode.kind == DIRECTORY else None
        if inner is None:
            raise fail(2, start)
        found = inner
    if start:
        yield start, found
    waiting = [(start, found)] if found.inode.kind == DIRECTORY else []
    while waiting:
        path, folder = waiting.pop()
        if folder.inode.kind != DIRECTORY:
            yield path, folder
            continue
        if path != start:
            yield path, folder
        below = [(path + b"/" + name if path else name, each) for name, each in tree.scan(*folder)]
        waiting.extend(reversed(below))


def _row(tree: ArchiveTree, path: bytes, found: Found) -> str:
    stat = stat_of(found.inode)
    try:
        moment = datetime.datetime.fromtimestamp(stat.mtime_ns // 10**9, datetime.UTC)
        time = moment.strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        time = f"@{stat.mtime_ns // 10**9}"
    size = str(stat.size)
    if found.inode.kind in (stat_module.S_IFCHR, stat_module.S_IFBLK):
        size = f"{os.major(stat.rdev)},{os.minor(stat.rdev)}"
    target = f" -> {shown(tree.target(found.inode))}" if found.inode.kind == SYMLINK else ""
    mode = stat_module.filemode(stat.mode)
    return f"{mode} {stat.nlink:>3} {stat.uid}:{stat.gid} {size:>10} {time} {shown(path)}{target}"


def _print_json(tree: ArchiveTree, listed: Iterator[tuple[bytes, Found]]) -> None:
    """Print one object a line, as they come: an archive can hold millions."""
    before = "[\n"
    for path, found in listed:
        print(f"{before}  {json.dumps(_described(tree, path, found))}", end="")
        before = ",\n"
    print("[]" if before == "[\n" else "\n]")


def _described(tree: ArchiveTree, path: bytes, found: Found) -> dict[str, object]:
    inode = found.inode
    stat = stat_of(inode)
    described: dict[str, object] = {
        "path": _text(path),
        "type": KINDS[inode.kind],
        "node": found.number,
        "mode": f"{stat_module.S_IMODE(stat.mode):04o}",
        "nlink": stat.nlink,
        "uid": stat.uid,
        "gid": stat.gid,
        "mtime_ns": stat.mtime_ns,
    }
    if inode.kind == REGULAR:
        described |= {"size": stat.size, "allocated": inode.allocated}
        if isinstance(tree, Archive):
            described["xxh3_128"] = inode.digest.hex()
    elif inode.kind == SYMLINK:
        described["target"] = _text(tree.target(inode))
    elif stat.rdev or inode.kind in (stat_module.S_IFCHR, stat_module.S_IFBLK):
        described["rdev"] = [os.major(stat.rdev), os.minor(stat.rdev)]
    xattrs = tree.xattrs(inode)
    if xattrs:
        described["xattrs"] = {_text(name): value.hex() for name, value in xattrs.items()}
    return described


def _text(name: bytes) -> str:
    """Return a name as JSON can have it: bytes that are no UTF-8 as lone surrogates."""
    return name.decode("utf-8", "surrogateescape")
