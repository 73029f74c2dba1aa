"""Cases of names: odd bytes, lengths, and paths that are too long."""

import os

from tests.mounted.posix.observe import case, opened, outcome, read_file, write_file

ODD = (
    b"new\nline",
    b"\xff\xfe",
    b"caf\xc3\xa9",
    b"cafe\xcc\x81",
    b"...",
    b" ",
    b"\\",
    b"-rf",
    b"\x01\x7f",
    b"case",
    b"CASE",
)


@case
def odd_bytes(d):
    root = os.fsencode(d)
    for name in ODD:
        write_file(root + b"/" + name, name)
    found = os.listdir(root)
    right = all(read_file(root + b"/" + name) == name for name in ODD)
    return {"names": sorted(name.decode("latin-1") for name in found), "data": right}


@case
def lengths(d):
    seen = {}
    for size in (254, 255, 256, 1000):
        name = "n" * size
        seen[f"create {size}"] = opened(d / name, os.O_WRONLY | os.O_CREAT)
        seen[f"stat {size}"] = outcome(lambda n=name: os.stat(d / n).st_size)
        seen[f"mkdir {size}"] = outcome(os.mkdir, d / ("d" * size))
        seen[f"symlink {size}"] = outcome(os.symlink, "x", d / ("l" * size))
        seen[f"rename {size}"] = outcome(os.rename, d / name, d / ("r" * size))
        seen[f"link {size}"] = outcome(os.link, d / ("r" * size), d / ("h" * size))
        seen[f"unlink {size}"] = outcome(os.unlink, d / ("h" * size))
    write_file(os.fsencode(d) + b"/" + b"\xe2\x82\xac" * 85, b"euro")
    seen["names"] = sorted(len(os.fsencode(name)) for name in os.listdir(d))
    return seen


@case
def long_paths(d):
    os.chdir(d)
    for _ in range(25):
        os.mkdir("s" * 200)
        os.chdir("s" * 200)
    write_file("f", b"deep")
    seen = {
        "here": read_file("f").decode(),
        "from above": outcome(os.stat, f"{d}/{('s' * 200 + '/') * 25}f"),
    }
    os.chdir("../" * 25)
    seen["back"] = os.path.samefile(".", d)
    return seen


@case
def dots_and_slashes(d):
    os.mkdir(d / "a")
    write_file(d / "f", b"data")
    return {
        "double": outcome(os.stat, f"{d}//a") == outcome(os.stat, f"{d}/a/"),
        "dotted": read_file(f"{d}/a/../././f").decode(),
        "file dot": outcome(os.stat, f"{d}/f/."),
        "file up": outcome(os.stat, f"{d}/f/.."),
        "missing up": outcome(os.stat, f"{d}/x/.."),
        "rmdir dot": outcome(os.rmdir, f"{d}/a/."),
        "rmdir up": outcome(os.rmdir, f"{d}/a/.."),
        "unlink dot": outcome(os.unlink, f"{d}/a/."),
        "rename dot": outcome(os.rename, f"{d}/a/.", d / "b"),
        "rename to up": outcome(os.rename, d / "f", f"{d}/a/.."),
        "empty": outcome(os.stat, ""),
    }
