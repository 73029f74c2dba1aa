"""Copying a file or a directory tree out of the mounted tree onto the host, as shared steps.

The counterpart of sending.py: it keeps the same things. Small files come many to a message.
What cannot be copied is noted in the report, and the rest goes on. Where files may land, and
that nothing is written through a symlink, is landing.py's care.

Concurrency: a generator that writes to the host's disk between its calls; it blocks.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module

from vfsd.control import calls
from vfsd.control.calls import Steps
from vfsd.control.contents import close_quietly
from vfsd.control.framing import DATA_LIMIT_BYTES
from vfsd.control.landing import Landing, Parts
from vfsd.control.replies import FileInfo, ReplyError
from vfsd.control.transfer import Account, ProgressCallback, Report

SMALL_BYTES = 1 << 18
"""Files up to this size come in batches."""

BATCH_FILES = 512


def get_tree(
    source: bytes, target: bytes, tell: ProgressCallback | None, *, follow: bool = False
) -> Steps[Report]:
    """Copy `source` from the tree so that it becomes the host's `target`.

    The directory of `target` exists; a directory is merged into one that is there. `follow`:
    `source` itself may be a symlink.
    """
    account = Account(tell)
    above, name = os.path.split(target.rstrip(b"/"))
    if name in (b"", b".", b".."):
        raise OSError(errno.EINVAL, "the destination has no name", os.fsdecode(target))
    info: FileInfo = yield calls.stat(source, follow=follow)
    with Landing(above) as landing:
        receiver = _Receiver(landing, account)
        if info.is_dir:
            yield from receiver.receive_tree(source, (name,), info)
        else:
            yield from receiver.receive(source, (name,), info)
    return account.report


class _Receiver:
    def __init__(self, landing: Landing, account: Account) -> None:
        self._landing = landing
        self._account = account
        self._linked: dict[tuple[int, int], Parts] = {}

    def receive_tree(self, source: bytes, parts: Parts, info: FileInfo) -> Steps[None]:
        """Make a directory with all below it."""
        self._landing.make_directory(parts)
        made = [(parts, info)]
        waiting = [(source, parts)]
        while waiting:
            folder, folder_parts = waiting.pop()
            try:
                inner = yield from self._receive_directory(folder, folder_parts)
            except ConnectionError:
                raise
            except OSError as error:
                self._account.problem(folder, error)
                continue
            for name, child in inner:
                path, child_parts = folder + b"/" + name, (*folder_parts, name)
                try:
                    self._landing.make_directory(child_parts)
                except OSError as error:
                    self._account.problem(os.path.join(*child_parts), error)
                    continue
                made.append((child_parts, child))
                waiting.append((path, child_parts))
        for child_parts, child in reversed(made):
            try:
                self._landing.finish_directory(child_parts, child)
            except OSError as error:
                self._account.problem(os.path.join(*child_parts), error)
            else:
                self._account.add(1, 0)

    def _receive_directory(
        self, folder: bytes, parts: Parts
    ) -> Steps[list[tuple[bytes, FileInfo]]]:
        """Copy the files of a directory; return the directories in it."""
        entries = yield from calls.list_all(folder)
        small: list[tuple[bytes, FileInfo]] = []
        later: list[tuple[bytes, FileInfo]] = []
        inner: list[tuple[bytes, FileInfo]] = []
        seen = set(self._linked)
        for name, info in entries:
            key = (info.attachment, info.node)
            if info.is_dir:
                inner.append((name, info))
            elif info.is_file and info.stat.size <= SMALL_BYTES and key not in seen:
                seen.add(key)
                small.append((name, info))
            else:
                later.append((name, info))
        yield from self._receive_small(folder, parts, small)
        for name, info in later:
            yield from self.receive(folder + b"/" + name, (*parts, name), info)
        return inner

    def _receive_small(
        self, folder: bytes, parts: Parts, files: list[tuple[bytes, FileInfo]]
    ) -> Steps[None]:
        done = 0
        while done < len(files):
            names: list[bytes] = []
            room = DATA_LIMIT_BYTES
            for name, info in files[done : done + BATCH_FILES]:
                room -= info.stat.size
                if room < 0 and names:
                    break
                names.append(name)
            answers: list[bytes | int] = yield calls.fetch(folder, names)
            if not 0 < len(answers) <= len(names):
                raise ReplyError("a fetch that fetched nothing")
            for (name, info), answer in zip(files[done:], answers, strict=False):
                path = folder + b"/" + name
                if isinstance(answer, bytes):
                    self._write_small((*parts, name), answer, info)
                elif answer == errno.EFBIG:
                    yield from self.receive(path, (*parts, name), info)
                else:
                    self._account.problem(path, OSError(answer, os.strerror(answer)))
            done += len(answers)

    def _write_small(self, parts: Parts, data: bytes, info: FileInfo) -> None:
        try:
            opened, temporary = self._landing.start_file(parts)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(opened, view) :]
                self._landing.finish_file(parts, temporary, opened, info)
            except BaseException:
                self._landing.drop_file(parts, temporary)
                raise
            finally:
                os.close(opened)
        except OSError as error:
            self._account.problem(os.path.join(*parts), error)
            return
        self._note_linked(parts, info)
        self._account.add(1, len(data))

    def receive(self, path: bytes, parts: Parts, info: FileInfo) -> Steps[None]:
        """Copy one file that is no directory; what goes wrong is noted."""
        kind = stat_module.S_IFMT(info.stat.mode)
        key = (info.attachment, info.node)
        try:
            if info.stat.nlink > 1 and key in self._linked:
                self._landing.make_link(parts, self._linked[key])
            elif kind == stat_module.S_IFREG:
                yield from self._receive_large(path, parts, info)
            elif kind == stat_module.S_IFLNK:
                target: bytes = yield calls.readlink(path)
                self._landing.make_symlink(parts, target, info)
            elif kind == stat_module.S_IFSOCK:
                self._account.problem(path, "is a socket, which cannot be copied")
                return
            else:
                self._landing.make_node(parts, info)
        except ConnectionError:
            raise
        except OSError as error:
            self._account.problem(path, error)
            return
        self._note_linked(parts, info)
        self._account.add(1, 0)

    def _note_linked(self, parts: Parts, info: FileInfo) -> None:
        if info.stat.nlink > 1:
            self._linked.setdefault((info.attachment, info.node), parts)

    def _receive_large(self, path: bytes, parts: Parts, info: FileInfo) -> Steps[None]:
        opened, temporary = self._landing.start_file(parts)
        try:
            fd, now = yield calls.open_file(path, os.O_RDONLY, 0)
            offset = 0
            try:
                while True:
                    data: bytes = yield calls.read(fd, offset, DATA_LIMIT_BYTES)
                    if not data:
                        break
                    _write_unless_zero(opened, offset, data)
                    offset += len(data)
                    self._account.add(0, len(data))
            except ConnectionError:
                raise
            except OSError:
                yield from close_quietly(fd)
                raise
            yield calls.close(fd)
            os.ftruncate(opened, offset)
            self._landing.finish_file(parts, temporary, opened, now)
        except BaseException:
            self._landing.drop_file(parts, temporary)
            raise
        finally:
            os.close(opened)


def _write_unless_zero(opened: int, offset: int, data: bytes) -> None:
    """Write data at `offset` of a new file; all zeros stay a hole."""
    if not data.strip(b"\0"):
        return
    view = memoryview(data)
    while view:
        written = os.pwrite(opened, view, offset)
        view, offset = view[written:], offset + written
