"""Cases of who may do what, as an ordinary user against root's files."""

import os

from tests.mounted.posix.observe import as_user, case, opened, outcome, shape, write_file

USER, GROUP = 54321, 54322


@case(root=True)
def file_modes(d):
    seen = {}
    for mode in (0o000, 0o400, 0o200, 0o040, 0o004, 0o002, 0o006, 0o711):
        write_file(d / "f", b"data", mode)

        def act():
            return [
                opened(d / "f", os.O_RDONLY),
                opened(d / "f", os.O_WRONLY),
                [os.access(d / "f", each) for each in (os.R_OK, os.W_OK, os.X_OK)],
            ]

        seen[f"{mode:o} other"] = as_user(act)
        seen[f"{mode:o} group"] = as_user(act, groups=(0,))
        os.chown(d / "f", USER, 0)
        seen[f"{mode:o} owner"] = as_user(act)
    return seen


@case(root=True)
def directory_modes(d):
    os.mkdir(d / "d")
    write_file(d / "d" / "f", b"data")
    seen = {}
    for mode in (0o700, 0o701, 0o704, 0o705, 0o702, 0o703, 0o707):
        os.chmod(d / "d", mode)

        def act():
            return {
                "list": outcome(os.listdir, d / "d"),
                "read": opened(d / "d" / "f", os.O_RDONLY),
                "stat": outcome(lambda: os.stat(d / "d" / "f").st_size),
                "create": opened(d / "d" / "new", os.O_WRONLY | os.O_CREAT | os.O_EXCL),
                "unlink": outcome(os.unlink, d / "d" / "new"),
                "rename": outcome(os.rename, d / "d" / "f", d / "d" / "f"),
                "chdir": outcome(os.chdir, d / "d"),
            }

        seen[f"{mode:o}"] = as_user(act)
    return seen


@case(root=True)
def chmod_by_user(d):
    write_file(d / "mine")
    write_file(d / "theirs")
    os.chown(d / "mine", USER, GROUP)

    def act():
        seen = {
            "mine": outcome(os.chmod, d / "mine", 0o600),
            "theirs": outcome(os.chmod, d / "theirs", 0o600),
            "setgid": outcome(os.chmod, d / "mine", 0o2711),
        }
        return {**seen, "mode": shape(d / "mine")["mode"]}

    seen = {"own group": as_user(act)}
    os.chown(d / "mine", USER, 77)
    seen["foreign group"] = as_user(act)
    seen["mode then"] = shape(d / "mine")["mode"]
    return seen


@case(root=True)
def chown_by_user(d):
    write_file(d / "mine", mode=0o6755)
    write_file(d / "theirs")
    os.chown(d / "mine", USER, GROUP)
    os.chmod(d / "mine", 0o6755)

    def act():
        return {
            "give away": outcome(os.chown, d / "mine", USER + 1, -1),
            "own group": outcome(os.chown, d / "mine", -1, GROUP),
            "second group": outcome(os.chown, d / "mine", USER, 88),
            "foreign group": outcome(os.chown, d / "mine", -1, 99),
            "theirs": outcome(os.chown, d / "theirs", USER, GROUP),
            "nothing": outcome(os.chown, d / "mine", -1, -1),
            "shape": shape(d / "mine"),
        }

    return as_user(act, groups=(88,))


@case(root=True)
def utimes_by_user(d):
    for name, owner, mode in (("mine", USER, 0o400), ("writable", 0, 0o666), ("theirs", 0, 0o644)):
        write_file(d / name)
        os.chown(d / name, owner, 0)
        os.chmod(d / name, mode)

    def act():
        seen = {}
        for name in ("mine", "writable", "theirs"):
            seen[f"{name} now"] = outcome(os.utime, d / name)
            seen[f"{name} set"] = outcome(os.utime, d / name, ns=(1, 2))
        return seen

    return as_user(act)


@case(root=True)
def sticky_directory(d):
    os.mkdir(d / "tmp")
    os.chmod(d / "tmp", 0o1777)
    for name, owner in (("root", 0), ("mine", USER), ("other", USER + 1)):
        for kind in ("file", "target"):
            write_file(d / "tmp" / f"{name}-{kind}")
            os.chown(d / "tmp" / f"{name}-{kind}", owner, 0)
        os.mkdir(d / "tmp" / f"{name}-dir")
        os.chown(d / "tmp" / f"{name}-dir", owner, 0)

    def act():
        seen = {}
        for name in ("root", "mine", "other"):
            place = d / "tmp"
            seen[f"{name} rename away"] = outcome(os.rename, place / f"{name}-file", place / "x")
            seen[f"{name} rename back"] = outcome(os.rename, place / "x", place / f"{name}-file")
            write_file(place / "source")
            seen[f"{name} replace"] = outcome(os.rename, place / "source", place / f"{name}-target")
            seen[f"{name} unlink"] = outcome(os.unlink, place / f"{name}-file")
            seen[f"{name} rmdir"] = outcome(os.rmdir, place / f"{name}-dir")
        return seen

    seen = {"in root's directory": as_user(act)}
    os.chown(d / "tmp", USER, 0)
    seen["in own directory"] = as_user(act)
    return seen


@case(root=True)
def setgid_directory(d):
    os.mkdir(d / "shared")
    os.chown(d / "shared", 0, 77)
    os.chmod(d / "shared", 0o2777)

    def act():
        place = d / "shared"
        os.mkdir(place / "dir")
        os.close(os.open(place / "file", os.O_WRONLY | os.O_CREAT, 0o2755))
        os.mkfifo(place / "fifo")
        os.symlink("x", place / "link")
        os.mkdir(place / "dir" / "sub")
        return {name: shape(place / name) for name in ("dir", "file", "fifo", "link", "dir/sub")}

    return {"outside the group": as_user(act), **_again(d, act)}


def _again(d, act):
    os.rename(d / "shared", d / "old")
    os.mkdir(d / "shared")
    os.chown(d / "shared", 0, 77)
    os.chmod(d / "shared", 0o2777)
    return {"inside the group": as_user(act, groups=(77,))}


@case(root=True)
def new_files_belong_to_their_maker(d):
    os.chmod(d, 0o777)

    def act():
        os.umask(0o077)
        os.mkdir(d / "dir")
        write_file(d / "file", mode=0o640)
        os.symlink("x", d / "link")
        os.mkfifo(d / "fifo")
        os.link(d / "file", d / "hard")
        return {name: shape(d / name) for name in ("dir", "file", "link", "fifo", "hard")}

    return as_user(act)


@case(root=True)
def protected_hard_links(d):
    """Linking another's file is up to the kernel (fs.protected_hardlinks)."""
    os.chmod(d, 0o777)
    write_file(d / "theirs", mode=0o644)
    write_file(d / "open", mode=0o666)
    return as_user(
        lambda: {
            "theirs": outcome(os.link, d / "theirs", d / "a"),
            "writable": outcome(os.link, d / "open", d / "b"),
        }
    )


@case(root=True)
def special_files_by_user(d):
    os.chmod(d, 0o777)
    return as_user(
        lambda: {
            "fifo": outcome(os.mknod, d / "fifo", 0o010644),
            "device": outcome(os.mknod, d / "null", 0o020666, os.makedev(1, 3)),
            "whiteout": outcome(os.mknod, d / "whiteout", 0o020000, 0),
            "regular": outcome(os.mknod, d / "file", 0o100644),
            "names": sorted(os.listdir(d)),
        }
    )


@case(root=True)
def execution(d):
    write_file(d / "script", b"#!/bin/sh\nexit 7\n", 0o700)
    write_file(d / "open", b"#!/bin/sh\nexit 7\n", 0o755)

    def act():
        return {
            name: [os.access(d / name, os.X_OK), os.spawnv(os.P_WAIT, d / name, [name])]
            for name in ("script", "open")
        }

    return {"user": as_user(act), "root": act()}
