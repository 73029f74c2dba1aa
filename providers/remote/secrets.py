"""What may be told of a URL: never the credentials in it.

Left out are user and password before the host, the query (a signature or a token is one), and,
wherever they turn up in an error's text, the values given to the driver.

Concurrency: immutable values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_AUTHORITY = re.compile(r"(?<=://)[^/?#\s'\"]*@")
_QUERY = re.compile(r"\?[^\s'\"#)\]>,]*")
_SHORTEST = 4
"""A shorter value (``true``, a port) is no secret, and would blot out half of a text."""
TEXT_MAX = 300


def shown(url: str) -> str:
    """Return a URL, chained or not, as it may be shown to anybody."""
    return _QUERY.sub("", _AUTHORITY.sub("", url))


class Redactor:
    """Takes the secrets of one provider out of texts."""

    def __init__(self, url: str, storage: Mapping[str, object]) -> None:
        found = {each.rstrip("@") for each in _AUTHORITY.findall(url)}
        parts = {part for each in found for part in each.split(":")}
        values = {*found, *parts, *_texts(storage)}
        longest = sorted((each for each in values if len(each) >= _SHORTEST), key=len)
        self._secrets = tuple(reversed(longest))

    def clean(self, text: str) -> str:
        """Return `text` in one line, without secrets, and not too long."""
        text = shown(text)
        for secret in self._secrets:
            text = text.replace(secret, "...")
        return " ".join(text.split())[:TEXT_MAX]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        # Where to is no secret: an endpoint's address helps whoever reads the error.
        if "://" not in value:
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
