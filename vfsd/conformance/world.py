"""A world of the model test: a tree, the dict that it must equal, and how the two are compared.

Concurrency: as the model test's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vfsd.conformance.expect import CheckFailed, equal
from vfsd.conformance.files import Files, read_all
from vfsd.conformance.oracle import Item, Oracle
from vfsd.provider import Entry, Handle


@dataclass
class World:
    """One tree, the dict that it must equal, and files held open in it."""

    label: str
    files: Files
    oracle: Oracle
    handles: list[tuple[Handle, Item]] = field(default_factory=list)

    async def compare(self) -> None:
        """Fail unless the whole tree is as the dict says."""
        files, oracle = self.files, self.oracle
        numbers: dict[int, Item] = {}
        for path in (b"", *(each for each in oracle.items if oracle.is_directory(each))):
            equal(await files.names(path), oracle.names(path), f"{self.label}: names in {path!r}")
        for path, item in oracle.items.items():
            entry = await files.entry(path)
            what = f"{self.label}: {path!r}"
            if numbers.setdefault(entry.node.number, item) is not item:
                raise CheckFailed(f"{what} has another file's number")
            if item.kind == "symlink":
                equal(await files.readlink(path), item.target, f"{what}: target")
            if item.kind == "file":
                equal(entry.stat.nlink, item.links, f"{what}: links")
                equal(entry.stat.size, len(item.data), f"{what}: size")
                equal(await files.get(path), bytes(item.data), f"{what}: data")
            if item.kind != "symlink" and files.traits.xattrs:
                await self._compare_xattrs(entry, item, what)
        for handle, item in self.handles:
            await compare_handle(handle, item)

    async def _compare_xattrs(self, entry: Entry, item: Item, what: str) -> None:
        provider = self.files.provider
        names = sorted(await provider.listxattr(entry.node))
        equal(names, sorted(item.xattrs), f"{what}: xattrs")
        for name, value in item.xattrs.items():
            equal(await provider.getxattr(entry.node, name), value, f"{what}: value of {name!r}")


async def compare_handle(handle: Handle, item: Item) -> None:
    """Fail unless the open file is as the dict says, named or not."""
    equal(await read_all(handle), bytes(item.data), "data through a handle")
    equal((await handle.getattr()).nlink, item.links, "links through a handle")
