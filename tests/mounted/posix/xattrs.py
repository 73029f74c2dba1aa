"""Cases of extended attributes in the ``user.`` and ``trusted.`` namespaces."""

import os

from tests.mounted.posix.observe import as_user, case, moved_times, outcome, write_file


@case
def user_namespace(d):
    write_file(d / "f", b"data")
    os.mkdir(d / "d")
    seen = {}
    for path in (d / "f", d / "d"):
        name = path.name
        seen[f"{name} set"] = outcome(os.setxattr, path, "user.a", b"1")
        seen[f"{name} binary"] = outcome(os.setxattr, path, "user.b", b"\0\xff\n")
        seen[f"{name} empty"] = outcome(os.setxattr, path, "user.c", b"")
        seen[f"{name} list"] = sorted(os.listxattr(path))
        seen[f"{name} get"] = [outcome(os.getxattr, path, f"user.{each}") for each in "abcd"]
        seen[f"{name} create"] = outcome(os.setxattr, path, "user.a", b"2", os.XATTR_CREATE)
        seen[f"{name} replace"] = outcome(os.setxattr, path, "user.a", b"3", os.XATTR_REPLACE)
        seen[f"{name} replace none"] = outcome(os.setxattr, path, "user.x", b"", os.XATTR_REPLACE)
        seen[f"{name} remove"] = outcome(os.removexattr, path, "user.b")
        seen[f"{name} remove again"] = outcome(os.removexattr, path, "user.b")
        seen[f"{name} then"] = [sorted(os.listxattr(path)), os.getxattr(path, "user.a").decode()]
    return seen


@case
def odd_names(d):
    write_file(d / "f")
    os.symlink("f", d / "l")
    os.mkfifo(d / "p")
    return {
        "no namespace": outcome(os.setxattr, d / "f", "plain", b"1"),
        "unknown namespace": outcome(os.setxattr, d / "f", "other.a", b"1"),
        "on a link": outcome(os.setxattr, d / "l", "user.a", b"1", follow_symlinks=False),
        "on a fifo": outcome(os.setxattr, d / "p", "user.a", b"1"),
        "name of 255": outcome(os.setxattr, d / "f", "user." + "n" * 250, b"1"),
        "name of 256": outcome(os.setxattr, d / "f", "user." + "n" * 251, b"1"),
        "missing": outcome(os.getxattr, d / "x", "user.a"),
        "listed": sorted(len(each) for each in os.listxattr(d / "f")),
    }


@case
def move_with_the_file(d):
    write_file(d / "f")
    os.setxattr(d / "f", "user.a", b"1")
    os.rename(d / "f", d / "g")
    os.link(d / "g", d / "h")
    write_file(d / "f")
    return {"moved": os.getxattr(d / "h", "user.a").decode(), "new": os.listxattr(d / "f")}


@case
def move_ctime(d):
    write_file(d / "f")
    return {
        "set": moved_times([d / "f"], lambda: os.setxattr(d / "f", "user.a", b"1")),
        "get": moved_times([d / "f"], lambda: os.getxattr(d / "f", "user.a")),
        "remove": moved_times([d / "f"], lambda: os.removexattr(d / "f", "user.a")),
    }


@case(root=True)
def trusted_namespace(d):
    write_file(d / "f")
    return {
        "set": outcome(os.setxattr, d / "f", "trusted.a", b"1"),
        "get": outcome(os.getxattr, d / "f", "trusted.a"),
        "list": os.listxattr(d / "f"),
        "list of another": as_user(lambda: os.listxattr(d / "f")),
    }
