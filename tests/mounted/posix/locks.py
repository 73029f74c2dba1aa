"""Cases of locks: flock(2) and fcntl(2) record locks, between processes and handles."""

import fcntl
import os

from tests.mounted.posix.observe import case, in_child, outcome, write_file

TRY = fcntl.LOCK_NB


@case
def whole_file(d):
    write_file(d / "f")
    one, two = os.open(d / "f", os.O_RDWR), os.open(d / "f", os.O_RDONLY)
    seen = {
        "exclusive": outcome(fcntl.flock, one, fcntl.LOCK_EX | TRY),
        "another handle": outcome(fcntl.flock, two, fcntl.LOCK_SH | TRY),
        "downgrade": outcome(fcntl.flock, one, fcntl.LOCK_SH | TRY),
        "shared": outcome(fcntl.flock, two, fcntl.LOCK_SH | TRY),
        "upgrade": outcome(fcntl.flock, two, fcntl.LOCK_EX | TRY),
    }
    os.close(one)
    seen["after close"] = outcome(fcntl.flock, two, fcntl.LOCK_EX | TRY)
    os.close(two)
    return seen


@case
def records_between_processes(d):
    write_file(d / "f", b"0123456789")
    fd = os.open(d / "f", os.O_RDWR)
    fcntl.lockf(fd, fcntl.LOCK_EX, 4, 2)

    def other():
        mine = os.open(d / "f", os.O_RDWR)
        return {
            "overlapping": outcome(fcntl.lockf, mine, fcntl.LOCK_EX | TRY, 2, 4),
            "shared": outcome(fcntl.lockf, mine, fcntl.LOCK_SH | TRY, 1, 2),
            "beside": outcome(fcntl.lockf, mine, fcntl.LOCK_EX | TRY, 2, 6),
        }

    seen = {"held": in_child(other)}
    fcntl.lockf(fd, fcntl.LOCK_UN, 2, 2)
    seen["half released"] = in_child(other)
    os.close(os.open(d / "f", os.O_RDONLY))  # closing any fd drops a process's record locks
    seen["after another close"] = in_child(other)
    os.close(fd)
    return seen


@case
def lock_survives_rename(d):
    write_file(d / "f")
    fd = os.open(d / "f", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.rename(d / "f", d / "g")
    other = os.open(d / "g", os.O_RDWR)
    seen = {"renamed": outcome(fcntl.flock, other, fcntl.LOCK_EX | TRY)}
    write_file(d / "f")
    fresh = os.open(d / "f", os.O_RDWR)
    seen["new file"] = outcome(fcntl.flock, fresh, fcntl.LOCK_EX | TRY)
    for each in (fd, other, fresh):
        os.close(each)
    return seen


@case
def lock_ends_with_its_process(d):
    write_file(d / "f")

    def lock_and_leave():
        fd = os.open(d / "f", os.O_RDWR)
        return [
            outcome(fcntl.flock, fd, fcntl.LOCK_EX | TRY),
            outcome(fcntl.lockf, fd, fcntl.LOCK_EX | TRY),
        ]

    seen = {"first": in_child(lock_and_leave), "second": in_child(lock_and_leave)}
    return seen


@case
def lock_by_wrong_mode(d):
    write_file(d / "f")
    fd = os.open(d / "f", os.O_RDONLY)
    seen = {"exclusive record": outcome(fcntl.lockf, fd, fcntl.LOCK_EX | TRY)}
    seen["exclusive flock"] = outcome(fcntl.flock, fd, fcntl.LOCK_EX | TRY)
    os.close(fd)
    return seen
