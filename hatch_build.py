"""Builds the optional C library vfsd/fuse/_shim.so into the wheel, where a compiler is.

Without a compiler or libfuse's headers the wheel is pure Python and works the same, with more
requests per listing; the build says so.
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

SOURCE = Path("vfsd/fuse/shim.c")
LIBRARY = Path("vfsd/fuse/_shim.so")


class ShimBuildHook(BuildHookInterface[Any]):
    """Compiles the library in place and adds it to the wheel."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        try:
            _compile(root / SOURCE, root / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"vfsd: built without {LIBRARY.name}: {error}", file=sys.stderr)
            return
        build_data["artifacts"].append(str(LIBRARY))
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def _compile(source: Path, library: Path) -> None:
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True
    ).stdout
    compiler = os.environ.get("CC", "cc")
    unfinished = library.with_suffix(".tmp")
    subprocess.run(
        [
            *shlex.split(compiler),
            *("-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"),
            *("-o", str(unfinished), str(source), *shlex.split(flags)),
        ],
        check=True,
    )
    unfinished.replace(library)
