"""Cases of hard links and symlinks."""

import os

from tests.mounted.posix.observe import case, opened, outcome, read_file, shape, write_file


@case
def hard(d):
    write_file(d / "a", b"data")
    os.mkdir(d / "d")
    seen = {
        "link": outcome(os.link, d / "a", d / "d" / "b"),
        "links": os.stat(d / "a").st_nlink,
        "same": os.path.samefile(d / "a", d / "d" / "b"),
        "exists": outcome(os.link, d / "a", d / "d"),
        "itself": outcome(os.link, d / "a", d / "a"),
        "missing": outcome(os.link, d / "x", d / "y"),
        "directory": outcome(os.link, d / "d", d / "e"),
        "no parent": outcome(os.link, d / "a", d / "x" / "y"),
    }
    with open(d / "d" / "b", "r+b") as file:
        file.write(b"DATA")
    seen["data"] = read_file(d / "a").decode()
    os.unlink(d / "a")
    return {**seen, "left": shape(d / "d" / "b")}


@case
def hard_to_symlink(d):
    os.symlink("target", d / "l")
    os.link(d / "l", d / "m", follow_symlinks=False)
    seen = {"l": shape(d / "l"), "m": os.readlink(d / "m")}
    seen["following"] = outcome(os.link, d / "l", d / "n", follow_symlinks=True)
    return seen


@case
def hard_to_open_file(d):
    write_file(d / "a", b"data")
    fd = os.open(d / "a", os.O_RDWR)
    os.unlink(d / "a")
    seen = {"relink": outcome(os.link, f"/proc/self/fd/{fd}", d / "b", follow_symlinks=True)}
    os.close(fd)
    return {**seen, "names": os.listdir(d)}


@case
def many_hard(d):
    write_file(d / "a", b"data")
    for number in range(500):
        os.link(d / "a", d / f"l{number}")
    seen = {"links": os.stat(d / "a").st_nlink}
    for number in range(0, 500, 2):
        os.unlink(d / f"l{number}")
    return {**seen, "then": os.stat(d / "l499").st_nlink}


@case
def symbolic(d):
    write_file(d / "f", b"data")
    os.mkdir(d / "d")
    targets = {"file": "f", "dir": "d", "none": "nowhere", "up": "../x", "abs": "/etc/../etc"}
    seen = {}
    for name, target in targets.items():
        os.symlink(target, d / name)
        seen[name] = [
            os.readlink(d / name),
            shape(d / name),
            outcome(lambda n=name: os.stat(d / n).st_mode),
        ]
    seen["exists"] = outcome(os.symlink, "x", d / "f")
    seen["empty"] = outcome(os.symlink, "", d / "e")
    seen["readlink of file"] = outcome(os.readlink, d / "f")
    seen["through"] = read_file(d / "file").decode()
    return seen


@case
def loops(d):
    os.symlink("b", d / "a")
    os.symlink("a", d / "b")
    os.symlink("self", d / "self")
    os.mkdir(d / "deep")
    os.symlink("..", d / "deep" / "up")
    return {
        "two": opened(d / "a", os.O_RDONLY),
        "self": outcome(os.stat, d / "self"),
        "create": opened(d / "self", os.O_WRONLY | os.O_CREAT),
        "below": outcome(os.listdir, d / "a" / "x"),
        "lstat": shape(d / "a")["kind"],
        "up and down": outcome(os.listdir, f"{d}/{'deep/up/' * 30}deep"),
        "too many": outcome(os.listdir, f"{d}/{'deep/up/' * 41}deep"),
    }


@case
def long_targets(d):
    seen = {}
    for size in (1, 59, 60, 255, 1000, 4094, 4095, 4096):
        seen[f"make {size}"] = outcome(os.symlink, "t" * size, d / f"l{size}")
        seen[f"read {size}"] = outcome(lambda s=size: len(os.readlink(d / f"l{s}")))
    return seen


@case
def chains(d):
    write_file(d / "end", b"here")
    previous = "end"
    for number in range(42):
        os.symlink(previous, d / f"l{number}")
        previous = f"l{number}"
    return {
        "39": outcome(read_file, d / "l38"),
        "40": outcome(read_file, d / "l39"),
        "41": outcome(read_file, d / "l40"),
    }


@case
def unlinked_not_followed(d):
    write_file(d / "f", b"data")
    os.mkdir(d / "d")
    os.symlink("f", d / "l")
    os.symlink("d", d / "m")
    seen = {"rmdir of link": outcome(os.rmdir, d / "m"), "unlink": outcome(os.unlink, d / "l")}
    seen["with slash"] = outcome(os.unlink, f"{d}/m/")
    seen["unlink m"] = outcome(os.unlink, d / "m")
    return {**seen, "names": sorted(os.listdir(d)), "data": read_file(d / "f").decode()}
