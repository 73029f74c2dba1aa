"""Defaults of `vfsd run` from files: a user's own, and what a project may add.

A project's file comes with the project, as its code does, so it must not loosen the sandbox that
holds that code. It may lower limits, choose between engines that isolate, and set variables of
its own; it cannot open the network, give up the sandbox, raise a limit that the user's file set,
or reach for variables of the user's environment. What it may not is passed over, and said.

What it is *not*: the command line, which goes before both (vfsd/cli/rundefaults.py).

Concurrency: pure functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple, cast

from vfsd.configfile.reading import ConfigFile, plain
from vfsd.sandbox.limits import PIDS_DEFAULT, count, duration, share, size

LIMITS: dict[str, Callable[[str, str], float]] = {
    "memory": size,
    "pids": count,
    "cpus": share,
    "timeout": duration,
    "fsize": size,
    "disk": size,
    "output": size,
}
"""The keys that limit, and what a value is worth."""

ISOLATING = ("auto", "kernel", "fuse")

COMMANDING = ("PATH", "HOME", "SHELL", "ENV", "BASH_ENV", "IFS", "GCONV_PATH", "LOCPATH", "NLSPATH")
"""Variables that decide which program runs, or what it loads."""

COMMANDING_STARTS = ("LD_", "BASH_FUNC_", "GLIBC_", "MALLOC_")


class Defaults(NamedTuple):
    """What holds where the command line says nothing, and what was passed over, in sentences."""

    values: dict[str, object]
    refused: tuple[str, ...] = ()


def project_defaults(file: ConfigFile) -> Defaults:
    """Return what a project's file may say of its own sandbox."""
    values: dict[str, object] = {}
    refused: list[str] = []

    def refuse(key: str, what: str) -> None:
        refused.append(f"{file.place(('run', key))}: a project may not {what}; this is passed over")

    for key, value in file.run.items():
        may = key in LIMITS or (key == "net" and not value)
        if may or (key == "engine" and value in ISOLATING):
            values[key] = value
        elif key == "env":
            texts = cast("list[str]", value)
            allowed = [text for text in texts if _is_harmless(text)]
            values[key] = allowed
            for text in texts:
                if text not in allowed:
                    name = plain(text.partition("=")[0])
                    refuse(key, f"set {name}" if "=" in text else f"take {name} from outside")
        elif key == "engine":
            refuse(key, "give up its sandbox")
        else:
            refuse(key, "open the network")
    return Defaults(values, tuple(refused))


def merged(user: ConfigFile | None, project: ConfigFile | None) -> Defaults:
    """Return what both files come to: of two limits the lower one, the user's own word first."""
    own = {} if user is None else dict(user.run)
    if project is None:
        return Defaults(own)
    added, refused = project_defaults(project)
    values = {**added, **own}
    for key, worth in LIMITS.items():
        before = own.get(key, _unasked(key))
        if before is not None and key in added:
            both = (str(before), str(added[key]))
            values[key] = min(both, key=lambda text: worth(key, text))
    if "env" in own and "env" in added:
        values["env"] = [*cast("list[str]", added["env"]), *cast("list[str]", own["env"])]
    if added.get("net") is False:
        values.pop("net", None)
        values.pop("allow-host", None)
    if own.get("engine") == "native":
        # Without a sandbox a project's variables would reach the user's own programs.
        values["env"] = own.get("env", [])
    return Defaults(values, refused)


def _unasked(key: str) -> object:
    """Return the limit that holds where nobody asks for one, which a project must not raise."""
    if key == "pids":
        return PIDS_DEFAULT
    if key == "disk":
        # As the kernel sizes a tmpfs.
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _is_harmless(text: str) -> bool:
    name, separator, _ = text.partition("=")
    commanding = name in COMMANDING or name.startswith(COMMANDING_STARTS)
    proxy = name.lower().endswith("_proxy")
    return bool(separator) and not commanding and not proxy
