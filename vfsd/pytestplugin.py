"""The pytest plugin: the fixture `vfsd_mount`, there wherever vfsd is installed.

    def test_build(vfsd_mount):
        mounted = vfsd_mount("./project", attach={"scratch": "memory"})
        assert (mounted.path / "Makefile").exists()

Called as often as wanted, with the arguments of `vfsd.mount`; the test's end unmounts all.

What it is *not*: vfsd's own tests' mounts, which are held to leave nothing behind.

Concurrency: as pytest's fixtures. Imports of vfsd wait until a test asks for a mount: every test
run in an environment that has vfsd loads this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vfsd.mounting import Mount


@pytest.fixture
def vfsd_mount() -> Iterator[Callable[..., Mount]]:
    """Mount as `vfsd.mount` does, as often as called; the test's end unmounts."""
    from vfsd.mounting import mount

    with ExitStack() as stack:

        def start(*arguments: object, **named: object) -> Mount:
            # Passed on as they are; `mount` has the types.
            return stack.enter_context(mount(*arguments, **named))  # type: ignore[arg-type]

        yield start
