"""Arguments that several verbs read in the same way.

Concurrency: pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable

from vfsd.errors import UserError
from vfsd.exitcodes import ExitCode


def key_values(given: Iterable[str]) -> dict[str, str]:
    """Read `-o key=value` options; commas separate several. UserError for anything else."""
    pairs: dict[str, str] = {}
    for text in given:
        for part in text.split(","):
            key, separator, value = part.partition("=")
            if not (key and separator):
                raise UserError(f"the option {part!r} is not of the form KEY=VALUE", ExitCode.USAGE)
            pairs[key] = value
    return pairs
