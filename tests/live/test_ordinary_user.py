"""Freezing, storing and forking as an ordinary user."""

from __future__ import annotations

import json

import pytest

from tests.daemon.test_ordinary_user import as_user, theirs

__all__ = ["theirs"]

pytestmark = [pytest.mark.fuse, pytest.mark.root]


def test_an_ordinary_user_stores_and_forks(theirs):
    theirs.vfsd("mount", theirs.mount)
    as_user(
        theirs, "mkdir mount/d base; echo one > mount/d/f; ln mount/d/f mount/g; echo b > base/b"
    )
    theirs.vfsd("snapshot", "create", "one", theirs.mount)
    theirs.vfsd("snapshot", "create", "two", theirs.mount, "--live")
    theirs.vfsd("attach", "overlay", theirs.mount / "over", "-o", f"lower={theirs.root}/base")
    as_user(theirs, "rm mount/over/b; echo new > mount/over/n; echo two > mount/d/f")
    theirs.vfsd("snapshot", "create", "three", theirs.mount / "over")
    for name in ("one", "two", "three"):
        theirs.vfsd("fork", name, theirs.mount / f"at-{name}")
    seen = as_user(
        theirs, "cat mount/at-one/g mount/at-two/g; ls mount/at-three; echo x > mount/at-one/g"
    )
    assert (seen.returncode, seen.stdout) == (0, "one\none\nn\n")
    listed = json.loads(theirs.vfsd("snapshot", "ls", "--json").stdout)
    assert sorted(each["name"] for each in listed) == ["one", "three", "two"]
    theirs.vfsd("unmount", theirs.mount)
    theirs.vfsd("snapshot", "rm", "one", "three")
