"""A file that appears whole or not at all.

It is written without a name where the file system can (`O_TMPFILE`), else under a name of its
own in the same directory; synced; then renamed over the target. A crash leaves the target as it
was, and in the worst case a file named ``.NAME.….partial`` beside it.

Concurrency: for one thread at a time. Two that write the same target both succeed; the last wins.

Source: open(2), `O_TMPFILE`; rename(2).
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress

from vfsd.attributes import NAME_MAX


class OutFile:
    """A context manager: `commit` gives the file its name; leaving without throws it away."""

    def __init__(self, path: str | bytes | os.PathLike[str], mode: int = 0o666) -> None:
        """Start a file that is to stand at `path`; permissions are `mode` under the umask.

        OSError for a directory that is not there or may not be written.
        """
        directory, self._name = os.path.split(os.fsencode(path))
        self._path = os.fsencode(path)
        tail = b"." + secrets.token_hex(6).encode() + b".partial"
        self._temporary = b"." + self._name[: NAME_MAX - len(tail) - 1] + tail
        self._named = False
        self._directory = os.open(directory or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if os.path.isdir(self._path):
                raise IsADirectoryError(21, os.strerror(21), os.fsdecode(path))
            self.fd = self._open(mode)
        except BaseException:
            os.close(self._directory)
            raise

    def _open(self, mode: int) -> int:
        try:
            return os.open(
                b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode, dir_fd=self._directory
            )
        except OSError:
            # Not every file system has files without a name; a real obstacle shows again here.
            flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            fd = os.open(self._temporary, flags, mode, dir_fd=self._directory)
            self._named = True
            return fd

    def commit(self) -> None:
        """Make it durable and give it its name, in place of what has it. OSError."""
        os.fsync(self.fd)
        if not self._named:
            os.link(
                f"/proc/self/fd/{self.fd}",
                self._temporary,
                dst_dir_fd=self._directory,
                follow_symlinks=True,
            )
            self._named = True
        os.rename(
            self._temporary,
            self._name,
            src_dir_fd=self._directory,
            dst_dir_fd=self._directory,
        )
        self._named = False
        os.fsync(self._directory)

    def __enter__(self) -> OutFile:
        return self

    def __exit__(self, *error: object) -> None:
        if self._named:
            with suppress(OSError):
                os.unlink(self._temporary, dir_fd=self._directory)
        os.close(self.fd)
        os.close(self._directory)
