"""The manual pages: one for each verb, of which neither groff nor mandoc has to complain."""

import shutil
import subprocess

import pytest

from vfsd.cli.manpages import main, pages
from vfsd.cli.parsers import everything


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("man") / "man1"
    folder.mkdir()
    assert main([str(folder)]) == 0
    return folder


def test_there_is_one_for_each_verb(written):
    names = {path.name for path in written.iterdir()}
    assert names == {"vfsd.1"} | {f"vfsd-{each.verb.replace(' ', '-')}.1" for each in everything()}


def test_mandoc_has_nothing_to_complain_of(written):
    mandoc = shutil.which("mandoc")
    assert mandoc, "mandoc is needed to check the manual pages; scripts/setup installs it"
    done = subprocess.run(
        [mandoc, "-T", "lint", "-W", "warning", *sorted(written.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    # A date would be that of the version, and one that is not released has none.
    complaints = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert complaints == []


def test_groff_has_nothing_to_complain_of(written):
    """With every warning that it knows, as `man` shows a page on most machines."""
    groff = shutil.which("groff")
    assert groff, "groff is needed to check the manual pages; scripts/setup --test installs it"
    for page in sorted(written.iterdir()):
        done = subprocess.run(
            [groff, "-man", "-ww", "-T", "utf8", "-z", page],
            capture_output=True,
            text=True,
            check=True,
        )
        assert (page.name, done.stderr) == (page.name, "")


def test_they_say_what_help_says(written):
    """Each option and its meaning is in what a reader sees."""
    mandoc = shutil.which("mandoc")
    assert mandoc
    for each in everything():
        page = written / f"vfsd-{each.verb.replace(' ', '-')}.1"
        shown = subprocess.run(
            [mandoc, "-T", "utf8", "-O", "width=500", page],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        plain = _without_overstrikes(shown)
        assert f"vfsd {each.verb}" in plain
        flat = " ".join(plain.split())
        for flag in each.flags:
            assert " ".join(flag.text.split()) in flat
            for name in flag.names:
                assert name in plain


def test_no_text_is_taken_for_a_request():
    for name, text in pages():
        for line in text.splitlines():
            if line.startswith("."):
                assert line.split()[0] in {".TH", ".SH", ".TP", ".BR"}, (name, line)
            assert not line.startswith("'"), (name, line)


def _without_overstrikes(text):
    shown = []
    for each in text:
        if each == "\b":
            shown.pop()
        else:
            shown.append(each)
    return "".join(shown)
