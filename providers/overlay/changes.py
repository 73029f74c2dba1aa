"""Lowers that change behind the overlay's back, and say so.

A change in a lower is told on as one of the merged tree, if anybody holds the node it is about:
an entry of a directory, or a file that was not copied up. What the upper hides is told as well,
which costs a look-up and no more. "Anything" in a lower is anything here.

What is promised: a file that was not copied up shows the lower's present content; one that was
copied up keeps its own; a name that was removed stays removed, and a directory that was removed
and made again in the upper shows only what was made there. A file whose lower vanished is ESTALE,
a directory shows what is left.

Concurrency: called from the event loop; does not suspend.
"""

from __future__ import annotations

from collections.abc import Callable

from providers.overlay.layers import Layer
from providers.overlay.union import Union
from vfsd.provider import ROOT_NUMBER, Change, Listener, Provider


class Relays:
    """Listens to every lower that may change."""

    def __init__(self, union: Union, report: Callable[[Change], None]) -> None:
        self._union = union
        self._report = report
        self._subscribed: list[tuple[Provider, Listener]] = []
        for layer in union.lowers.layers:
            if not layer.sealed:
                self._subscribe(layer)

    def close(self) -> None:
        """Listen no more."""
        for provider, listener in self._subscribed:
            provider.unsubscribe(listener)
        self._subscribed.clear()

    def _subscribe(self, layer: Layer) -> None:
        union = self._union

        def tell(change: Change) -> None:
            if change.node is None:
                self._report(Change())
                return
            number = change.node.number
            if number == ROOT_NUMBER:
                node = union.root
            else:
                found = union.nodes.by_lower.get((layer.tag, number))
                if found is None:
                    found = union.nodes.by_number.get(union.lowers.minted.number(layer.tag, number))
                if found is None:
                    return
                node = found
            if change.name is not None or node.upper is None:
                self._report(Change(node, change.name, change.data))

        layer.provider.subscribe(tell)
        self._subscribed.append((layer.provider, tell))
