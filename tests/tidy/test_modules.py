"""Modules are small, say what they are, and are named after what they hold."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.tidy.files import ROOT, python_files, shown

SHIPPED = python_files("vfsd", "providers")
EVERY = python_files("vfsd", "providers", "tests", "benchmarks")

LINES_MAX = 400
LARGER: dict[str, int] = {}
"""Files over the limit and what each may not pass; these numbers only ever go down."""

HIDES = re.compile(r"# type: ignore(\[[a-z-]+\])?$")
"""The type checker is silenced, with nothing behind it."""

VAGUE = {"util", "utils", "helper", "helpers", "common", "base", "misc", "tools"}


@pytest.mark.parametrize("path", SHIPPED, ids=shown)
def test_a_module_is_small(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LARGER.get(shown(path), LINES_MAX), "split it: one concept per file"


def test_no_exception_outlives_its_reason() -> None:
    needless = [
        name
        for name in LARGER
        if not (ROOT / name).exists() or len((ROOT / name).read_text().splitlines()) <= LINES_MAX
    ]
    assert needless == [], "remove these from LARGER"


@pytest.mark.parametrize("path", EVERY, ids=shown)
def test_a_module_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name == "__init__.py" and not tree.body:
        return
    assert ast.get_docstring(tree), "it has no docstring"


@pytest.mark.parametrize("path", EVERY, ids=shown)
def test_a_module_is_named_after_what_it_holds(path: Path) -> None:
    assert not VAGUE & {path.stem, *path.relative_to(ROOT).parts[:-1]}


@pytest.mark.parametrize("path", EVERY, ids=shown)
def test_what_is_hidden_from_the_type_checker_has_its_reason(path: Path) -> None:
    """Behind it, or in a comment above: why mypy is wrong here."""
    lines = path.read_text().splitlines()
    bare = [
        f"line {number}: {line.strip()}"
        for number, (before, line) in enumerate(pairwise(["", *lines]), start=1)
        if HIDES.search(line) and not before.strip().startswith("#")
    ]
    assert bare == []
