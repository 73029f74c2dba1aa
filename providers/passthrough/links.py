"""Where a symlink of the host may lead, and what `readlink` shows of it.

The kernel (or the control socket) follows links itself, step by step, with what `readlink`
says; the provider never does. So this is about meaning, not about the guard: whatever is shown
here, names below the root lead nowhere else.

- A target that stays inside is shown as stored if it is relative, and as a relative path if it
  is absolute or goes out and in again by the root's own path.
- A target that leads out is EACCES to read (`deny`), or the link is as good as absent (`hide`),
  or it is shown as a path below another attached prefix (`map`), EACCES where that has none.
- `keep` judges nothing: every target is shown as stored, host paths included, and leads whoever
  follows it where it leads in their own namespace. So do layers of an overlay, whose targets are
  a guest's data, and virtual environments that link to an interpreter of the system.
- Only the link's own target is judged; a last symlink that it names is judged when its turn
  comes, so a chain ends where its last link may not lead.

But for `keep`, a host path is never shown except as part of what a mapped prefix says, or a
relative target that stays inside.

Concurrency: `LinkRules` holds no state; `Surroundings.is_link` may block.

Source: path_resolution(7).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from vfsd.errors import fail
from vfsd.provider import PATH_MAX

LINKS_MAX = 40
"""Symlinks looked through while one target is judged; the kernel gives up there as well."""

LEADS_OUT = (
    "the symlink leads out of the attached directory; --links keep shows where, and "
    "--links map=DIRECTORY:PREFIX shows it inside"
)

ReadLink = Callable[[Sequence[bytes], bytes], bytes | None]
"""Returns the target if that name in the directory those names lead to is a symlink."""

Sources = Callable[[], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Map:
    """Host paths below `source` are shown below `prefix`; None: below any attached directory."""

    source: bytes | None
    prefix: bytes


@dataclass(frozen=True, slots=True)
class LinkRules:
    """What is done about links that lead out."""

    hide: bool = False
    keep: bool = False
    maps: tuple[Map, ...] = field(default=())

    @property
    def policy(self) -> str:
        """The word that `links=` begins with."""
        if self.hide:
            return "hide"
        if self.keep:
            return "keep"
        return "map" if self.maps else "deny"


class Outside(Exception):
    """The target leads out of the root, to this absolute, normal host path."""

    def __init__(self, path: bytes) -> None:
        super().__init__(path)
        self.path = path


def shown_target(
    rules: LinkRules,
    directory: Sequence[bytes],
    target: bytes,
    roots: Sequence[bytes],
    read_link: ReadLink,
    others: Sources,
) -> bytes:
    """Return what `readlink` gives for a link in `directory` (names from the root).

    `roots` are the host paths of the root; `others` those of other attached directories.
    EACCES if it leads out and is not mapped, ENAMETOOLONG.
    """
    try:
        inside = inside_path(directory, target, roots, read_link)
    except Outside as outside:
        return _mapped(rules, outside.path, others)
    if inside is None:
        return target
    relative = b"/".join([*([b".."] * len(directory)), *inside]) or b"."
    if len(relative) >= PATH_MAX:
        raise fail(errno.ENAMETOOLONG)
    return relative


def inside_path(
    directory: Sequence[bytes], target: bytes, roots: Sequence[bytes], read_link: ReadLink
) -> list[bytes] | None:
    """Return the names from the root if the target must be rewritten, None if it may stay.

    Raises `Outside` if it leads out.
    """
    if target.startswith(b"/"):
        return _below(roots, target)
    names = [name for name in target.split(b"/") if name not in (b"", b".")]
    ups = 0
    while ups < len(names) and names[ups] == b"..":
        ups += 1
    if ups > len(directory):
        return _below(roots, _joined(roots[0], directory, names))
    if b".." in names[ups:]:
        return _walked(directory, names, roots, read_link)
    return None


def _joined(root: bytes, directory: Sequence[bytes], names: Sequence[bytes]) -> bytes:
    return os.path.normpath(b"/".join([root, *directory, *names]))


def _below(roots: Sequence[bytes], path: bytes) -> list[bytes]:
    """Return the names below the first root that `path` lies in, or raise `Outside`."""
    # Two leading slashes mean the same as one on Linux; normpath would keep them.
    normal = os.path.normpath(b"/" + path.lstrip(b"/"))
    for root in roots:
        rest = below(root, normal)
        if rest is not None:
            return [name for name in rest.split(b"/") if name]
    raise Outside(normal)


def _is_below(roots: Sequence[bytes], path: bytes) -> bool:
    normal = os.path.normpath(b"/" + path.lstrip(b"/"))
    return any(below(root, normal) is not None for root in roots)


def below(root: bytes, path: bytes) -> bytes | None:
    """Return the part of `path` after `root`, or None if it does not lie there."""
    if path == root:
        return b""
    prefix = root.rstrip(b"/") + b"/"
    return path[len(prefix) :] if path.startswith(prefix) else None


def _walked(
    directory: Sequence[bytes], names: Sequence[bytes], roots: Sequence[bytes], read_link: ReadLink
) -> list[bytes] | None:
    """Walk a target with ``..`` behind a name, which means the parent of where that leads.

    Returns and raises as `inside_path`; what lies outside is not looked at.
    """
    stack = list(directory)
    todo = list(reversed(names))
    links = 0
    while todo:
        name = todo.pop()
        if name == b"..":
            if not stack:
                return _below(roots, b"/".join([roots[0], b"..", *reversed(todo)]))
            stack.pop()
            continue
        if b".." not in todo:
            return None  # Only plain names from here on: they stay, whatever they are.
        inner = read_link(stack, name)
        if inner is None:
            stack.append(name)
            continue
        links += 1
        if links > LINKS_MAX:
            # The kernel gives up as well, so it leads nowhere; but its text must not tell of
            # what lies outside.
            _below(roots, _joined(roots[0], directory, names))
            return None
        if inner.startswith(b"/"):
            if not _is_below(roots, inner):
                return _below(roots, b"/".join([inner, *reversed(todo)]))
            stack = []
            todo.extend(reversed(_below(roots, inner)))
        else:
            todo.extend(each for each in reversed(inner.split(b"/")) if each not in (b"", b"."))
    return None


def _mapped(rules: LinkRules, path: bytes, others: Sources) -> bytes:
    for each in rules.maps:
        sources = [each.source] if each.source is not None else others()
        # The innermost directory that holds the path says most about it.
        for source in sorted(sources, key=len, reverse=True):
            rest = below(source, path)
            if rest is None:
                continue
            shown = each.prefix + b"/" + rest if rest else each.prefix
            if len(shown) >= PATH_MAX:
                raise fail(errno.ENAMETOOLONG)
            return shown
    raise OSError(errno.EACCES, LEADS_OUT)
