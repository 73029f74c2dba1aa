"""Words that have no place in the project: machines, registries, unfinished work.

Patterns hold a character class where a plain word would match this file itself.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.tidy.files import all_files, shown

FORBIDDEN = {
    "a path of one machine": r"/wor[k]/|/tmp/ven[v]\b|/root/\.pyen[v]",
    "a package registry's host": (
        r"registry\.npm[j]s|\bpypi\.or[g]|pythonhoste[d]\.|(deb|security)\.debia[n]\.org"
    ),
    "unfinished work": r"\bTOD[O]\b|\bFIXM[E]\b|\bXX[X]\b|NotImplementedErro[r]",
    "an issue's number (say what it is about)": r"(?i)\bissue[ ]#?\d",
    "how the work was shared out": r"(?i)\bsub-?agen[t]s?\b|\bthe lea[d] (will|does|says|reviews)",
}


@pytest.mark.parametrize("path", list(all_files()), ids=shown)
def test_no_word_that_does_not_belong(path: Path) -> None:
    text = path.read_bytes().decode(errors="replace")
    found = [
        f"line {text.count(chr(10), 0, match.start()) + 1}: {match.group()!r} is {what}"
        for what, pattern in FORBIDDEN.items()
        for match in re.finditer(pattern, text)
    ]
    assert found == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_patterns_still_find_what_they_are_for(what: str) -> None:
    samples = {
        "a path of one machine": "cd /wor" + "k/main",
        "a package registry's host": "https://registry.npm" + "js.org/left-pad",
        "unfinished work": "# TO" + "DO: later",
        "an issue's number (say what it is about)": "see iss" + "ue 12",
        "how the work was shared out": "a sub" + "agent wrote it",
    }
    assert re.search(FORBIDDEN[what], samples[what])
