"""What a snapshot may be called: the rule as a pattern is the oracle."""

from __future__ import annotations

import re

import pytest

from vfsd.snapshots.names import NAME_LIMIT, is_name

RULE = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+@-]{{0,{NAME_LIMIT - 1}}}", re.ASCII)
ODD = ["", ".", "-", "@a", "a@", "a.b-c_d+e", "a/b", "a b", "a\n", "\0", "é", "aé", "a²", "a\udc80"]
LONG = ["a" * NAME_LIMIT, "a" * (NAME_LIMIT + 1), "a" + "." * (NAME_LIMIT - 1), "." * NAME_LIMIT]


@pytest.mark.parametrize(
    "text", [*ODD, *LONG, *map(chr, range(256)), *(f"a{chr(n)}" for n in range(256))]
)
def test_the_rule(text):
    assert is_name(text) == (RULE.fullmatch(text) is not None)
