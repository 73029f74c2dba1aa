"""README.md tells the truth: every verb, exit code and make target, and none that is not there."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess

from tests.tidy.files import ROOT
from vfsd.cli.main import VERBS
from vfsd.exitcodes import codes

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text()
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_every_verb_has_its_row() -> None:
    documented = re.findall(r"^\| `vfsd ([a-z]+)", README, re.MULTILINE)
    assert documented == list(VERBS)


def test_no_verb_is_invented() -> None:
    mentioned = set(re.findall(r"(?:^|`|&& )vfsd ([a-z]+)", README, re.MULTILINE))
    assert mentioned - set(VERBS) == set()


def test_exit_codes_are_told_with_number_and_meaning() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|$", README, re.MULTILINE)
    assert [(int(number), meaning) for number, meaning in rows] == [
        (int(code), code.meaning) for code in codes()
    ]


def test_make_help_lists_every_target() -> None:
    make = shutil.which("make")
    assert make, "make is needed to test the Makefile"
    told = subprocess.run(
        [make, "-C", str(ROOT), "help"], check=True, capture_output=True, text=True
    ).stdout
    assert set(re.findall(r"^  make ([a-z-]+) +\S", told, re.MULTILINE)) == TARGETS


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == TARGETS


def test_no_target_is_invented() -> None:
    assert set(re.findall(r"`make ([a-z-]+)", README)) - TARGETS == set()


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_continuous_integration_runs_what_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "VFSD_REQUIRE=fuse,bwrap" in script
    assert "make check test" in script
    assert "make check test" in README


def test_the_order_of_imports_is_the_one_that_is_checked() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    layers = rules["importlinter:contract:layers"]["layers"]
    order = [re.sub(r"[()]", "", row).replace(":", "|") for row in layers.split("\n") if row]
    told = re.search(r"Imports run one way: `(.+?)`", ARCHITECTURE, re.DOTALL)
    assert told is not None
    assert re.split(r"\s+>\s+", " ".join(told[1].split())) == order[1:]
