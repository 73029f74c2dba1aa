"""From the parameters of a request, which a stranger wrote, to a `Verb`; and back.

The checks are derived from the verbs' dataclasses: a field's type says what is
allowed, a default that it may be left out, `BOUNDS` and `LENGTHS` how large it may be.

Concurrency: pure functions; the table of fields is made once, at import.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from types import NoneType, UnionType
from typing import NamedTuple, get_args, get_origin, get_type_hints

from vfsd.control.bounds import BOUNDS, LENGTHS
from vfsd.control.protocol import NAMES, VERBS
from vfsd.control.verb import Verb

Check = Callable[[object], bool]


class ParameterError(Exception):
    """A request names an unknown verb (ENOSYS), or its parameters do not fit (EPROTO)."""

    def __init__(self, text: str, code: int = errno.EPROTO) -> None:
        super().__init__(text)
        self.text = text
        self.errno = code


class _Field(NamedTuple):
    check: Check
    wanted: str
    is_required: bool
    is_sequence: bool


def parse(name: str, parameters: Mapping[str, object]) -> Verb:
    """Return the checked verb. ParameterError names what is unknown, missing, wrong or large."""
    kind = VERBS.get(name)
    if kind is None:
        raise ParameterError(f"there is no verb {name[:40]!r}", errno.ENOSYS)
    table = _FIELDS[name]
    values: dict[str, object] = {}
    for key, value in parameters.items():
        field = table.get(key)
        if field is None:
            raise ParameterError(f"{name}: there is no parameter {key[:40]!r}")
        if not field.check(value):
            raise ParameterError(f"{name}: {key!r} is to be {field.wanted}")
        _check_size(name, key, value)
        values[key] = tuple(map(_frozen, _items(value))) if field.is_sequence else value
    for key, field in table.items():
        if field.is_required and key not in values:
            raise ParameterError(f"{name}: the parameter {key!r} is missing")
    return kind(**values)


def render(verb: Verb) -> tuple[str, dict[str, object]]:
    """Return the name and the parameters of `verb`, as they go into a request."""
    name = NAMES[type(verb)]
    return name, {key: getattr(verb, key) for key in _FIELDS[name]}


def describe(kind: type[Verb]) -> list[tuple[str, str, bool]]:
    """Return name, type in words and whether it is required, per parameter; docs show it."""
    table = _FIELDS[NAMES[kind]]
    return [(key, field.wanted, field.is_required) for key, field in table.items()]


def _check_size(name: str, key: str, value: object) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and key in BOUNDS:
        least, greatest = BOUNDS[key]
        if not least <= value <= greatest:
            raise ParameterError(f"{name}: {key!r} is to be from {least} to {greatest}")
    elif isinstance(value, bytes | str | list | dict) and key in LENGTHS:
        limit = LENGTHS[key]
        if len(value) > limit:
            raise ParameterError(f"{name}: {key!r} is longer than {limit}", errno.EMSGSIZE)


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _frozen(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _checker(hint: object) -> tuple[Check, str]:
    """Return a check for values of the type `hint`, and the type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        checks = [_checker(each) for each in inner]
        return (
            lambda value: any(check(value) for check, _ in checks),
            " or ".join(wanted for _, wanted in checks),
        )
    if origin is dict:
        key_check, value_check = (_checker(each)[0] for each in inner)
        return (
            lambda value: (
                isinstance(value, dict)
                and all(key_check(key) and value_check(each) for key, each in value.items())
            ),
            "a map of binary to binary",
        )
    if origin is tuple and inner[-1] is Ellipsis:
        item_check, item_wanted = _checker(inner[0])
        return (
            lambda value: isinstance(value, list) and all(map(item_check, value)),
            f"an array, each {item_wanted}",
        )
    if origin is tuple:
        parts = [_checker(each) for each in inner]
        return (
            lambda value: (
                isinstance(value, list)
                and len(value) == len(parts)
                and all(check(each) for (check, _), each in zip(parts, value, strict=True))
            ),
            "an array of " + ", ".join(wanted for _, wanted in parts),
        )
    words = {bytes: "binary", str: "a string", int: "an integer", bool: "a boolean"}
    if hint is NoneType:
        return (lambda value: value is None), "nil"
    assert isinstance(hint, type)
    return (lambda value: type(value) is hint), words[hint]


def _table(kind: type[Verb]) -> dict[str, _Field]:
    hints = get_type_hints(kind)
    table = {}
    # Each verb is a dataclass, and the class they have in common is not.
    for field in fields(kind):  # type: ignore[arg-type]
        check, wanted = _checker(hints[field.name])
        is_sequence = get_origin(hints[field.name]) is tuple
        table[field.name] = _Field(check, wanted, field.default is MISSING, is_sequence)
    return table


_FIELDS = {name: _table(kind) for name, kind in VERBS.items()}
