"""docs/CONFIG.md tells every key of a configuration file as the code knows it, and its example."""

from __future__ import annotations

import re

from tests.tidy.files import ROOT
from vfsd.configfile.keys import TABLES
from vfsd.configfile.mounting import mount_config
from vfsd.configfile.reading import read

DOCUMENT = (ROOT / "docs" / "CONFIG.md").read_text()


def test_every_key_has_its_row() -> None:
    rows = re.findall(r"^\| `([a-z]+)\.([a-z-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", DOCUMENT, re.M)
    assert rows == [
        (table, key.name, key.kind.told, key.default or "-", key.text)
        for table, keys in TABLES.items()
        for key in keys
    ]


def test_the_example_is_in_order(tmp_path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCUMENT, re.S)
    assert example
    (tmp_path / "tree.toml").write_text(example[1])
    config = mount_config(read(str(tmp_path / "tree.toml")), "/m", {})
    assert [each.prefix for each in config.attachments] == [b"app", b"src"]
