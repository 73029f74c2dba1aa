"""The fsspec provider: any file system that fsspec has a driver for, read-only.

Modes are the driver's where it tells some, else 0644 and 0755; files belong to the daemon's user.
Times that a driver does not tell are those of attaching. Names and attributes are kept for ttl=
seconds, and by the kernel for one more; with ttl=forever for ever. What the kernel keeps of a
file's data it keeps across openings as long as the file's version is the same.

What it is *not*: the driver's calls (calls.py), names (layout.py, metadata.py), data (reading.py).

Concurrency: as the contract says; the driver never runs in the event loop.
"""

from __future__ import annotations

import errno
import os
import stat as stat_module
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Self
from weakref import WeakKeyDictionary

import trio

from providers.remote.calls import Calls
from providers.remote.driver import Driver
from providers.remote.facts import Facts
from providers.remote.failures import errno_of
from providers.remote.flights import Background
from providers.remote.layout import Layout
from providers.remote.metadata import Metadata
from providers.remote.opening import Opening
from providers.remote.options import Options, parse_options
from providers.remote.reading import Reading, Shared
from providers.remote.rootcheck import check_root
from providers.remote.secrets import Redactor
from vfsd.errors import UserError, fail
from vfsd.exitcodes import ExitCode
from vfsd.provider import (
    ROOT_NUMBER,
    Caller,
    Entry,
    Handle,
    Node,
    PathProvider,
    Stat,
    Traits,
)

IMPORT_S = 30.0
"""What attaching may take besides: importing a driver takes seconds on a slow machine."""

PREFERRED_READ = 128 << 10
"""What programs are told to read at a time."""


class FsspecHandle(Handle):
    """An open file of the driver's."""

    __slots__ = ("_reading", "_stat", "direct_io", "keep_cache", "knows_version")

    def __init__(
        self, reading: Reading, stat: Callable[[Facts], Stat], *, keep_cache: bool
    ) -> None:
        self._reading = reading
        self._stat = stat
        self.direct_io = reading.facts.size is None
        self.keep_cache = keep_cache
        self.knows_version = True

    async def read(self, offset: int, size: int) -> bytes | bytearray | memoryview:
        return await self._reading.read(offset, size)

    async def getattr(self) -> Stat:
        return self._stat(self._reading.facts)

    async def release(self) -> None:
        with suppress(OSError):  # the provider is closed, and its files are
            self._reading.close()


class FsspecProvider(PathProvider):
    """See the module; make one with `from_options`."""

    def __init__(self, driver: Driver, redactor: Redactor, options: Options) -> None:
        """Serve `driver`, which `aclose` closes."""
        super().__init__()
        self._driver = driver
        self._background = Background()
        self._layout = Layout(driver.root, driver.url, is_http=driver.is_http)
        self.calls = Calls(driver, redactor, options.calls, options.timeout_s)
        self._metadata = Metadata(self.calls, self._layout, self._background, options.ttl_s)
        self._shared = Shared(self.calls, self._layout, self._metadata, self._background, options)
        self._traits = Traits(
            writable=False, immutable=options.ttl_s == float("inf"), may_block=True
        )
        self._attached_ns = time.time_ns()
        self._owner = os.getuid(), os.getgid()
        self._shown: WeakKeyDictionary[Node, object] = WeakKeyDictionary()
        """The version of which the kernel may keep data."""

    @classmethod
    async def from_options(cls, source: str | None, options: Mapping[str, str]) -> Self:
        """Serve what `source`, an fsspec URL, names; the root is asked for once. UserError."""
        if not source or ("://" not in source and "::" not in source):
            raise UserError(
                "the fsspec provider needs a URL; write fsspec:PROTOCOL://..., such as "
                "fsspec:https://host/directory/",
                ExitCode.USAGE,
            )
        parsed = parse_options(options)
        redactor = Redactor(source, parsed.storage)
        opening = Opening(source, parsed.storage)
        with trio.move_on_after(parsed.timeout_s + IMPORT_S):
            try:
                driver = await opening.driver()
            except UserError:
                raise
            except Exception as error:
                raise _unopened(redactor, source, error) from None
            provider = cls(driver, redactor, parsed)
            try:
                listed = await check_root(provider.calls, provider._layout)
                await provider._metadata.learn(b"", listed)
                provider.calls.logs = True
            except BaseException:
                with trio.CancelScope(shield=True):
                    await provider.aclose()
                raise
            return provider
        raise UserError(
            f"{redactor.clean(source)} did not answer in time; try again, or give it longer with "
            "-o timeout=SECONDS",
            ExitCode.UNAVAILABLE,
        )

    @property
    def traits(self) -> Traits:
        return self._traits

    def describe(self) -> str:
        return f"fsspec {self._driver.url}"

    def statistics(self) -> Mapping[str, int | float | str]:
        blocks = self._shared.blocks
        return {
            "cached_bytes": blocks.held,
            "cache_limit_bytes": blocks.limit,
            "block_hits": blocks.hits,
            "block_misses": blocks.misses,
            "fetched_bytes": blocks.fetched,
            "names_cached": self._metadata.names_kept,
            "names_skipped": self._layout.skipped,
            "calls_made": self.calls.made,
            "calls_failed": self.calls.failed,
            "calls_timed_out": self.calls.timed_out,
        }

    async def aclose(self) -> None:
        self._background.close()
        self._shared.blocks.clear()
        await trio.to_thread.run_sync(self._driver.close, abandon_on_cancel=True)

    # -- looking --------------------------------------------------------------------------

    def _stat(self, facts: Facts) -> Stat:
        if facts.is_directory:
            mode = stat_module.S_IFDIR | (facts.mode or 0o755)
        else:
            mode = stat_module.S_IFREG | (facts.mode or 0o644)
        moment = self._attached_ns if facts.mtime_ns is None else facts.mtime_ns
        size = facts.size or 0
        uid, gid = self._owner
        # One link also for directories: more would say how many directories are in it.
        times = moment, moment, moment
        return Stat(mode, 1, uid, gid, 0, size, -(-size // 512), *times, PREFERRED_READ)

    async def stat(self, path: bytes) -> Stat:
        return self._stat(self._metadata.kept(path) or await self._metadata.facts(path))

    async def readdir_path(self, path: bytes) -> Sequence[bytes]:
        return await self._metadata.names(path)

    async def lookup_many(self, parent: Node, names: Sequence[bytes]) -> list[Entry | None]:
        """As the contract says; a file that cannot be looked at is listed without permissions."""
        entries: dict[bytes, Entry | None] = {}

        async def look(name: bytes) -> None:
            try:
                entries[name] = await self.lookup(parent, name)
            except FileNotFoundError:
                entries[name] = None
            except OSError:
                facts = Facts(is_directory=False)
                stat = self._stat(facts)._replace(mode=stat_module.S_IFREG)
                entries[name] = Entry(self._node_at(parent, name), stat)

        directory = self.path_of(parent)
        self._metadata.check_directory(directory)
        async with trio.open_nursery() as nursery:
            for name in names:
                if self._answers(directory, name):
                    await look(name)
                else:
                    nursery.start_soon(look, name)
        return [entries[name] for name in names]

    def _answers(self, directory: bytes, name: bytes) -> bool:
        """Say whether a look needs no call."""
        try:
            return self._metadata.kept(directory + b"/" + name if directory else name) is not None
        except FileNotFoundError:
            return True

    async def open_path(self, path: bytes, flags: int, caller: Caller) -> Handle:
        facts = await self._metadata.facts(path)
        if facts.is_directory:
            raise fail(errno.EISDIR, path)
        return self._opened(path, facts)

    def _opened(self, path: bytes, facts: Facts) -> Handle:
        node = self._by_path(path)
        reading = Reading(self._shared, path, facts)
        keep = False
        if node is not None:
            keep = self._shown.get(node) == facts.version
            self._shown[node] = facts.version
            reading.on_change = partial(self._shown.pop, node, None)
        return FsspecHandle(reading, self._stat, keep_cache=keep)

    def _by_path(self, path: bytes) -> Node | None:
        """Return the node that somebody holds for `path`."""
        node: Node = self.root
        for name in path.split(b"/"):
            found = self._by_place.get((node.number, name))
            if found is None:
                return None
            node = found
        return node

    async def explain(self, node: Node) -> Mapping[str, bytes]:
        """Return the path below what is served."""
        path = self.path_of(node)
        return {"origin": b"." if node.number == ROOT_NUMBER else path}


def _unopened(redactor: Redactor, source: str, error: Exception) -> UserError:
    code = errno_of(error)
    kinds = {errno.ENOENT: ExitCode.NOT_FOUND, errno.EACCES: ExitCode.DENIED}
    text = redactor.clean(str(error)) or os.strerror(code)
    return UserError(
        f"{redactor.clean(source)} cannot be opened: {type(error).__name__}: {text}",
        kinds.get(code, ExitCode.UNAVAILABLE),
    )
