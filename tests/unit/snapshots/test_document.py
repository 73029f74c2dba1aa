"""docs/SNAPSHOTS.md says what the modules say: the same tables, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from vfsd.snapshots import kept, manifest, place, records, touched
from vfsd.snapshots.folding import LAYERS_MAX, LAYERS_SOON
from vfsd.snapshots.names import NAME_LIMIT

PAGE = (Path(__file__).parents[3] / "docs" / "SNAPSHOTS.md").read_text()


def tables(text: str) -> list[str]:
    """Return the indented blocks of a text."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("    "):
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return ["\n".join(block) for block in found if block]


@pytest.mark.parametrize(
    "module", [place, records, kept, manifest, touched], ids=lambda module: module.__name__
)
def test_every_table_of_a_module_stands_in_the_document(module):
    found = tables(module.__doc__)
    assert found
    for table in found:
        assert table in PAGE


def test_the_tables_have_the_sizes_of_the_structures():
    assert f"    {records.HEAD.size}     ...  the value" in PAGE
    assert f"    {manifest.FRAME.size}     ...  the value" in PAGE


def test_the_fields_are_those_that_are_written():
    for kind, fields in (
        (kept.Snapshot, set(kept.Snapshot._fields) - {"name"}),
        (kept.Layer, set(kept.Layer._fields) - {"id"}),
    ):
        assert fields
        for field in fields:
            assert f"\n    {field} " in PAGE, (kind, field)


def test_the_numbers_are_those_of_the_code():
    assert f"deeper than {LAYERS_SOON} layers" in PAGE
    assert f"deeper than {LAYERS_MAX}." in PAGE
    assert f"at most {NAME_LIMIT} letters" in PAGE
    assert f"{place.ID_DIGITS} hexadecimal digits" in PAGE
