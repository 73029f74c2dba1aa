"""Cases of directories: making, listing, positions in a listing."""

import os
import stat

from tests.mounted.posix.observe import case, outcome, shape, write_file
from tests.mounted.posix.syscalls import DirectoryStream


@case
def mkdir(d):
    write_file(d / "f")
    os.symlink("nowhere", d / "l")
    return {
        "new": outcome(os.mkdir, d / "a", 0o1751),
        "again": outcome(os.mkdir, d / "a"),
        "over file": outcome(os.mkdir, d / "f"),
        "over link": outcome(os.mkdir, d / "l"),
        "no parent": outcome(os.mkdir, d / "x" / "y"),
        "below file": outcome(os.mkdir, d / "f" / "y"),
        "dot": outcome(os.mkdir, d / "."),
        "slash": outcome(os.mkdir, f"{d}/b//"),
        "a": shape(d / "a"),
    }


@case
def umask_and_modes(d):
    os.umask(0o027)
    os.mkdir(d / "d", 0o7777)
    os.close(os.open(d / "f", os.O_WRONLY | os.O_CREAT, 0o7777))
    os.mkfifo(d / "p", 0o666)
    return {name: shape(d / name)["mode"] for name in "dfp"}


@case
def link_counts(d):
    counts = [os.stat(d).st_nlink]
    os.mkdir(d / "a")
    counts.append(os.stat(d).st_nlink)
    os.mkdir(d / "a" / "b")
    write_file(d / "a" / "f")
    counts += [os.stat(d).st_nlink, os.stat(d / "a").st_nlink]
    os.rename(d / "a" / "b", d / "b")
    counts += [os.stat(d).st_nlink, os.stat(d / "a").st_nlink]
    os.rmdir(d / "b")
    counts.append(os.stat(d).st_nlink)
    return {"counts": counts}


@case
def dots(d):
    os.mkdir(d / "a")
    stream = DirectoryStream(d / "a")
    entries = stream.rest()
    stream.close()
    numbers = {name.decode(): ino for name, ino, _ in entries}
    return {
        "names": sorted(numbers),
        "dot": numbers["."] == os.stat(d / "a").st_ino,
        "dot dot": numbers[".."] == os.stat(d).st_ino,
        "up": os.stat(d / "a" / "..").st_ino == os.stat(d).st_ino,
    }


@case
def entries_agree_with_stat(d):
    write_file(d / "f")
    os.mkdir(d / "d")
    os.symlink("f", d / "l")
    os.mkfifo(d / "p")
    stream = DirectoryStream(d)
    entries = stream.rest()
    stream.close()
    seen = {}
    for name, ino, kind in entries:
        if name not in (b".", b".."):
            found = os.lstat(d / name.decode())
            seen[name.decode()] = [ino == found.st_ino, kind == stat.S_IFMT(found.st_mode) >> 12]
    return seen


@case
def many_entries(d):
    names = [f"{number:05}-name" for number in range(10_000)]
    for name in names:
        os.close(os.open(d / name, os.O_WRONLY | os.O_CREAT))
    seen = {"listed": sorted(os.listdir(d)) == names}
    stream = DirectoryStream(d)
    everything = stream.rest()
    stream.rewind()
    seen["after rewind"] = stream.rest() == everything
    stream.rewind()
    head = [stream.read() for _ in range(4321)]
    place = stream.tell()
    tail = stream.rest()
    stream.seek(place)
    seen["after seek"] = stream.rest() == tail
    seen["head and tail"] = head + tail == everything
    stream.close()
    seen["once each"] = len({entry[0] for entry in everything}) == len(everything) == 10_002
    for name in names:
        os.unlink(d / name)
    return {**seen, "left": os.listdir(d)}


@case
def removal_while_listing(d):
    """Each file that stays is seen exactly once, though those seen already are removed."""
    for number in range(2000):
        write_file(d / f"{number:04}")
    stream = DirectoryStream(d)
    seen = []
    while (entry := stream.read()) is not None:
        name = entry[0].decode()
        if name not in (".", ".."):
            seen.append(name)
            os.unlink(d / name)
    stream.close()
    return {"seen": len(seen), "once": len(set(seen)) == len(seen), "left": os.listdir(d)}


@case
def additions_while_listing(d):
    for number in range(1000):
        write_file(d / f"old{number:04}")
    stream = DirectoryStream(d)
    first = [stream.read()[0] for _ in range(10)]
    for number in range(50):
        write_file(d / f"new{number:04}")
    names = first + [entry[0] for entry in stream.rest()]
    old = [name for name in names if name.startswith(b"old")]
    stream.rewind()
    again = {entry[0] for entry in stream.rest()}
    stream.close()
    return {"old once": len(old) == len(set(old)) == 1000, "rewound": len(again)}


@case
def listing_of_removed_directory(d):
    os.mkdir(d / "a")
    fd = os.open(d / "a", os.O_RDONLY)
    os.rmdir(d / "a")
    seen = {
        "list": outcome(os.listdir, fd),
        "create": outcome(os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd),
        "mkdir": outcome(os.mkdir, "x", dir_fd=fd),
        "links": outcome(lambda: os.fstat(fd).st_nlink),
        "lookup": outcome(os.stat, "x", dir_fd=fd),
    }
    os.close(fd)
    return seen


@case
def removed_working_directory(d):
    os.mkdir(d / "a")
    os.chdir(d / "a")
    os.rmdir(d / "a")
    return {
        "list": outcome(os.listdir, "."),
        "create": outcome(os.mkdir, "x"),
        "getcwd": outcome(os.getcwd),
        "up": outcome(os.listdir, ".."),
    }


@case
def relative_to_fd(d):
    os.mkdir(d / "a")
    fd = os.open(d / "a", os.O_RDONLY | os.O_DIRECTORY)
    os.mkdir("sub", dir_fd=fd)
    os.symlink("t", "link", dir_fd=fd)
    os.rename(d / "a", d / "b")
    os.mkdir("later", dir_fd=fd)
    seen = {"names": sorted(os.listdir(d / "b")), "link": os.readlink("link", dir_fd=fd)}
    os.close(fd)
    return seen
