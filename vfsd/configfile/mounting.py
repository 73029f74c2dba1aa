"""From a configuration file to the daemon that it describes.

Relative paths are relative to the file. What the command line says goes before the file.

Concurrency: short blocking calls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import cast

from vfsd.config import PERSIST_EVERY_S, AttachConfig, MountConfig, Persist
from vfsd.configfile.lines import Path
from vfsd.configfile.places import placed
from vfsd.configfile.reading import ConfigFile, Values
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sourcelist import join_sources, split_sources

SOURCES = ("lower", "upper")
"""Options whose values are sources."""

SETTINGS = {
    "allow-other": "allow_other",
    "xattrs": "xattrs",
    "list-provenance": "list_provenance",
    "meta": "meta",
    "poll-us": "poll_us",
    "log-level": "log_level",
}


def directory_of(file: ConfigFile) -> str | None:
    """Return the mountpoint that a file names, absolute; None if it names none."""
    named = file.mount.get("directory")
    return None if named is None else _path(file, cast(str, named))


def mount_config(
    file: ConfigFile | None, mountpoint: str, fields: Mapping[str, object]
) -> MountConfig:
    """Return the daemon's configuration; `fields` are what the command line says. UserError."""
    settings: dict[str, object] = {"allow_other": os.geteuid() == 0}
    if file is not None:
        settings["file"] = file.path
        for key, name in SETTINGS.items():
            if key in file.mount:
                settings[name] = file.mount[key]
        if "loop" in file.mount:
            settings["hot_loop"] = file.mount["loop"] == "hot"
        settings |= _provider(file, ("provider",), file.provider)
        settings["attachments"] = _attachments(file)
    # mypy cannot know which field a name that is only known here is for; keys.py checked each.
    config = MountConfig(mountpoint, **{**settings, **fields})  # type: ignore[arg-type]
    _check_names(file, config)
    return config


def _attachments(file: ConfigFile) -> tuple[AttachConfig, ...]:
    found: dict[bytes, AttachConfig] = {}
    for position, values in enumerate(file.attach):
        path: Path = ("attach", position)
        if "prefix" not in values:
            raise file.wrong(path, "has no prefix; write where it is to be attached")
        names = [name for name in cast(str, values["prefix"]).split("/") if name not in ("", ".")]
        prefix = os.fsencode("/".join(names))
        if not prefix or ".." in names:
            raise file.wrong((*path, "prefix"), "must lead to a directory below the mountpoint")
        if prefix in found:
            raise file.wrong((*path, "prefix"), f"{os.fsdecode(prefix)} is attached twice")
        if "source" not in values:
            raise file.wrong(path, "has no source; write what is to be attached")
        # As above.
        found[prefix] = AttachConfig(prefix, **_provider(file, path, values))  # type: ignore[arg-type]
    # An outer one before those that stand on it.
    return tuple(found[prefix] for prefix in sorted(found))


def _provider(file: ConfigFile, path: Path, values: Values) -> dict[str, object]:
    options = dict(cast("dict[str, str]", values.get("options", {})))
    for quota in ("size", "inodes", "links"):
        if quota in values:
            if quota in options:
                raise file.wrong((*path, quota), "stands in options as well; leave one of them out")
            options[quota] = str(values[quota])
    for name in SOURCES:
        if name in options:
            sources = [_source(file, each) for each in split_sources(options[name])]
            options[name] = join_sources(sources)
    found: dict[str, object] = {"options": options, "read_only": values.get("read-only", False)}
    if "source" in values:
        found["source"] = _source(file, cast(str, values["source"]))
    if "persist" in values:
        every_s = values.get("persist-every", PERSIST_EVERY_S)
        found["persist"] = Persist(cast(str, values["persist"]), cast(float, every_s))
    elif "persist-every" in values:
        raise file.wrong((*path, "persist-every"), "says how often, and persist is not there")
    return found


def _check_names(file: ConfigFile | None, config: MountConfig) -> None:
    """Refuse a name for two trees, which would write over each other."""
    kept = [config.persist, *(each.persist for each in config.attachments)]
    names = [each.name for each in kept if each is not None]
    for name in names:
        if names.count(name) > 1:
            where = "" if file is None else f"{file.path}: "
            raise UserError(
                f"{where}persist {name!r} is the name of two trees; give each its own",
                ExitCode.USAGE,
            )


def _source(file: ConfigFile, source: str) -> str:
    word, separator, rest = source.partition(":")
    if separator and rest.startswith("~"):
        source = f"{word}:{os.path.expanduser(rest)}"
    return placed(os.path.expanduser(source), os.path.dirname(file.path))


def _path(file: ConfigFile, path: str) -> str:
    return os.path.abspath(os.path.join(os.path.dirname(file.path), os.path.expanduser(path)))
