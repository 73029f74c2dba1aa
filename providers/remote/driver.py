"""The driver: fsspec's file system for a URL, made, described and closed.

Local files are refused, whatever the URL wraps them in: drivers follow symlinks, and what is
attached must not lead out of itself. An archive (``zip::file:///...``) is one file, whose name the
user gave, and is served. So is nothing that names other files by itself (``reference::``).

What it is *not*: calling the driver (calls.py).

Concurrency: `open_driver` and `Driver.close` block, and are for a thread.

Source: fsspec.core.url_to_fs; fsspec.asyn.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from providers.remote.asyncloop import AsyncLoop
from providers.remote.secrets import shown
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode

WRAPPED_MAX = 10
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*")
_CLIENTS = ("_session", "_s3")
"""Where drivers (http and gcs; s3) keep what holds their connections."""


@dataclass(frozen=True, slots=True)
class Driver:
    """fsspec's file system `fs`, with `root` as the directory in it that is served."""

    fs: Any
    root: str
    url: str
    """As it may be shown."""
    loop: AsyncLoop | None
    """Where its coroutines run; None for a driver that has none."""
    below: AsyncLoop | None = None
    """Where those of the driver run that an archive is read through."""

    @property
    def is_http(self) -> bool:
        """Say whether it serves links found in pages, and no listings proper."""
        return self.loop is not None and type(self.fs).__name__ == "HTTPFileSystem"

    def close(self) -> None:
        """Free its connections, files and loop."""
        if self.loop is not None:
            if self.loop.closed:
                return
            with suppress(Exception):
                _wait(self.loop, _close_clients(self.fs))
            self.loop.close()
            return
        end = getattr(type(self.fs), "close", None)
        if callable(end):
            with suppress(Exception):
                end(self.fs)
        opened = getattr(self.fs, "of", None)  # an archive's own file
        if opened is not None and hasattr(opened, "close"):
            with suppress(Exception):
                opened.close()
        if self.below is not None and not self.below.closed:
            with suppress(Exception):
                _wait(self.below, _close_clients(getattr(opened, "fs", None)))
            self.below.close()


async def _close_clients(fs: Any) -> None:  # noqa: ANN401  fsspec has no types
    for name in _CLIENTS:
        client = getattr(fs, name, None)
        if client is not None and hasattr(client, "close"):
            ending = client.close()
            if inspect.isawaitable(ending):
                await ending


def _wait(loop: AsyncLoop, work: Any) -> None:  # noqa: ANN401
    import asyncio

    asyncio.run_coroutine_threadsafe(work, loop.loop).result(1.0)


def open_driver(url: str, storage: Mapping[str, object]) -> Driver:
    """Make the driver for `url`. UserError for what is missing or refused; what drivers raise."""
    try:
        core = importlib.import_module("fsspec.core")
        registry = importlib.import_module("fsspec.registry")
    except ImportError as error:
        raise UserError(
            f"fsspec is not installed ({error}); install it where vfsd is, with pip install "
            "'vfsd[fsspec]'",
            ExitCode.UNAVAILABLE,
        ) from error
    kinds = _kinds(registry, url)
    _refuse(kinds[:1], url)
    _refuse([each for each in kinds[1:] if not _is_local(each)], url)
    kind = kinds[0]
    options: dict[str, Any] = dict(storage)
    options["skip_instance_cache"] = True  # whoever else uses fsspec here closes nothing of ours
    options["use_listings_cache"] = False  # names are kept by vfsd, for ttl= seconds
    loop = AsyncLoop(f"vfsd {kind.__name__}") if kind.async_impl is True else None
    if loop is not None:
        options["loop"] = loop.loop
    below = None if loop is not None else _loop_below(url, kinds, options)
    try:
        fs, root = _made(core, registry, url, options)
        _refuse(_wrapped(fs), url)
    except BaseException:
        for each in (loop, below):
            if each is not None:
                each.close()
        raise
    return Driver(fs, str(root), shown(url), loop if fs.async_impl is True else None, below)


def _loop_below(url: str, kinds: list[Any], options: dict[str, Any]) -> AsyncLoop | None:
    """Give the driver below an archive a loop that ends with it: fsspec's own never does."""
    for part, kind in list(zip(url.split("::"), kinds, strict=True))[1:]:
        if kind.async_impl is True:
            loop = AsyncLoop(f"vfsd {kind.__name__}")
            protocol = part.partition("://")[0]
            own = {"loop": loop.loop, "skip_instance_cache": True}
            options[protocol] = {**options.get(protocol, {}), **own}
            return loop
    return None


def _kinds(registry: Any, url: str) -> list[Any]:  # noqa: ANN401
    """Return the class of each file system in a chained URL, the outermost first. UserError."""
    kinds = []
    for part in url.split("::"):
        protocol = part.partition("://")[0]
        if not _PROTOCOL.fullmatch(protocol):
            protocol = "file"
        try:
            kinds.append(registry.get_filesystem_class(protocol))
        except ImportError as error:
            raise UserError(
                f"the driver for {protocol}:// cannot be loaded ({error}); install it where vfsd "
                f"is, with pip install 'vfsd[fsspec]' 'fsspec[{protocol}]'",
                ExitCode.UNAVAILABLE,
            ) from error
        except ValueError:
            raise UserError(
                f"fsspec knows no file system {protocol!r}; write fsspec:PROTOCOL://..., such as "
                "fsspec:https://host/directory/",
                ExitCode.USAGE,
            ) from None
    return kinds


def _made(core: Any, registry: Any, url: str, options: dict[str, Any]) -> tuple[Any, Any]:  # noqa: ANN401
    try:
        return core.url_to_fs(url, **options)  # type: ignore[no-any-return]  # it has no types
    except TypeError:
        # Some drivers take no options that they do not know.
        del options["use_listings_cache"]
        return core.url_to_fs(url, **options)  # type: ignore[no-any-return]  # it has no types


def _wrapped(fs: Any) -> list[Any]:  # noqa: ANN401
    """Return the classes of a file system and of those that it passes on."""
    found: list[Any] = []
    while fs is not None and len(found) < WRAPPED_MAX:
        found.append(type(fs))
        # Not getattr, nor vars: a wrapper that caches answers both with what it wraps.
        fs = object.__getattribute__(fs, "__dict__").get("fs")
    return found


def _is_local(kind: Any) -> bool:  # noqa: ANN401
    local = importlib.import_module("fsspec.implementations.local").LocalFileSystem
    return issubclass(kind, local)


def _refuse(kinds: Iterable[Any], url: str) -> None:
    reference = importlib.import_module("fsspec.implementations.reference").ReferenceFileSystem
    for kind in kinds:
        if _is_local(kind):
            raise UserError(
                f"{shown(url)} serves files of this host, whose symlinks fsspec would follow out "
                "of it; attach the directory itself: vfsd attach DIR PREFIX",
                ExitCode.REFUSED,
            )
        if issubclass(kind, reference):
            raise UserError(
                f"{shown(url)} is a list of other files' addresses, of this host's as well, and is "
                "not served; copy what it names into a directory and attach that",
                ExitCode.REFUSED,
            )
