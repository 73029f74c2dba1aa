"""Several sources in one option: ``A:B``, with ``\\:`` for a colon that belongs to a source.

As in the options of mount(8) for overlay file systems. Read by the command line, which makes
each source absolute, and by the provider that opens them.

Concurrency: pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable

CHAINED = "fsspec"
"""The provider whose sources are URLs, which may lead to what is in a file: ``zip::FILE``."""

PATHLESS = frozenset({"snapshot"})
"""Words before a colon after which no path stands."""


def chained_path(source: str) -> str | None:
    """Return the host path of the file that is last in a source of the fsspec provider, if one is.

    Such as ``a.zip`` of ``fsspec:zip::file://a.zip``, or of ``fsspec:zip::a.zip``.
    """
    word, _, url = source.partition(":")
    head, _, last = url.rpartition("::")
    if word != CHAINED or not head:
        return None
    protocol, separator, path = last.partition("://")
    if not separator:
        return last if "/" in last or "." in last else None
    return path if protocol in ("file", "local") else None


def split_sources(text: str) -> list[str]:
    """Return the sources, in order; empty ones are left out."""
    sources = [""]
    escaped = False
    for letter in text:
        if escaped:
            sources[-1] += letter if letter in ":\\" else "\\" + letter
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == ":":
            sources.append("")
        else:
            sources[-1] += letter
    if escaped:
        sources[-1] += "\\"
    return [source for source in sources if source]


def join_sources(sources: Iterable[str]) -> str:
    """Return one text from which `split_sources` gets the same sources again."""
    return ":".join(each.replace("\\", "\\\\").replace(":", "\\:") for each in sources)
