"""Builds the optional C parts into the wheel, where a compiler is.

vfsd/fuse/_shim.so saves requests, vfsd/sandbox/_enter saves time at the start of a run, and
providers/passthrough/_looking.so saves it where files of the host are looked at and opened. Without
a compiler (or, for the first, libfuse's headers) the wheel does the same without them; the build
says so.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIM = (
    tuple(Path("vfsd/fuse", f"{part}.c") for part in ("shim", "blocks", "endings")),
    Path("vfsd/fuse/_shim.so"),
)
LOOKING = (
    tuple(Path(f"providers/passthrough/{name}.c") for name in ("looking", "opening", "putting")),
    Path("providers/passthrough/_looking.so"),
)
ENTER = ((Path("vfsd/sandbox/enter.c"),), Path("vfsd/sandbox/_enter"))
LIBRARY_FLAGS = ("-fPIC", "-shared")


class CBuildHook(BuildHookInterface[Any]):
    """Compiles in place and adds what was made to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        for (sources, made), flags in (
            (SHIM, _shim_flags),
            (LOOKING, lambda: list(LIBRARY_FLAGS)),
            (ENTER, list),
        ):
            try:
                _compile([root / source for source in sources], root / made, flags())
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"vfsd: built without {made.name}: {error}", file=sys.stderr)
                continue
            build_data["artifacts"].append(str(made))
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"


def _shim_flags() -> list[str]:
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True
    ).stdout
    return [*LIBRARY_FLAGS, *shlex.split(flags)]


def _compile(sources: list[Path], made: Path, flags: list[str]) -> None:
    compiler = os.environ.get("CC", "cc")
    unfinished = made.with_suffix(".tmp")
    subprocess.run(
        [
            *shlex.split(compiler),
            *("-O2", "-Wall", "-Wextra", "-Werror", "-o", str(unfinished), *map(str, sources)),
            *flags,
        ],
        check=True,
    )
    unfinished.replace(made)
