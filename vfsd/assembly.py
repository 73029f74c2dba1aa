"""From words to providers: finds a provider by name or by what a path is, and makes it.

Built-in providers are found exactly as a third party's: by the entry-point group
``vfsd.providers``. This is the only module that knows the import package `providers`, and it
refuses a foreign package of that generic name.

A source is a provider's name (``memory``), ``name:source`` (``passthrough:./src``), or an
existing host path, which the first provider that recognises it takes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import trio

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.provider import Provider

GROUP = "vfsd.providers"


def provider_names() -> list[str]:
    """Return the names of all registered providers, sorted."""
    return sorted(point.name for point in entry_points(group=GROUP))


async def open_provider(source: str, options: Mapping[str, str]) -> Provider:
    """Find the provider that `source` names, and make it.

    UserError for an unknown name, a path that nothing recognises or a bad option; OSError
    for what the provider meets on opening its source.
    """
    kind, rest = await trio.to_thread.run_sync(find_provider, source)
    return await kind.from_sources(rest, options, open_provider)


def find_provider(source: str) -> tuple[type[Provider], str | None]:
    """Return the provider's class and the source to give it; may block on the path. UserError."""
    name, separator, rest = source.partition(":")
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in points and not os.path.exists(source):
        return _load(points[name]), rest if separator else None
    if not os.path.lexists(source):
        raise UserError(_unknown(source, sorted(points)), ExitCode.NOT_FOUND)
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
    if "/" in source or source.startswith("."):
        return f"{source} does not exist; give an existing path or a provider's name ({listed})"
    return f"there is no provider and no file named {source!r}; the providers are: {listed}"


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
