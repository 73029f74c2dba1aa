"""What is noted of a kept tree: journals that follow each other, and what they call a file.

A file is called by its node's number, which a change `at` explains first: where the file is at that
point of the journal. A journal explains each number once; numbers of files that it makes explain
themselves. A file without a name that leads to it needs no notes: nothing can bring it back.

What it is *not*: the provider that changes the tree (journaled.py).

Concurrency: everything but `sync` is a step of the event loop.
"""

from __future__ import annotations

from collections.abc import Sequence

from vfsd.contract import ROOT_NUMBER, Node, Provider
from vfsd.persist.journal import Journal
from vfsd.persist.place import Place

Argument = int | bytes | list[bytes] | list[int | None]

WRITE_AT_BYTES = 1 << 22
"""So much is noted in memory before it is written, also if nobody asks for it."""


class Notes:
    """See the module."""

    def __init__(self, place: Place, number: int, inner: Provider) -> None:
        self._place = place
        self._inner = inner
        self._journals = [Journal(place.path(number), number)]
        self._explained: set[int] = {ROOT_NUMBER}
        self.carried = False
        """Journals of an earlier life hold changes that are not yet stored."""
        self._where: dict[int, tuple[int, bytes]] = {}
        """By a file's number: its directory's, and its name there, when last seen."""

    # -- noting ---------------------------------------------------------------------------

    def note(self, kind: str, *arguments: Argument, times: Sequence[int] = ()) -> None:
        """Add a change that was made just now.

        `times` are numbers of files whose time of modification it changed, each with that time.
        """
        self._journals[-1].note([kind, list(times), *arguments])

    def saw(self, parent: Node, name: bytes, number: int) -> None:
        """A door was told that `name` in `parent` is the file `number`."""
        self._where[number] = (parent.number, name)

    def made(self, parent: Node, name: bytes, number: int) -> None:
        """The change noted last made the file `number`."""
        self.saw(parent, name, number)
        self._explained.add(number)

    def forget(self, number: int) -> None:
        """No door knows the file any more."""
        self._where.pop(number, None)

    async def explain(self, node: Node) -> bool:
        """See to it that changes can call the file by its number; False if it has no name.

        To be asked before the change is made.
        """
        number = node.number
        if (await self._inner.getattr(node)).nlink == 0:
            return False
        if number in self._explained:
            return True
        path = await self._path_of(number)
        if path is None:
            return False
        self.note("at", number, path)
        self._explained.add(number)
        return True

    async def _path_of(self, number: int) -> list[bytes] | None:
        path: list[bytes] = []
        above = number
        while above != ROOT_NUMBER and above in self._where and len(path) < 1 << 16:
            above, name = self._where[above]
            path.append(name)
        path.reverse()
        if above == ROOT_NUMBER and await self._leads_to(path, number):
            return path
        return await self._search(number)

    async def _leads_to(self, path: list[bytes], number: int) -> bool:
        node = self._inner.root
        try:
            for name in path:
                node = (await self._inner.lookup(node, name)).node
        except OSError:
            return False
        return node.number == number

    async def _search(self, number: int) -> list[bytes] | None:
        """Look through the whole tree; for a file whose last known name is not its own any more."""
        waiting: list[tuple[list[bytes], Node]] = [([], self._inner.root)]
        while waiting:
            path, directory = waiting.pop()
            names = list(await self._inner.readdir(directory))
            found = await self._inner.lookup_many(directory, names)
            for name, entry in zip(names, found, strict=True):
                if entry is None:
                    continue
                if entry.node.number == number:
                    return [*path, name]
                if entry.stat.mode & 0o170000 == 0o040000:
                    waiting.append(([*path, name], entry.node))
        return None

    # -- journals -------------------------------------------------------------------------

    @property
    def noted_bytes(self) -> int:
        """How much was noted since the tree was stored."""
        return sum(each.noted_bytes for each in self._journals) + self.carried

    @property
    def is_full(self) -> bool:
        """True: so much waits in memory that it should be written."""
        return self._journals[-1].waiting_bytes >= WRITE_AT_BYTES

    def begin(self) -> int:
        """Begin a new journal, which goes on from the tree as it is now; return its number."""
        last = self._journals[-1]
        if last.noted_bytes:
            number = last.number + 1
            self._journals.append(Journal(self._place.path(number), number))
            self._explained = {ROOT_NUMBER}
        return self._journals[-1].number

    def stored(self, number: int) -> None:
        """The tree that journal `number` goes on from is in the store."""
        while self._journals[0].number < number:
            self._journals.pop(0).close()
        self.carried = False
        self._place.drop_below(number)

    async def sync(self, *, durable: bool = True) -> None:
        """Have all that was noted on disk, the earlier journals first. OSError."""
        for each in tuple(self._journals):
            await each.sync(durable=durable)

    def close(self) -> None:
        """Close the files."""
        for each in self._journals:
            each.close()
