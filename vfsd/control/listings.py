"""The names of a directory, kept from one page of its listing to the next.

Reading and sorting 200,000 names for each of 49 pages would cost more than all else that a listing
does. So a connection keeps those of the directory that it listed last, until the last page is cut.

Concurrency: listings of one connection may overlap; who finds another's names there reads its own.
"""

from __future__ import annotations

from bisect import bisect_right

from vfsd.tree import Place


class Listings:
    """What one connection keeps."""

    __slots__ = ("_key", "_names")

    def __init__(self) -> None:
        self._key: tuple[int, int, bytes] | None = None
        self._names: list[bytes] = []

    async def names_past(self, place: Place, after: bytes) -> tuple[list[bytes], int]:
        """Return a directory's names in order, and the position of the first one past `after`.

        What was made since the first page may be missing. ENOTDIR, ESTALE.
        """
        if after and self._key == (place.attachment.index, place.node.number, after):
            names = self._names
        else:
            names = sorted(await place.attachment.provider.readdir(place.node))
        return names, bisect_right(names, after)

    def keep(self, place: Place, names: list[bytes], after: bytes | None) -> None:
        """Keep the names for the page past `after`; None: that was the last one."""
        if after is None:
            self._key, self._names = None, []
        else:
            self._key = (place.attachment.index, place.node.number, after)
            self._names = names
