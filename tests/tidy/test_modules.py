"""Modules are small, say what they are, and are named after what they hold."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.tidy.files import ROOT, python_files, shown

SHIPPED = python_files("vfsd", "providers")
EVERY = python_files("vfsd", "providers", "tests", "benchmarks")

LINES_MAX = 400
LARGER: dict[str, int] = {}
"""Files over the limit and what each may not pass; these numbers only ever go down."""

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
