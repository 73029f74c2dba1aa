"""A world for every test of the store."""

from __future__ import annotations

import pytest

from tests.unit.snapshots.storeworld import World


@pytest.fixture
def world(tmp_path) -> World:
    return World(tmp_path)
