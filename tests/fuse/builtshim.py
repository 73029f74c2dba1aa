"""Tests of the small C library need it built."""

import os

import pytest

from vfsd.fuse import shim as shim_module


def need_shim() -> None:
    """Skip without the library; where FUSE is required, that it was not built is a failure."""
    if shim_module.shim is None:
        required = "fuse" in os.environ.get("VFSD_REQUIRE", "").split(",")
        (pytest.fail if required else pytest.skip)("vfsd/fuse/_shim.so is not built")
