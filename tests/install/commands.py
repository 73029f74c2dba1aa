"""The commands that README.md and docs/ show: blocks in sh, and blocks that are indented."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.install.workplace import ROOT

STARTS = re.compile(r"(?:vfsd|cd|make|python|pipx|source|kill|systemctl|loginctl|mount) ")


class Block(NamedTuple):
    """Lines that a reader may paste."""

    document: str
    text: str

    @property
    def first(self) -> str:
        """Return its first line, which tells it from the others."""
        return self.text.splitlines()[0].partition("#")[0].strip()


def documents() -> list[str]:
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def blocks() -> list[Block]:
    """Return all of them, in the order of the documents."""
    found = []
    for document in documents():
        text = (ROOT / document).read_text()
        found += [
            Block(document, each) for each in re.findall(r"^```sh\n(.*?)```", text, re.M | re.S)
        ]
        plain = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
        for indented in re.findall(r"(?:^    .*\n)+", plain, re.M):
            lines = [line[4:] for line in indented.splitlines()]
            if STARTS.match(lines[0]):
                found.append(Block(document, "\n".join(lines)))
    return found
