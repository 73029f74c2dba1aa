"""Arguments that several verbs read in the same way.

Concurrency: nothing is kept; `absolute` looks at the file system.
"""

from __future__ import annotations

from collections.abc import Iterable

from vfsd.configfile.places import placed
from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode
from vfsd.sourcelist import join_sources, split_sources

SOURCES = ("lower", "upper")
"""Options whose values are sources, as the first argument is."""


def key_values(given: Iterable[str]) -> dict[str, str]:
    """Read `-o key=value` options; commas separate several. UserError for anything else.

    Sources are made absolute, and ``lower`` given again adds further ones.
    """
    pairs: dict[str, str] = {}
    for text in given:
        for part in text.split(","):
            key, separator, value = part.partition("=")
            if not (key and separator):
                raise UserError(f"the option {part!r} is not of the form KEY=VALUE", ExitCode.USAGE)
            if key in SOURCES:
                value = join_sources(absolute(each) for each in split_sources(value))
            if key == "lower" and key in pairs:
                value = f"{pairs[key]}:{value}"
            pairs[key] = value
    return pairs


def absolute(source: str) -> str:
    """Return `source` so that the daemon, which runs elsewhere, understands it."""
    return placed(source, ".")
