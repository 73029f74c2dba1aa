"""The filters of system calls that every sandbox gets, ready for the kernel.

They are the same for all runs, so they are made once and kept: making them takes longer than
all else that `vfsd run` does itself. The file that keeps them belongs to the user, who alone can
write it, is named after the policy it was made from, and is made again when it is damaged.

What it is *not*: the policy (syscalls.py), or its compiler (libseccomp.py), which is imported
only when the programs have to be made.

Concurrency: blocking. Two runs at once may both make the file; the last one stays.

Sources: seccomp(2), struct sock_filter; bwrap(1), --add-seccomp-fd; XDG base directories.
"""

from __future__ import annotations

import errno
import os
import stat
from binascii import crc32

from vfsd import xdg
from vfsd.blocks import suppress
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sandbox.spec import Argument, Data

MAGIC = b"vfsd-bpf"
INSTRUCTION_BYTES = 8
"""The size of a struct sock_filter."""
PROGRAM_LIMIT_BYTES = 4096 * INSTRUCTION_BYTES
"""The longest program that the kernel takes."""
FORMAT = 1
POLICY_MODULE = "syscalls.py"


def programs() -> tuple[bytes, ...]:
    """Return the BPF programs of the two filters, in the order they are to be loaded in.

    UserError (125) where they have to be made and libseccomp is missing.
    """
    place = _place()
    kept = _read(place) if place else None
    if kept is None:
        kept = compiled()
        if place:
            with suppress(OSError):
                _write(place, kept)
    return kept


def options() -> tuple[Argument, ...]:
    """Return what tells bwrap to load them. UserError as for `programs`."""
    return tuple(word for program in programs() for word in ("--add-seccomp-fd", Data(program)))


def compiled() -> tuple[bytes, ...]:
    """Make the programs. UserError (125) where libseccomp is missing."""
    from vfsd.sandbox.libseccomp import compile_filter
    from vfsd.sandbox.syscalls import ALLOWED, ARGUMENT_RULES, PERSONALITY_RULES, REFUSED, Rule

    refused = [Rule(call, (), errno.EPERM) for calls in REFUSED.values() for call in calls]
    allowed = [Rule(call, (), 0) for call in ALLOWED]
    try:
        return (
            compile_filter(errno.ENOSYS, (*allowed, *refused, *PERSONALITY_RULES)),
            compile_filter(0, ARGUMENT_RULES),
        )
    except OSError as error:
        raise UserError(
            f"no filter of system calls can be made ({error}); 'apt-get install libseccomp2' as"
            " root brings it, and --no-seccomp runs the command without one",
            ExitCode.RUN_FAILED,
        ) from error


def _place() -> str | None:
    """Return where the programs are kept; None where there is no such place."""
    directory = xdg.find(xdg.CACHE)
    if directory is None:
        return None
    policy = crc32(_policy(), FORMAT)
    return os.path.join(directory, "vfsd", f"seccomp-{os.uname().machine}-{policy:08x}.bpf")


def _policy() -> bytes:
    """Return what the name of the kept file depends on."""
    try:
        # The policy's own text: to import it takes longer than to read it.
        with open(os.path.join(os.path.dirname(__file__), POLICY_MODULE), "rb") as source:
            return source.read()
    except OSError:  # an installation without sources
        from vfsd.sandbox import syscalls

        rules = (*syscalls.PERSONALITY_RULES, *syscalls.ARGUMENT_RULES)
        return repr((syscalls.ALLOWED, syscalls.REFUSED, rules)).encode()


def _read(place: str) -> tuple[bytes, ...] | None:
    """Return what is kept at `place`; None if it is not whole, or another user could write it."""
    try:
        fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not ours or status.st_mode & 0o022:
            return None
        return decoded(os.read(fd, 2 * PROGRAM_LIMIT_BYTES + 64))
    except OSError:
        return None
    finally:
        os.close(fd)


def encoded(content: tuple[bytes, ...]) -> bytes:
    """Return the file that keeps the programs.

    ====== ============ ==========================================
    offset size         field
    ====== ============ ==========================================
    0      8            ``vfsd-bpf``
    8      4            CRC-32 of all that follows, little-endian
    12     4            size of the first program
    16     4            size of the second program
    20                  the two programs
    ====== ============ ==========================================
    """
    sizes = b"".join(len(program).to_bytes(4, "little") for program in content)
    body = sizes + b"".join(content)
    return MAGIC + crc32(body).to_bytes(4, "little") + body


def decoded(file: bytes) -> tuple[bytes, ...] | None:
    """Return the programs in a file made by `encoded`, or None if it is damaged."""
    body = file[12:]
    if file[:8] != MAGIC or int.from_bytes(file[8:12], "little") != crc32(body):
        return None
    sizes = [int.from_bytes(body[at : at + 4], "little") for at in (0, 4)]
    end = 8 + sizes[0]
    if min(sizes) == 0 or end + sizes[1] != len(body):
        return None
    return body[8:end], body[end:]


def _write(place: str, content: tuple[bytes, ...]) -> None:
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    temporary = f"{place}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    fd = os.open(temporary, flags, 0o600)
    try:
        with open(fd, "wb") as target:
            target.write(encoded(content))
        os.rename(temporary, place)
    except OSError:
        os.unlink(temporary)
        raise
