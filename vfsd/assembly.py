"""From words to providers: finds a provider by name or by what a path is, and makes it.

Built-in providers are found exactly as a third party's: by the entry-point group
``vfsd.providers``. This is the only module that knows the import package `providers`, and it
refuses a foreign package of that generic name.

A source is a provider's name (``memory``), ``name:source`` (``passthrough:./src``), an
existing host path, which the first provider that recognises it takes, or a stored snapshot
(``snapshot:NAME``), whose layers are put together here: providers never know each other.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant
from vfsd.provider import Provider
from vfsd.snapshots.lineage import Ground, Lineage
from vfsd.sourcelist import CHAINED, chained_path, split_sources

if TYPE_CHECKING:
    from vfsd.snapshots.leasing import Lease
    from vfsd.snapshots.live import LiveSnapshots

GROUP = "vfsd.providers"
SNAPSHOT = "snapshot"
"""The word before the colon that names no provider, but a snapshot."""


Guard = Callable[[str], Awaitable[None]]
"""Raises `UserError` for a source with a host path that must not be opened."""


class Opened(NamedTuple):
    """A provider, and what one needs to know to store it."""

    provider: Provider
    ground: Ground | None = None
    """What it stands on, if all else in it was written to its own upper, in memory."""
    sealed: Ground | None = None
    """What an overlay over it stands on, if it is a directory or a stored snapshot."""


def guard_against_loops(mountpoint: str) -> Guard:
    """Return what refuses sources inside the mount itself, which would then contain itself."""

    async def refuse(source: str) -> None:
        named = source.partition(":")[2] or source
        # In a thread: the path may lead into the mount, where only the event loop answers.
        path = await trio.to_thread.run_sync(os.path.realpath, named, abandon_on_cancel=True)
        if path == mountpoint or path.startswith(mountpoint.rstrip("/") + "/"):
            raise UserError(
                f"{path} lies inside the mount at {mountpoint}, which would contain itself; "
                "attach a directory from outside",
                ExitCode.REFUSED,
            )

    return refuse


async def open_provider(source: str, options: Mapping[str, str]) -> Provider:
    """Find the provider that `source` names, and make it; errors as `open_source`."""
    return (await open_source(source, options)).provider


async def open_source(
    source: str, options: Mapping[str, str], guard: Guard | None = None
) -> Opened:
    """Find the provider that `source` names, and make it.

    UserError for an unknown name, a path that nothing recognises or a bad option; OSError
    for what the provider meets on opening its source. `guard` is asked about each host path,
    those of layers included.
    """
    word, separator, name = source.partition(":")
    if word == SNAPSHOT and separator:
        if options:
            raise UserError(f"{source} takes no options; leave out -o", ExitCode.USAGE)
        return await open_stored(name, guard, writable=False)
    if guard is not None and "/" in source:
        chained = chained_path(source)
        await guard(source if chained is None else f"{CHAINED}:{chained}")
    kind, rest = await trio.to_thread.run_sync(find_provider, source)
    grounds: list[Ground | None] = []

    async def open_layer(layer: str, layer_options: Mapping[str, str]) -> Provider:
        opened = await open_source(layer, layer_options, guard)
        grounds.append(opened.sealed)
        return opened.provider

    provider = await kind.from_sources(rest, options, open_layer)
    if kind.__module__ == "providers.passthrough.provider" and rest is not None:
        base = await trio.to_thread.run_sync(os.path.realpath, os.fsencode(rest))
        return Opened(provider, sealed=Ground(base))
    if kind.__module__ == "providers.overlay.provider" and _writes_to_memory(options):
        return Opened(provider, ground=grounds[0])
    return Opened(provider)


def _writes_to_memory(options: Mapping[str, str]) -> bool:
    """Say whether an overlay has one lower, and an upper in memory in the format of the store."""
    return (
        options.get("upper", "memory") == "memory"
        and options.get("marks", "user") == "user"
        and len(split_sources(options.get("lower", ""))) == 1
    )


async def open_named(
    live: LiveSnapshots,
    lineage: Lineage,
    name: str,
    guard: Guard | None = None,
    *,
    writable: bool,
) -> Provider:
    """Open a snapshot by name, a live one or else a stored one; `writable` a fork of it.

    UserError (NOT_FOUND), Damaged.
    """
    if name in live:
        return live.fork(name) if writable else live.view(name)
    opened = await open_stored(name, guard, writable=writable)
    if opened.ground is not None:
        lineage.stands_on(opened.provider, opened.ground)
    return opened.provider


async def open_stored(
    name: str,
    guard: Guard | None = None,
    *,
    writable: bool,
    limits: Mapping[str, str] | None = None,
) -> Opened:
    """Open a stored snapshot: read-only, or with a memory upper of its own, held to `limits`.

    It is leased until the provider, its snapshots and its forks are closed. NotFound, Damaged.
    """
    from providers.memory import MemoryProvider
    from providers.overlay import OverlayProvider
    from vfsd.snapshots.leased import LeasedLayer

    lease = await trio.to_thread.run_sync(_lease, name)
    found = lease.snapshot
    layers: list[Provider] = []
    try:
        for layer in lease.layers:
            opened = await _open_layer(name, *lease.source(layer))
            layers.append(LeasedLayer(opened, _nothing if layers else lease.close))
        if found.base is not None:
            layers.append(await _open_base(name, os.fsdecode(found.base), guard))
    except BaseException:
        with trio.CancelScope(shield=True):
            for each in layers:
                await each.aclose()
        lease.close()
        raise
    spare = await MemoryProvider.from_options(None, limits or {})
    upper = spare.fork() if writable else None
    provider = await OverlayProvider.over(upper, layers, spare=spare)
    ground = Ground(found.base, found.chain, found.name)
    return Opened(provider, ground if writable else None, None if writable else ground)


async def _open_layer(name: str, source: str, options: Mapping[str, str]) -> Provider:
    try:
        return await open_provider(source, options)
    except UserError as error:
        if error.exit_code != ExitCode.DAMAGED:
            raise
        raise UserError(
            f"the snapshot {name!r} is damaged: {error.message}", ExitCode.DAMAGED
        ) from error


async def _open_base(name: str, base: str, guard: Guard | None) -> Provider:
    if guard is not None:
        await guard(base)
    if not await trio.to_thread.run_sync(os.path.isdir, base):
        raise UserError(
            f"the snapshot {name!r} stands on {base}, which is no directory any more; put it back,"
            f" or remove the snapshot with 'vfsd snapshot rm {name}'",
            ExitCode.NOT_FOUND,
        )
    return await open_provider(f"passthrough:{base}", {"links": "keep"})


def _lease(name: str) -> Lease:
    from vfsd.snapshots.store import Store

    return Store().lease(name)


def _nothing() -> None:
    pass


def find_provider(source: str) -> tuple[type[Provider], str | None]:
    """Return the provider's class and the source to give it; may block on the path. UserError."""
    name, separator, rest = source.partition(":")
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in points and not os.path.exists(source):
        return _load(points[name]), rest if separator else None
    if not os.path.lexists(source):
        raise UserError(_unknown(source, [*sorted(points), SNAPSHOT]), ExitCode.NOT_FOUND)
    for point in points.values():
        kind = _load(point)
        if kind.recognises(source):
            return kind, source
    raise UserError(
        f"no provider recognises {source}; name one explicitly, such as "
        f"{sorted(points)[0]}:{source} (there are: {', '.join(sorted(points))})",
        ExitCode.USAGE,
    )


def _unknown(source: str, names: list[str]) -> str:
    listed = ", ".join(names)
    if "/" in source.partition(":")[0] or source.startswith("."):
        return f"{source} does not exist; give an existing path or a provider's name ({listed})"
    hint = meant(source.partition(":")[0], names, f"the providers are: {listed}")
    return f"there is no provider and no file named {source!r}; {hint}"


def _load(point: EntryPoint) -> type[Provider]:
    if point.module.split(".")[0] == "providers":
        _check_ours()
    try:
        kind = point.load()
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"the provider {point.name!r} cannot be loaded ({error}); reinstall the package "
            "that registers it",
            ExitCode.UNAVAILABLE,
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Provider)):
        raise UserError(
            f"the entry point {point.name!r} in {GROUP} is not a Provider class; "
            "its author must register one",
            ExitCode.UNAVAILABLE,
        )
    return kind


def _check_ours() -> None:
    import providers

    ours = Path(__file__).resolve().parent.parent / "providers"
    found = Path(providers.__file__ or "").resolve().parent
    if found != ours:
        raise UserError(
            f"the package 'providers' is a foreign one, at {found}; vfsd's own stands at "
            f"{ours}: remove the foreign one from the import path",
            ExitCode.UNAVAILABLE,
        )
