"""Parameters of requests: what each verb takes, and that nothing else passes."""

import pytest

from vfsd.control.bounds import PATH_LIMIT_BYTES
from vfsd.control.protocol import VERBS, Hello
from vfsd.control.service import HANDLERS
from vfsd.control.validation import ParameterError, describe, parse, render


def minimal(name: str) -> dict[str, object]:
    """Return parameters of the right form, only those that are required."""
    by_type = {
        "binary": b"x",
        "a string": "x",
        "an integer": 1,
        "a map of binary to binary": {},
    }
    return {
        key: by_type.get(wanted, [])
        for key, wanted, is_required in describe(VERBS[name])
        if is_required
    }


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_goes_round(name):
    verb = parse(name, minimal(name))
    assert type(verb) is VERBS[name]
    again, parameters = render(verb)
    assert again == name
    listed = {
        key: list(value) if isinstance(value, tuple) else value for key, value in parameters.items()
    }
    assert parse(name, listed) == verb


@pytest.mark.parametrize("name", VERBS)
def test_missing_unknown_and_wrong_parameters_are_named(name):
    given = minimal(name)
    for key in given:
        with pytest.raises(ParameterError, match=f"{key}.*missing"):
            parse(name, {other: value for other, value in given.items() if other != key})
    with pytest.raises(ParameterError, match="no parameter 'bogus'"):
        parse(name, {**given, "bogus": 1})
    for key, _, _ in describe(VERBS[name]):
        with pytest.raises(ParameterError, match=f"{key}.*is to be"):
            parse(name, {**given, key: 1.5})


def test_every_verb_is_handled():
    assert set(HANDLERS) == set(VERBS.values()) - {Hello}


@pytest.mark.parametrize(
    ("name", "given", "code"),
    [
        ("nonsense", {}, 38),
        ("stat", {"path": b"x" * (PATH_LIMIT_BYTES + 1)}, 90),
        ("stat", {"path": b"x", "follow": 1}, 71),
        ("read", {"fd": 1, "offset": -1, "size": 1}, 71),
        ("read", {"fd": 1, "offset": 1 << 63, "size": 1}, 71),
        ("read", {"fd": True, "offset": 0, "size": 1}, 71),
        ("setattr", {"path": b"", "uid": 0xFFFFFFFF}, 71),
        ("list", {"path": b"", "limit": 0}, 71),
        ("put", {"at": b"", "entries": [[b"x", True, None, b""]]}, 71),
        ("put", {"at": b"", "entries": [[b"x", 1, None]]}, 71),
        ("put", {"at": b"", "entries": [[b"", 0, None, b""]] * 4097}, 90),
        ("attach", {"prefix": b"", "source": b"", "options": {"a": "b"}}, 71),
        ("setxattr", {"path": b"", "name": b"a", "value": b"x" * 65537}, 90),
    ],
)
def test_values_out_of_bounds_are_refused(name, given, code):
    with pytest.raises(ParameterError) as caught:
        parse(name, given)
    assert caught.value.errno == code
