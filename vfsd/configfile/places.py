"""Where configuration files are, and what a path or a source in one means.

Concurrency: short blocking calls. `vfsd run` imports this on its way, so it imports nothing that
costs time.
"""

from __future__ import annotations

import os

from vfsd import xdg

PROJECT_FILE = "vfsd.toml"
"""A project's own file, in its topmost directory; a user's own has the same name."""


def config_directory() -> str | None:
    """Return where this user's configuration files are; None without a home directory."""
    parent = xdg.find(xdg.CONFIG)
    return None if parent is None else os.path.join(parent, "vfsd")


def user_file() -> str | None:
    """Return this user's own file, if it is there."""
    directory = config_directory()
    path = None if directory is None else os.path.join(directory, PROJECT_FILE)
    return path if path is not None and os.path.lexists(path) else None


def named_file(name: str) -> str:
    """Return the file that `name` means: a path, or the name of one in the user's directory."""
    if "/" in name or name.endswith(".toml"):
        return os.path.abspath(name)
    return os.path.join(config_directory() or "/", f"{name}.toml")


def placed(source: str, directory: str) -> str:
    """Return a source so that a daemon, which runs elsewhere, finds what `directory` has."""
    from vfsd.sourcelist import CHAINED, PATHLESS, chained_path

    if source.startswith(".") or "/" in source.partition(":")[0]:
        return _absolute(source, directory)
    name, separator, rest = source.partition(":")
    if separator and name in PATHLESS:
        return source
    if separator and name == CHAINED:
        path = chained_path(source)
        return source if path is None else source.removesuffix(path) + _absolute(path, directory)
    if separator and (rest.startswith(".") or _exists(rest, directory)):
        return f"{name}:{_absolute(rest, directory)}"
    if _exists(source, directory) and source not in _provider_names():
        return _absolute(source, directory)
    return source


def _absolute(path: str, directory: str) -> str:
    return os.path.abspath(os.path.join(directory, path))


def _exists(path: str, directory: str) -> bool:
    return os.path.lexists(os.path.join(directory, path))


def _provider_names() -> set[str]:
    from importlib.metadata import entry_points

    return {point.name for point in entry_points(group="vfsd.providers")}
