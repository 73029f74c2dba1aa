"""Changes as text: status lines, and patches in git's format that `git apply` reads.

What git has no words for (owner, extended attributes, FIFOs, empty directories) stands in the
status line, or in a patch in a line that starts with ``#``, which `git apply` passes over.

What it is *not*: colours (vfsd/cli/diff.py), or how lines are matched (textdiff.py).

Concurrency: reads the views in the caller's thread.

Source: git-diff(1), "generating patch text with -p".
"""

from __future__ import annotations

import stat as stat_module
from collections.abc import Iterator

from vfsd.snapshots.changes import Aspect, Change, is_directory
from vfsd.snapshots.quoting import quoted
from vfsd.snapshots.textdiff import TEXT_BYTES_MAX, Count, count, hunks, is_text
from vfsd.snapshots.view import Item, TreeView

KINDS = {
    stat_module.S_IFREG: "file",
    stat_module.S_IFDIR: "directory",
    stat_module.S_IFLNK: "symlink",
    stat_module.S_IFIFO: "fifo",
    stat_module.S_IFSOCK: "socket",
    stat_module.S_IFCHR: "character device",
    stat_module.S_IFBLK: "block device",
}
"""What each type is called, in sentences and in JSON."""


def kind_name(item: Item) -> str:
    """Return what the file's type is called."""
    return KINDS.get(stat_module.S_IFMT(item.stat.mode), "unknown")


def shown_path(change: Change) -> bytes:
    """Return the quoted path, with a slash behind a directory's."""
    item = change.new or change.old
    return quoted(change.path or b".") + (b"/" if is_directory(item) else b"")


def details(change: Change) -> str:
    """Say what letters cannot: from what to what."""
    if change.old is None or change.new is None:
        return f"link to {quoted(change.link_to).decode()}" if change.link_to else ""
    old, new = change.old.stat, change.new.stat
    parts = []
    if Aspect.KIND in change.aspects:
        parts.append(f"{kind_name(change.old)} -> {kind_name(change.new)}")
    if Aspect.MODE in change.aspects:
        parts.append(f"mode {old.mode & 0o7777:04o} -> {new.mode & 0o7777:04o}")
    if Aspect.OWNER in change.aspects:
        parts.append(f"owner {old.uid}:{old.gid} -> {new.uid}:{new.gid}")
    if Aspect.XATTRS in change.aspects:
        parts.append("xattrs")
    if change.link_to:
        parts.append(f"link to {quoted(change.link_to).decode()}")
    elif Aspect.LINKS in change.aspects:
        parts.append("links")
    if change.aspects == Aspect.TIME:
        parts.append("time")
    return ", ".join(parts)


def status_line(change: Change) -> bytes:
    """Return the line with the letter and the path."""
    more = details(change)
    text = change.letter.encode() + b"\t" + shown_path(change)
    return text + (f"\t({more})\n".encode() if more else b"\n")


class Contents:
    """Reads both sides of a change as text, or says why that is not possible."""

    def __init__(self, old: TreeView, new: TreeView) -> None:
        self._old = old
        self._new = new

    def before(self, change: Change) -> bytes | None:
        """Return the old text: empty if there was no file, None if it is not shown as text."""
        return _text(self._old, change.path, change.old)

    def after(self, change: Change) -> bytes | None:
        """Return the new text, as `before`."""
        return _text(self._new, change.path, change.new)

    def count(self, change: Change) -> Count | None:
        """Count changed lines; None where there is no text to count."""
        before, after = self.before(change), self.after(change)
        return None if before is None or after is None else count(before, after)


def patch(change: Change, contents: Contents) -> Iterator[bytes]:
    """Yield the lines of the patch for one change, each with its newline."""
    old, new = _git_mode(change.old), _git_mode(change.new)
    if old and new and stat_module.S_IFMT(old) != stat_module.S_IFMT(new):
        # As git does: one goes, the other comes.
        yield from patch(Change(change.path, change.old, None), contents)
        yield from patch(Change(change.path, None, change.new), contents)
        return
    if not old and not new:
        return
    head = list(_extended_headers(old, new))
    has_content = not (old and new) or Aspect.CONTENT in change.aspects
    if not head and not has_content:
        return
    a, b = quoted(b"a/" + change.path), quoted(b"b/" + change.path)
    yield b"diff --git %s %s\n" % (a, b)
    yield from head
    if not has_content:
        return
    left, right = a if old else b"/dev/null", b if new else b"/dev/null"
    before = contents.before(change) if old else b""
    after = contents.after(change) if new else b""
    if before is None or after is None:
        yield b"Binary files %s and %s differ\n" % (left, right)
    elif before != after:
        yield b"--- %s\n" % _ended(left)
        yield b"+++ %s\n" % _ended(right)
        yield from hunks(before, after)


def _extended_headers(old: int, new: int) -> Iterator[bytes]:
    if not old:
        yield b"new file mode %06o\n" % new
    elif not new:
        yield b"deleted file mode %06o\n" % old
    elif old != new:
        yield b"old mode %06o\n" % old
        yield b"new mode %06o\n" % new


def _git_mode(item: Item | None) -> int:
    """Return the mode as git keeps it: two kinds of files, and symlinks; 0 for all else."""
    if item is None:
        return 0
    if stat_module.S_ISREG(item.stat.mode):
        return 0o100755 if item.stat.mode & 0o100 else 0o100644
    return 0o120000 if stat_module.S_ISLNK(item.stat.mode) else 0


def _ended(name: bytes) -> bytes:
    # A tab ends a name with blanks, so that no tool takes the rest for a date.
    return name + b"\t" if b" " in name and name[:1] != b'"' else name


def _text(view: TreeView, path: bytes, item: Item | None) -> bytes | None:
    if item is None:
        return b""
    if stat_module.S_ISLNK(item.stat.mode):
        return view.readlink(path)
    if not stat_module.S_ISREG(item.stat.mode):
        return b""
    if item.stat.size > TEXT_BYTES_MAX:
        return None
    with view.open(path) as file:
        data = b""
        while len(data) <= TEXT_BYTES_MAX and (more := file.read(TEXT_BYTES_MAX + 1 - len(data))):
            data += more
    return data if len(data) <= TEXT_BYTES_MAX and is_text(data) else None
