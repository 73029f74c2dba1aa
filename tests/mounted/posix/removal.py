"""Cases of unlink and rmdir, and of files that are open without a name."""

import os
import shutil

from tests.mounted.posix.observe import case, outcome, read_file, shape_of, write_file


@case
def unlink(d):
    write_file(d / "f")
    os.mkdir(d / "d")
    return {
        "file": outcome(os.unlink, d / "f"),
        "again": outcome(os.unlink, d / "f"),
        "directory": outcome(os.unlink, d / "d"),
        "below missing": outcome(os.unlink, d / "x" / "y"),
        "names": os.listdir(d),
    }


@case
def rmdir(d):
    write_file(d / "f")
    os.makedirs(d / "full" / "sub")
    os.mkdir(d / "empty")
    return {
        "file": outcome(os.rmdir, d / "f"),
        "full": outcome(os.rmdir, d / "full"),
        "empty": outcome(os.rmdir, d / "empty"),
        "again": outcome(os.rmdir, d / "empty"),
        "names": sorted(os.listdir(d)),
    }


@case
def open_file_without_name(d):
    write_file(d / "f", b"data")
    fd = os.open(d / "f", os.O_RDWR)
    os.unlink(d / "f")
    seen = {"read": os.read(fd, 10).decode(), "shape": shape_of(os.fstat(fd))}
    os.pwrite(fd, b"more", 4)
    seen["written"] = os.pread(fd, 20, 0).decode()
    write_file(d / "f", b"new")
    seen["still old"] = os.pread(fd, 20, 0).decode()
    other = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    seen["opened again"] = os.read(other, 20).decode()
    os.close(other)
    os.ftruncate(fd, 1)
    seen["shrunk"] = os.fstat(fd).st_size
    os.close(fd)
    return {**seen, "names": os.listdir(d)}


@case
def open_file_replaced(d):
    write_file(d / "old", b"old")
    write_file(d / "new", b"new")
    fd = os.open(d / "old", os.O_RDWR)
    os.rename(d / "new", d / "old")
    seen = {"held": os.read(fd, 9).decode(), "links": os.fstat(fd).st_nlink}
    os.write(fd, b"!")
    with open(d / "old", "rb") as file:
        seen["named"] = file.read().decode()
    os.close(fd)
    return seen


@case
def path_fd_outlives_the_name(d):
    """An O_PATH fd holds a file that nobody has opened."""
    write_file(d / "f", b"data")
    os.mkdir(d / "d")
    fd = os.open(d / "f", os.O_PATH)
    directory = os.open(d / "d", os.O_PATH)
    os.unlink(d / "f")
    os.rmdir(d / "d")
    seen = {
        "stat": outcome(lambda: os.fstat(fd).st_nlink),
        "open": outcome(read_file, f"/proc/self/fd/{fd}"),
        "chmod": outcome(os.chmod, f"/proc/self/fd/{fd}", 0o600),
        "directory": outcome(lambda: os.fstat(directory).st_nlink),
    }
    os.close(fd)
    os.close(directory)
    return seen


@case
def whole_tree(d):
    for number in range(30):
        os.makedirs(d / "t" / f"a{number}" / "b")
        write_file(d / "t" / f"a{number}" / "b" / "f", b"data")
        os.symlink("..", d / "t" / f"a{number}" / "up")
    shutil.rmtree(d / "t")
    return {"names": os.listdir(d)}


@case
def name_is_free_at_once(d):
    seen = []
    for _ in range(50):
        write_file(d / "x")
        os.unlink(d / "x")
        os.mkdir(d / "x")
        os.rmdir(d / "x")
        os.symlink("y", d / "x")
        os.unlink(d / "x")
        seen.append(os.path.lexists(d / "x"))
    return {"left": sorted(set(seen))}
