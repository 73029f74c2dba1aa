"""A kept tree against the suite: what notes its changes is seen by nobody."""

from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from providers.memory import MemoryProvider
from vfsd.conformance import conformance_tests, fill
from vfsd.persist.journaled import Journaled
from vfsd.persist.notes import Notes


class Folder:
    """Where the journals lie, for these tests."""

    def __init__(self, root: str) -> None:
        self.root = root

    def path(self, number: int) -> str:
        return str(Path(self.root, str(number)))


@asynccontextmanager
async def kept(contents):
    with TemporaryDirectory() as root:
        inner = MemoryProvider()
        notes = Notes(Folder(root), 0, inner)
        provider = Journaled(inner, notes, suspends=False)
        await fill(provider, contents)
        yield provider
        await provider.aclose()
        notes.close()


test_kept = conformance_tests(kept)
