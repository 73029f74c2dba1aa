"""Marks in a layer: how the kernel's overlayfs writes down what is deleted or hidden.

A **whiteout** is a character device 0:0, or an empty regular file with the attribute
``overlay.whiteout`` in a directory marked ``overlay.opaque=x``. An **opaque** directory
(``overlay.opaque=y``) hides what the layers below have at its place. A **redirect** says under
which name the layers below have the directory.

The attributes stand in the namespace ``user.`` (mounted with ``userxattr``) or ``trusted.``;
one of them is written, both are read. No user sees them: a name that would look like a mark is
stored *escaped*, with ``overlay.`` twice, as Linux 6.7 and later do for overlays on overlays.

Concurrency: pure, but for `read`, which asks the layer's provider.

Source: Linux Documentation/filesystems/overlayfs.rst; fs/overlayfs/xattrs.c.
"""

from __future__ import annotations

import errno
import stat as stat_module
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from vfsd.overlaynames import PREFIXES as PREFIXES
from vfsd.overlaynames import is_mark as is_mark
from vfsd.overlaynames import shown as shown
from vfsd.overlaynames import stored as stored
from vfsd.provider import Node, Provider, Stat


@dataclass(frozen=True, slots=True)
class Flavour:
    """The namespace in which marks are written, and whether renamed directories may redirect."""

    name: str
    prefix: bytes
    redirects: bool

    def named(self, mark: bytes) -> bytes:
        """Return the full name of the attribute `mark`."""
        return self.prefix + mark


USER = Flavour("user", PREFIXES[0], redirects=False)
TRUSTED = Flavour("trusted", PREFIXES[1], redirects=True)
FLAVOURS = {each.name: each for each in (USER, TRUSTED)}

OPAQUE, WHITEOUT, REDIRECT, METACOPY = b"opaque", b"whiteout", b"redirect", b"metacopy"
OWN = b"vfsd"
"""Which file of a lower this was copied from; the kernel's overlayfs hides it with the rest."""


class Marks(NamedTuple):
    """What a layer says about one directory."""

    opaque: bool = False
    xattr_whiteouts: bool = False
    redirect: bytes | None = None
    own: bytes | None = None


NONE = Marks()


def is_whiteout(stat: Stat) -> bool:
    """Say whether the file is the kernel's usual whiteout."""
    return stat.rdev == 0 and stat_module.S_ISCHR(stat.mode)


async def read(provider: Provider, node: Node) -> Marks:
    """Return the marks of a directory."""
    names = await provider.listxattr(node)
    if not names:
        return NONE
    found = [name for name in names if is_mark(name)]
    if not found:
        return NONE
    values: dict[bytes, bytes] = {}
    for name in found:
        try:
            value = await provider.getxattr(node, name)
        except OSError as error:
            if error.errno == errno.EACCES and name.endswith(OPAQUE):
                # Its own mode closes the directory to an ordinary user's daemon. What only root
                # could tell apart is taken for opaque, which shows nothing that was hidden.
                value = b"y"
            elif error.errno in (errno.ENODATA, errno.EPERM, errno.EACCES):
                continue
            else:
                raise
        values[name.partition(b"overlay.")[2]] = value
    opaque = values.get(OPAQUE)
    return Marks(opaque == b"y", opaque == b"x", values.get(REDIRECT), values.get(OWN))


async def has(provider: Provider, node: Node, mark: bytes) -> bool:
    """Say whether a file carries `mark`, in either namespace."""
    wanted = {prefix + mark for prefix in PREFIXES}
    return not wanted.isdisjoint(await provider.listxattr(node))


async def own(provider: Provider, node: Node, names: Iterable[bytes]) -> bytes | None:
    """Return the provider's own note on a file, if it has one."""
    for name in names:
        try:
            return await provider.getxattr(node, name)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM):
                raise
    return None
