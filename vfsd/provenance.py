"""Virtual extended attributes: where a file comes from, for `getfattr` and other plain tools.

    user.vfsd.provider   what serves it: memory, passthrough, overlay, archive, ...
    user.vfsd.layer      overlay: ``upper`` or ``lower-N``, 1 being the topmost; a merged directory
                         names each, separated by commas
    user.vfsd.origin     its path inside the directory that is served, never the host's
    user.vfsd.digest     ``xxh3-128:`` and the digest of its content, if that is stored

They are made when asked for, by `Provider.explain`, and stored nowhere. All names that begin
with ``user.vfsd.`` are theirs: setting or removing one is EOPNOTSUPP, as for a namespace that a
file system does not have, so that `cp -a` and `rsync -X` go on. Unless the mount says otherwise
they are not listed, so that no copy carries them away.

What it is *not*: the attributes that files have (the provider's).

Concurrency: stateless.

Source: xattr(7).
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Mapping, Sequence

from vfsd.attachment import Attachment
from vfsd.contract import Node, Provider
from vfsd.errors import fail

PREFIX = b"user.vfsd."
WORDS = ("provider", "layer", "origin", "digest")


def getxattr(attachment: Attachment, node: Node, name: bytes) -> Awaitable[bytes]:
    """Return an attribute's value, virtual or not; on the hot path, so no coroutine of its own."""
    if name.startswith(PREFIX):
        return _virtual(attachment, node, name)
    return attachment.provider.getxattr(node, name)


async def listxattr(attachment: Attachment, node: Node, *, virtual: bool) -> Sequence[bytes]:
    """Return the names of the attributes, and with `virtual` those that are made as well."""
    names = await attachment.provider.listxattr(node)
    if not virtual:
        return names
    told = await explain(attachment.base, node)
    own = [name for name in names if not name.startswith(PREFIX)]
    return [*own, *(PREFIX + word.encode() for word in told)]


def setxattr(attachment: Attachment, node: Node, name: bytes, value: bytes) -> Awaitable[None]:
    """Set an attribute. EOPNOTSUPP for a virtual one."""
    _refuse(name)
    return attachment.provider.setxattr(node, name, value)


def removexattr(attachment: Attachment, node: Node, name: bytes) -> Awaitable[None]:
    """Remove an attribute. EOPNOTSUPP for a virtual one."""
    _refuse(name)
    return attachment.provider.removexattr(node, name)


async def explain(provider: Provider, node: Node) -> Mapping[str, bytes]:
    """Return what is known of a file, by `WORDS`, in their order."""
    told = {"provider": kind_of(provider).encode(), **await provider.explain(node)}
    return {word: told[word] for word in WORDS if word in told}


def kind_of(provider: Provider) -> str:
    """Return the provider's kind in one word: its class's name without ``Provider``."""
    name = type(provider).__name__
    return (name.removesuffix("Provider") or name).lower()


async def _virtual(attachment: Attachment, node: Node, name: bytes) -> bytes:
    told = await explain(attachment.base, node)
    value = told.get(name[len(PREFIX) :].decode("ascii", "replace"))
    if value is None:
        raise fail(errno.ENODATA)
    return value


def _refuse(name: bytes) -> None:
    if name.startswith(PREFIX):
        raise fail(errno.EOPNOTSUPP)
