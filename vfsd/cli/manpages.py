"""Manual pages, made from what the verbs accept: one for vfsd, and one for each verb.

A page says no more than the verb's `--help`, in the form that man(1) searches and prints; what the
words mean together stands in README.md and docs, which install beside nothing and are named.

What it is *not*: a verb. scripts/install runs this, and puts the pages where man(1) looks.

Concurrency: none.

Sources: man(7), man-pages(7).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from vfsd.cli.parsers import Flag, Words, everything
from vfsd.exitcodes import codes
from vfsd.version import __version__


def pages() -> Iterator[tuple[str, str]]:
    """Yield each page's file name, such as ``vfsd-snapshot-create.1``, and its text."""
    verbs = list(everything())
    yield "vfsd.1", "\n".join(_overview(verbs)) + "\n"
    for words in verbs:
        name = f"vfsd-{words.verb.replace(' ', '-')}"
        yield f"{name}.1", "\n".join(_page(name, words, verbs)) + "\n"


def main(arguments: list[str]) -> int:
    """Write all pages into the directory that is named."""
    (directory,) = arguments
    for name, text in pages():
        Path(directory, name).write_text(text, encoding="utf-8")
    return 0


def _overview(verbs: list[Words]) -> Iterator[str]:
    yield from _head("vfsd", "a tree of files from several sources, mounted, and a sandbox on it")
    yield from (".SH SYNOPSIS", r"\fBvfsd\fR \fIVERB\fR ...", ".SH DESCRIPTION")
    yield _text(
        "One daemon serves a tree of files, put together from several sources, over FUSE, so that"
        " every program sees it; and a sandbox runs commands on it."
    )
    yield ".SH VERBS"
    for words in verbs:
        if " " not in words.verb:
            yield from (".TP", rf"\fB{_text(words.verb)}\fR", _text(words.summary))
    yield ".SH EXIT STATUS"
    for code in codes():
        yield from (".TP", rf"\fB{int(code)}\fR", _text(code.meaning))
    names = [words.verb for words in verbs if " " not in words.verb]
    yield from _see_also([f"vfsd-{name}" for name in names])


def _page(name: str, words: Words, verbs: list[Words]) -> Iterator[str]:
    yield from _head(name, words.summary)
    yield ".SH SYNOPSIS"
    yield rf"\fBvfsd {_text(words.verb)}\fR " + _text(_arguments(words))
    yield ".SH DESCRIPTION"
    yield _text(words.description or f"{words.summary[0].upper()}{words.summary[1:]}.")
    inner = [each for each in verbs if each.verb.startswith(f"{words.verb} ")]
    if inner:
        yield ".SH VERBS"
        for each in inner:
            yield from (".TP", rf"\fB{_text(each.verb)}\fR", _text(each.summary))
    told = [place for place in words.places if place[1] or place[2]]
    if told and not inner:
        yield ".SH ARGUMENTS"
        for shown, text, choices in told:
            one_of = f"one of: {', '.join(choices)}" if choices else ""
            meaning = "; ".join(filter(None, (text, one_of)))
            yield from (".TP", rf"\fI{_text(shown)}\fR", _text(meaning))
    if words.flags:
        yield ".SH OPTIONS"
        for flag in words.flags:
            yield from (".TP", _flag(flag), _text(flag.text))
    outer = [f"vfsd-{words.verb.split(' ')[0]}"] if " " in words.verb else []
    below = [f"vfsd-{each.verb.replace(' ', '-')}" for each in inner]
    yield from _see_also(["vfsd", *outer, *below])


def _arguments(words: Words) -> str:
    """Return the usage without the words that the line begins with already."""
    start = f"vfsd {words.verb}"
    usage = words.usage.removeprefix(start).strip()
    return usage or " ".join(shown for shown, _, _ in words.places) + " ..."


def _head(name: str, summary: str) -> Iterator[str]:
    yield rf'.TH "{name.upper()}" "1" "" "vfsd {__version__}" "User Commands"'
    yield from (".SH NAME", rf"{_text(name)} \- {_text(summary)}")


def _see_also(names: list[str]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    for position, name in enumerate(names):
        comma = "," if position < len(names) - 1 else ""
        yield rf".BR {_text(name)} (1){comma}"


def _flag(flag: Flag) -> str:
    names = ", ".join(rf"\fB{_text(name)}\fR" for name in flag.names)
    return rf"{names} \fI{_text(flag.value)}\fR" if flag.value else names


def _text(text: str) -> str:
    """Return `text` so that troff prints it as it is, on one line."""
    escaped = text.replace("\\", r"\(rs").replace("-", r"\-").replace("'", r"\(aq")
    escaped = " ".join(escaped.split())
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
