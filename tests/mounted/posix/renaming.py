"""Cases of rename(2) and renameat2(2)."""

import os

from tests.mounted.posix.observe import case, outcome, read_file, write_file
from tests.mounted.posix.syscalls import EXCHANGE, NOREPLACE, renameat2


def _tree(d):
    for name in ("f", "g"):
        write_file(d / name, name.encode())
    os.mkdir(d / "empty")
    os.makedirs(d / "full" / "sub")
    write_file(d / "full" / "x", b"x")
    os.symlink("f", d / "lf")
    os.symlink("full", d / "ld")
    os.link(d / "f", d / "hard")


def _describe(d):
    found = {}
    for directory, names, files in os.walk(d):
        for name in names + files:
            path = os.path.join(directory, name)
            kind = "link" if os.path.islink(path) else "dir" if os.path.isdir(path) else "file"
            content = read_file(path).decode() if kind == "file" else ""
            found[os.path.relpath(path, d)] = [kind, content, os.lstat(path).st_nlink]
    return dict(sorted(found.items()))


PAIRS = (
    ("f", "new"),
    ("f", "g"),
    ("f", "f"),
    ("f", "hard"),
    ("f", "empty"),
    ("f", "full"),
    ("f", "lf"),
    ("f", "ld"),
    ("f", "nodir/x"),
    ("f", "g/x"),
    ("f", "new/"),
    ("missing", "f"),
    ("missing", "new"),
    ("empty", "new"),
    ("empty", "new/"),
    ("empty", "f"),
    ("empty", "lf"),
    ("empty", "full"),
    ("full", "empty"),
    ("full", "full"),
    ("full", "full/sub"),
    ("full", "full/sub/new"),
    ("full/sub", "full"),
    ("full/sub", "empty"),
    ("full/x", "x"),
    ("lf", "new"),
    ("lf", "f"),
    ("ld", "empty"),
    ("ld", "new"),
    ("ld/x", "new"),
)


def _all_pairs(d, act):
    seen = {}
    for number, (source, target) in enumerate(PAIRS):
        place = d / str(number)
        os.mkdir(place)
        _tree(place)
        result = outcome(act, f"{place}/{source}", f"{place}/{target}")
        seen[f"{source} -> {target}"] = [result, _describe(place)]
    return seen


@case
def plain(d):
    return _all_pairs(d, os.rename)


@case
def noreplace(d):
    return _all_pairs(d, lambda path, new_path: renameat2(path, new_path, NOREPLACE))


@case
def exchange(d):
    return _all_pairs(d, lambda path, new_path: renameat2(path, new_path, EXCHANGE))


@case
def odd_flags(d):
    write_file(d / "f")
    return {
        "both": outcome(renameat2, d / "f", d / "g", NOREPLACE | EXCHANGE),
        "unknown": outcome(renameat2, d / "f", d / "g", 1 << 10),
        "names": os.listdir(d),
    }


@case
def over_open_files(d):
    write_file(d / "a", b"a")
    write_file(d / "b", b"b")
    one, two = os.open(d / "a", os.O_RDWR), os.open(d / "b", os.O_RDWR)
    os.rename(d / "a", d / "b")
    os.pwrite(one, b"A", 0)
    os.pwrite(two, b"B", 0)
    seen = {
        "named": read_file(d / "b").decode(),
        "moved": os.pread(one, 9, 0).decode(),
        "replaced": os.pread(two, 9, 0).decode(),
        "links": [os.fstat(one).st_nlink, os.fstat(two).st_nlink],
    }
    os.close(one)
    os.close(two)
    return seen


@case
def working_directory_moves(d):
    os.makedirs(d / "a" / "b")
    os.chdir(d / "a" / "b")
    os.rename(d / "a", d / "z")
    write_file("f", b"data")
    return {"cwd": os.path.relpath(os.getcwd(), d), "names": os.listdir(d / "z" / "b")}


@case
def back_and_forth(d):
    write_file(d / "f", b"data")
    for _ in range(200):
        os.rename(d / "f", d / "g")
        os.rename(d / "g", d / "f")
    return {"names": os.listdir(d), "data": read_file(d / "f").decode()}


@case
def atomically_replaced(d):
    """A reader in another process never misses the file nor sees a part of it."""
    write_file(d / "f", b"0" * 5000)
    stop_reader, stop_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(stop_reader)
        for number in range(300):
            write_file(d / "new", b"%d" % (number % 10) * 5000)
            os.rename(d / "new", d / "f")
        os._exit(0)
    os.close(stop_writer)
    torn = 0
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        data = read_file(d / "f")
        torn += len(data) != 5000 or len(set(data)) != 1
    os.close(stop_reader)
    return {"torn": torn, "names": os.listdir(d)}
