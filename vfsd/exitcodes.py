"""Every exit code of the command line, in one place; docs and a test read this table.

`vfsd run` gives the command's own code instead: its exit status, 128 + n where signal n ended
it, 124 on a time-out, 126 and 127 as a shell gives them, and 125 for a failure of vfsd itself.

Not an enumeration: `enum` takes as long to import as a third of a start of bwrap.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Code(int):
    """An exit code and, as its `meaning`, what it promises."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> Code:
        code = int.__new__(cls, value)
        code.meaning = meaning
        return code


class ExitCode:
    """The codes by name."""

    OK = Code(0, "it worked")
    FAILED = Code(1, "the operation failed; the message says what and why")
    USAGE = Code(2, "wrong arguments, or an unusable configuration")
    NOT_MOUNTED = Code(3, "no vfsd daemon serves that path")
    REFUSED = Code(
        4, "refused to protect what is there: busy, not empty, already mounted, in the way"
    )
    NOT_FOUND = Code(5, "no such file, provider, prefix or snapshot")
    UNAVAILABLE = Code(
        6, "this machine lacks something: /dev/fuse, fusermount3, bwrap, a namespace"
    )
    DENIED = Code(7, "permission denied")
    DAMAGED = Code(8, "data is damaged, malformed or of an unknown version")
    FULL = Code(9, "no space or quota left")
    CONFLICT = Code(10, "vfsd apply: the directory was changed since; nothing was written")
    RUN_TIMEOUT = Code(124, "vfsd run: the time limit ended the command")
    RUN_FAILED = Code(125, "vfsd run: vfsd itself failed, the command did not run to its end")
    RUN_NOT_EXECUTABLE = Code(126, "vfsd run: the command was found but cannot be executed")
    RUN_NOT_FOUND = Code(127, "vfsd run: the command was not found")
    INTERRUPTED = Code(130, "interrupted by SIGINT")
    RUN_OUTPUT = Code(153, "vfsd run: the command said more than --output allows")


def codes() -> Iterator[Code]:
    """Yield every code, in the order of their numbers."""
    yield from (each for each in vars(ExitCode).values() if isinstance(each, Code))


def code_of(value: int) -> Code:
    """Return the code of that number; FAILED for a number that is none."""
    return next((code for code in codes() if code == value), ExitCode.FAILED)
