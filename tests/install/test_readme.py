"""The documents' sessions, pasted into a shell in an empty directory, print what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.install.workplace import ROOT, run

DOCUMENTS = ("README.md", "docs/SNAPSHOTS.md")


def block(document: str, marker: str, language: str) -> str:
    text = (ROOT / document).read_text()
    found = re.search(rf"<!-- {marker}.*?-->\n```{language}\n(.*?)```", text, re.DOTALL)
    assert found, f"{document} has no block marked {marker!r}"
    return found[1]


def test_the_session_is_ten_lines() -> None:
    assert len(block("README.md", "the session", "sh").splitlines()) <= 10


@pytest.mark.fuse
@pytest.mark.bwrap
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_session_prints_what_it_says(tmp_path: Path, document: str) -> None:
    place, state = tmp_path / "place", str(tmp_path / "state")
    place.mkdir()
    session = block(document, "the session", "sh")
    result = run("bash", "-euo", "pipefail", "-c", session, cwd=place, XDG_STATE_HOME=state)
    try:
        assert result.stdout == block(document, "what the session prints", "text")
        assert result.returncode == 0
        assert list(place.iterdir()) == [], "the session left something behind"
    finally:
        if (place / "tree").is_mount():
            run("vfsd", "unmount", place / "tree", XDG_STATE_HOME=state)
