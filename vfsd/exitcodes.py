"""Every exit code of the command line, in one place; docs and a test read this table.

`vfsd run` gives the command's own code instead: its exit status, 128 + n where signal n ended
it, 124 on a time-out, 126 and 127 as a shell gives them, and 125 for a failure of vfsd itself.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """An exit code and, as its docstring-like `meaning`, what it promises."""

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "it worked"
    FAILED = 1, "the operation failed; the message says what and why"
    USAGE = 2, "wrong arguments, or an unusable configuration"
    NOT_MOUNTED = 3, "no vfsd daemon serves that path"
    REFUSED = 4, "refused to protect what is there: busy, not empty, already mounted, in the way"
    NOT_FOUND = 5, "no such file, provider, prefix or snapshot"
    UNAVAILABLE = 6, "this machine lacks something: /dev/fuse, fusermount3, bwrap, a namespace"
    DENIED = 7, "permission denied"
    DAMAGED = 8, "data is damaged, malformed or of an unknown version"
    FULL = 9, "no space or quota left"
    CONFLICT = 10, "vfsd apply: the directory was changed since; nothing was written"
    RUN_TIMEOUT = 124, "vfsd run: the time limit ended the command"
    RUN_FAILED = 125, "vfsd run: vfsd itself failed, the command did not run to its end"
    RUN_NOT_EXECUTABLE = 126, "vfsd run: the command was found but cannot be executed"
    RUN_NOT_FOUND = 127, "vfsd run: the command was not found"
    INTERRUPTED = 130, "interrupted by SIGINT"
    RUN_OUTPUT = 153, "vfsd run: the command said more than --output allows"
