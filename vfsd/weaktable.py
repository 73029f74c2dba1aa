"""A table of objects that it does not keep alive, for what is made by the thousand.

It does what `weakref.WeakValueDictionary` does, of which nodes need little: that one's references
are made by Python code, and cost more than the nodes they refer to.

What this is *not*: safe to iterate over while objects die.

Concurrency: an object may die in any thread; its entry goes in one step, and only if it is still
the entry of that object.

Source: CPython Lib/weakref.py.
"""

from __future__ import annotations

import _weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import ref

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_drop_dead: Callable[[dict[Any, Any], Any], None] = vars(_weakref)["_remove_dead_weakref"]


class _Entry(ref[V]):
    """A reference that knows where it stands."""

    __slots__ = ("key",)
    key: Hashable


class WeakTable(Generic[K, V]):
    """See the module; the methods are those of a dict."""

    __slots__ = ("__weakref__", "_dropped", "_entries")

    def __init__(self) -> None:
        entries: dict[K, _Entry[V]] = {}
        self._entries = entries
        table = ref(self)

        def dropped(entry: _Entry[V]) -> None:
            here = table()
            if here is not None:
                _drop_dead(here._entries, entry.key)

        self._dropped = dropped

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        entry = self._entries.get(key)
        return entry is not None and entry() is not None

    def get(self, key: K) -> V | None:
        """Return the object, None if nobody holds one."""
        entry = self._entries.get(key)
        return None if entry is None else entry()

    def __setitem__(self, key: K, value: V) -> None:
        entry = _Entry(value, self._dropped)
        entry.key = key
        self._entries[key] = entry

    def pop(self, key: K) -> V | None:
        """Take the object out; None if there is none."""
        entry = self._entries.pop(key, None)
        return None if entry is None else entry()
