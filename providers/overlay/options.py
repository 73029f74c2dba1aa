"""The options of `-o key=value`: lower=, upper=, marks=, sync=; size=, inodes= of a memory upper.

Several lowers stand in one value with colons between them, as in mount(8), the topmost first; a
colon that belongs to a source is written ``\\:``. ``lower=`` given again adds below.

Concurrency: pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from providers.overlay.marks import FLAVOURS, USER, Flavour
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.nearest import meant
from vfsd.sourcelist import split_sources

LOWERS_MAX = 4096
LIMITS = ("size", "inodes")
KNOWN = ("lower", "upper", "marks", "sync", *LIMITS)


@dataclass(frozen=True, slots=True)
class Options:
    """What the options said; `upper` is None for a read-only view."""

    lowers: tuple[str, ...]
    upper: str | None
    flavour: Flavour
    limits: Mapping[str, str]
    """Options for an upper in memory."""
    sync: bool = True
    """Data is durable before a copy replaces what it is a copy of."""


def parse_options(source: str | None, options: Mapping[str, str]) -> Options:
    """Read the options; `UserError` names the one that is wrong, and what is known."""
    if source is not None:
        raise _refusal(
            f"the overlay provider takes no source, and {source!r} was given; name the layers "
            "with -o lower=SOURCE and -o upper=memory or a directory"
        )
    for key in options:
        if key not in KNOWN:
            raise _refusal(
                f"the overlay provider has no option {key!r}; "
                + meant(key, KNOWN, f"it knows {', '.join(KNOWN)}")
            )
    lowers = tuple(split_sources(options.get("lower", "")))
    if not lowers:
        raise _refusal(
            "an overlay needs at least one lower layer; give -o lower=SOURCE, the topmost first"
        )
    if len(lowers) > LOWERS_MAX:
        raise _refusal(f"an overlay has at most {LOWERS_MAX} lowers, and {len(lowers)} were given")
    marks = options.get("marks", USER.name)
    if marks not in FLAVOURS:
        raise _refusal(f"marks={marks} is not understood; write marks=user or marks=trusted")
    upper = options.get("upper", "memory")
    sync = options.get("sync", "on")
    if sync not in ("on", "off"):
        raise _refusal(f"sync={sync} is not understood; write sync=on or sync=off")
    limits = {key: options[key] for key in LIMITS if key in options}
    if limits and upper != "memory":
        raise _refusal(f"{min(limits)}= limits an upper in memory, and upper={upper} was given")
    return Options(
        lowers, None if upper == "none" else upper, FLAVOURS[marks], limits, sync == "on"
    )


def _refusal(message: str) -> UserError:
    return UserError(message, ExitCode.USAGE)
