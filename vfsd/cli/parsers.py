"""What each verb accepts, as data: taken from the parser that the verb itself reads with.

So completion, the manual pages and "did you mean" cannot say anything else than the verbs do. A
verb is run until it would read its arguments; its parser is all that is taken from that.

Concurrency: argparse is changed while a parser is taken, so for one thread at a time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, NoReturn

from vfsd.cli import snapshot
from vfsd.cli.main import VERBS
from vfsd.cli.runoptions import GROUPS
from vfsd.cli.runpolicy import ENGINES
from vfsd.nearest import nearest


class Flag(NamedTuple):
    """An option: its names, what stands for its value (nothing for a switch), what it does."""

    names: tuple[str, ...]
    value: str
    text: str
    choices: tuple[str, ...] = ()


class Words(NamedTuple):
    """What one verb accepts."""

    verb: str
    """With a space for a verb's verb, such as ``snapshot create``."""
    summary: str
    description: str
    flags: tuple[Flag, ...]
    places: tuple[tuple[str, str, tuple[str, ...]], ...]
    """Arguments in order: name, what it is, and its choices."""
    usage: str


class _Taken(BaseException):
    """Carries a parser out of the verb that made it; nothing on the way may handle it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def everything() -> Iterator[Words]:
    """Yield what each verb accepts, verbs of verbs after theirs."""
    for verb, (module, summary) in VERBS.items():
        if verb == "run":
            yield _run(summary)
        elif verb == "snapshot":
            yield Words(verb, summary, summary, (), (("VERB", "", tuple(snapshot.VERBS)),), "")
            for name, (where, function, told) in snapshot.VERBS.items():
                act = getattr(import_module(where), function)
                yield _words(f"{verb} {name}", told, _taken(partial(act, [])))
        else:
            parser = _of(verb, module)
            yield _words(verb, summary, parser)
            for name, (inner, told) in _inner(parser).items():
                yield _words(f"{verb} {name}", told, inner)


def meant_word(verb: str, arguments: list[str]) -> str | None:
    """Return the option, or the choice, that an unknown one among the arguments may stand for."""
    told = [each for each in everything() if each.verb.partition(" ")[0] == verb]
    flags = {name: flag for words in told for flag in words.flags for name in flag.names}
    choices = next((each for words in told for _, _, each in words.places if each), ())
    waiting = list(arguments)
    while waiting and (argument := waiting.pop(0)) != "--":
        name, separator, value = argument.partition("=")
        if not name.startswith("-"):
            if choices and name not in choices:
                return nearest(name, choices)
            choices = ()
        elif name not in flags:
            return nearest(name, flags)
        elif flags[name].value and (separator or waiting):
            value = value if separator else waiting.pop(0)
            if flags[name].choices and value not in flags[name].choices:
                return nearest(value, flags[name].choices)
    return None


def _of(verb: str, module: str) -> argparse.ArgumentParser:
    main = import_module(module).main
    return _taken(partial(main, verb, []))


def _taken(act: Callable[[], Any]) -> argparse.ArgumentParser:
    """Return the parser that `act` would read its arguments with."""

    def take(parser: argparse.ArgumentParser, *_: object, **__: object) -> NoReturn:
        raise _Taken(parser)

    own = argparse.ArgumentParser.parse_args
    # For a moment, and back below: that is how the parser is taken.
    argparse.ArgumentParser.parse_args = take  # type: ignore[assignment]
    try:
        act()
    except _Taken as taken:
        return taken.parser
    finally:
        # As it was.
        argparse.ArgumentParser.parse_args = own  # type: ignore[method-assign]
    raise AssertionError("a verb read no arguments")


def _inner(parser: argparse.ArgumentParser) -> dict[str, tuple[argparse.ArgumentParser, str]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {each.dest: each.help or "" for each in action._choices_actions}
            return {name: (each, told.get(name, "")) for name, each in action.choices.items()}
    return {}


def _words(verb: str, summary: str, parser: argparse.ArgumentParser) -> Words:
    flags, places = [], []
    for action in parser._actions:
        choices = tuple(map(str, action.choices or ()))
        shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
        text = "" if action.help in (None, argparse.SUPPRESS) else str(action.help)
        text = text.replace("%%", "%").replace("%(default)s", str(action.default))
        if action.option_strings:
            value = "" if action.nargs == 0 else "|".join(choices) or shown
            flags.append(Flag(tuple(action.option_strings), value, text, choices))
        else:
            places.append((shown, text, choices))
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    return Words(verb, summary, parser.description or "", tuple(flags), tuple(places), usage)


def _run(summary: str) -> Words:
    flags = tuple(
        Flag(
            (option.name, "-h") if option.name == "--help" else (option.name,),
            option.value,
            option.text,
            ENGINES if option.name == "--engine" else (),
        )
        for _, options in GROUPS
        for option in options
    )
    text = "Run a command in a sandbox on this project or tree, changing nothing outside."
    usage = "vfsd run [options] -- CMD [ARGUMENT ...]"
    return Words("run", summary, text, flags, (("CMD", "the command", ()),), usage)
