"""A user's directories: from the environment, from the home directory, or nowhere."""

import pytest

from vfsd import xdg
from vfsd.errors import UserError


@pytest.mark.parametrize(
    ("variable", "below"),
    [(xdg.CACHE, ".cache"), (xdg.CONFIG, ".config"), (xdg.STATE, ".local/state")],
)
def test_a_relative_path_is_ignored_as_an_empty_one_is(monkeypatch, variable, below):
    monkeypatch.setenv("HOME", "/home/somebody")
    for named in ("", "relative", "~/there"):
        monkeypatch.setenv(variable, named)
        assert xdg.find(variable) == f"/home/somebody/{below}"
    monkeypatch.setenv(variable, "/there")
    assert xdg.find(variable) == xdg.need(variable, "x") == "/there"


def test_without_a_home_it_says_what_to_set(monkeypatch):
    monkeypatch.delenv(xdg.STATE, raising=False)
    monkeypatch.setenv("HOME", "relative")
    assert xdg.find(xdg.STATE) is None
    with pytest.raises(UserError, match="no home directory to keep logs in; set XDG_STATE_HOME"):
        xdg.need(xdg.STATE, "logs")
