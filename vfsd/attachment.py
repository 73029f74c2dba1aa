"""A provider at a prefix of the tree, and what doors ask of it by name.

What it is *not*: attaching, detaching and finding (tree.py).

Concurrency: changed by tree.py and handles.py, between awaits.
"""

from __future__ import annotations

import errno
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import trio

from vfsd.contract import Keeper, Listener, Node, Provider
from vfsd.errors import fail

CACHE_FOREVER_S = 1e9
"""How long doors may keep names and attributes that they are told about when they change."""

CACHE_BRIEFLY_S = 1.0
"""The same for a provider that cannot tell."""


@dataclass(eq=False, slots=True)
class Attachment:
    """One provider at one prefix; `provider` is the view that doors must use."""

    prefix: bytes
    """Relative to the tree's root, without leading or trailing slash."""
    provider: Provider
    base: Provider
    """The provider itself, without the read-only view; the same one may be attached twice."""
    index: int
    read_only: bool
    host: Attachment | None = None
    """The attachment on which this one stands; None for the root."""
    host_node: Node | None = None
    name: bytes = b""
    hides: bool = False
    """True: the attach point's own directory has content, which this hides."""
    hidden: bool = False
    """No listing names it, and not everybody finds it (vfsd/hidden.py)."""
    open_count: int = 0
    """Files open in it, those that are being opened included."""
    attached: bool = True
    drained: trio.Event = field(default_factory=trio.Event)
    """Set when it is detached and the last open file in it is closed."""
    nested: dict[tuple[int, bytes], Attachment] = field(default_factory=dict)
    """Attach points in this attachment, by (directory's node number, name)."""
    pins: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    """Names that lead to an attach point, counted per attach point."""
    pins_on_host: tuple[tuple[int, bytes], ...] = ()
    """The names on `host` that lead here."""
    leaves: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    """Names that a provider is about to remove or rename: nothing can be attached by them."""
    siblings: tuple[Attachment, ...] = ()
    """Other attachments of the same provider."""
    relay: Listener | None = None
    keeper: Keeper | None = None
    cache_s: float = CACHE_BRIEFLY_S

    def __post_init__(self) -> None:
        self.weigh()

    def weigh(self) -> None:
        """Decide from the provider's traits how long doors may keep what it told them."""
        traits = self.base.traits
        told = traits.watch or traits.immutable
        self.cache_s = CACHE_FOREVER_S if told else CACHE_BRIEFLY_S

    def check_unpinned(self, node: Node, name: bytes) -> None:
        """Raise EBUSY if `name` in directory `node` is, or leads to, an attach point."""
        if self.pins and (node.number, name) in self.pins:
            raise fail(errno.EBUSY, name)

    def leaving(self, *places: tuple[Node, bytes]) -> Leaving:
        """Keep attach points from names that the block removes or renames, which may take long.

        Entering raises EBUSY if one is, or leads to, an attach point already.
        """
        return Leaving(self, places)

    def opening(self) -> Opening:
        """Count as in use while the block opens a file, so that nobody closes the provider."""
        return Opening(self)

    def let_go(self) -> None:
        """Count one open file less."""
        self.open_count -= 1
        if not self.open_count and not self.attached:
            self.drained.set()


class Opening:
    """A file that is being opened in an attachment; on the hot path, so no generator."""

    __slots__ = ("_attachment",)

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment

    def __enter__(self) -> None:
        self._attachment.open_count += 1

    def __exit__(self, *_: object) -> None:
        self._attachment.let_go()


class Leaving:
    """Names that are about to go from an attachment; on the hot path, as `Opening` is."""

    __slots__ = ("_attachment", "_keys")

    def __init__(self, attachment: Attachment, places: tuple[tuple[Node, bytes], ...]) -> None:
        self._attachment = attachment
        self._keys = [(node.number, name) for node, name in places]

    def __enter__(self) -> None:
        pins, leaves = self._attachment.pins, self._attachment.leaves
        for key in self._keys:
            if key in pins:
                raise fail(errno.EBUSY, key[1])
        for key in self._keys:
            leaves[key] = leaves.get(key, 0) + 1

    def __exit__(self, *_: object) -> None:
        leaves = self._attachment.leaves
        for key in self._keys:
            left = leaves[key] - 1
            if left:
                leaves[key] = left
            else:
                del leaves[key]


class Place(NamedTuple):
    """A file in the tree: which attachment, and which node of its provider."""

    attachment: Attachment
    node: Node


def check_same(source: Attachment, target: Attachment) -> None:
    """Raise EXDEV unless both are one attachment: links and renames do not cross."""
    if source is not target:
        raise fail(errno.EXDEV)


def check_not_hidden(place: Place, name: bytes) -> None:
    """Raise EBUSY if something hidden stands at `name`: a provider would make the name below it."""
    inner = place.attachment.nested.get((place.node.number, name))
    if inner is not None and inner.hidden:
        raise fail(errno.EBUSY, name)
