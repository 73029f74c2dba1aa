"""docs/SECURITY.md lists what the code lists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vfsd.sandbox import spec

DOCUMENT = (Path(__file__).parents[3] / "docs" / "SECURITY.md").read_text()


@pytest.mark.parametrize(
    ("heading", "listed"),
    [
        ("etc", spec.ETC_ALWAYS),
        ("etc with --net", (*spec.ETC_NETWORK, *spec.ETC_COPIED)),
        ("environment", spec.ENVIRONMENT),
        ("environment with --net", spec.ENVIRONMENT_NETWORK),
        ("certificates with --net", spec.CERTIFICATE_VARIABLES),
    ],
)
def test_a_list(heading, listed):
    section = re.search(rf"<!-- {heading} -->\n(.+)\n", DOCUMENT)
    assert section
    assert sorted(re.findall(r"`([^`]+)`", section[1])) == sorted(listed)


def test_where_certificates_may_lie():
    for place in spec.CERTIFICATE_PLACES:
        assert f"`{place}`" in DOCUMENT


def test_every_option_that_opens_something_is_named():
    from vfsd.cli.runoptions import OPTIONS

    harmless = {
        *("--quiet", "--help", "--chdir", "--at"),
        *("--from", "--save", "--replace", "--keep-on-failure", "--files", "--layer"),
    }
    assert {option for option in OPTIONS if f"`{option}" not in DOCUMENT} <= harmless
