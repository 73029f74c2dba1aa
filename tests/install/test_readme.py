"""The README's session, pasted into a shell in an empty directory, prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.install.workplace import ROOT, run

README = (ROOT / "README.md").read_text()


def block(marker: str, language: str) -> str:
    found = re.search(rf"<!-- {marker}.*?-->\n```{language}\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md has no block marked {marker!r}"
    return found[1]


def test_the_session_is_ten_lines() -> None:
    assert len(block("the session", "sh").splitlines()) <= 10


@pytest.mark.fuse
@pytest.mark.bwrap
def test_the_session_prints_what_the_readme_says(tmp_path: Path) -> None:
    place, state = tmp_path / "place", str(tmp_path / "state")
    place.mkdir()
    session = block("the session", "sh")
    result = run("bash", "-euo", "pipefail", "-c", session, cwd=place, XDG_STATE_HOME=state)
    try:
        assert result.stdout == block("what the session prints", "text")
        assert result.returncode == 0
        assert list(place.iterdir()) == [], "the session left something behind"
    finally:
        if (place / "tree").is_mount():
            run("vfsd", "unmount", place / "tree", XDG_STATE_HOME=state)
