"""The options of `-o key=value`: links=, threads=, guard=, watch=, native=.

Concurrency: no state. `parse_options` resolves the DIRECTORY of a map, so it belongs in a thread:
that directory may lie in the mount, where only the event loop answers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from providers.passthrough.beneath import GUARDS, has_openat2
from providers.passthrough.links import LinkRules, Map
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant

THREADS = ("auto", "always", "never")
KNOWN = ("links", "threads", "guard", "watch", "native")


@dataclass(frozen=True, slots=True)
class Options:
    """What the options said."""

    links: LinkRules = field(default_factory=LinkRules)
    threads: str = "auto"
    guard: str = "auto"
    watch: bool = True
    """Changes made on the host are followed where that can be had."""
    native: bool = True
    """The C library takes part where it was built (looking.py)."""

    def chosen_guard(self) -> str:
        """Return the guard to use on this kernel."""
        if self.guard == "auto":
            return "openat2" if has_openat2() else "walk"
        return self.guard


def parse_options(options: Mapping[str, str]) -> Options:
    """Read the options; `UserError` names the one that is wrong, and what is known."""
    for key in options:
        if key not in KNOWN:
            raise _refusal(
                f"the passthrough provider has no option {key!r}; "
                + meant(key, KNOWN, f"it knows {', '.join(KNOWN)}")
            )
    guard = _one_of("guard", options.get("guard", "auto"), ("auto", *GUARDS))
    if guard == "openat2" and not has_openat2():
        raise UserError(
            "guard=openat2 needs Linux 5.6 or later (and a seccomp filter that lets it through); "
            "use guard=walk",
            ExitCode.UNAVAILABLE,
        )
    threads = _one_of("threads", options.get("threads", "auto"), THREADS)
    watch = _one_of("watch", options.get("watch", "auto"), ("auto", "off"))
    native = _one_of("native", options.get("native", "auto"), ("auto", "off"))
    links = _links(options.get("links", "deny"))
    return Options(links, threads, guard, watch == "auto", native == "auto")


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise _refusal(f"{key}={value} is not understood; write {key}={' or '.join(choices)}")
    return value


def _links(value: str) -> LinkRules:
    if value == "deny":
        return LinkRules()
    if value == "hide":
        return LinkRules(hide=True)
    if value == "keep":
        return LinkRules(keep=True)
    name, separator, maps = value.partition("=")
    if name != "map" or not separator:
        raise _refusal(
            f"links={value} is not understood; write links=deny, links=hide, links=keep, "
            "links=map=PREFIX or links=map=DIRECTORY:PREFIX"
        )
    return LinkRules(maps=_maps(maps))


def _maps(text: str) -> tuple[Map, ...]:
    """Read a prefix alone, or pairs of a host directory and a prefix."""
    paths = text.split(":")
    alone = len(paths) == 1
    if not all(path.startswith("/") and "\0" not in path for path in paths) or (
        len(paths) % 2 and not alone
    ):
        raise _refusal(
            f"links=map={text} is not understood; write an absolute PREFIX below the mount, or "
            "DIRECTORY:PREFIX with an absolute host directory; of several pairs each follows "
            "the one before after a further colon"
        )
    if alone:
        return (Map(None, _prefix(text)),)
    return tuple(
        Map(os.fsencode(os.path.realpath(source)), _prefix(prefix))
        for source, prefix in zip(paths[::2], paths[1::2], strict=True)
    )


def _prefix(path: str) -> bytes:
    return os.fsencode(os.path.normpath("/" + path.lstrip("/")))


def _refusal(message: str) -> UserError:
    return UserError(message, ExitCode.USAGE)
